#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/shard/key_arena.hpp>

namespace pinion {

/// What keyed aggregation takes as a key: text (bytes of any value, also none), or an integer.
template <class T>
concept AggregationKey = std::same_as<T, std::string_view> ||
    (std::integral<T> && !std::same_as<T, bool>);

/// What sums are made of.
template <class T>
concept Summable = std::is_arithmetic_v<T> && !std::same_as<T, bool>;

/// The sum of two values. Integers wrap around like unsigned ones, signed integers too.
template <Summable Value>
[[nodiscard]] constexpr Value wrapping_sum(Value left, Value right) noexcept {
  if constexpr (std::integral<Value>) {
    return static_cast<Value>(static_cast<std::uint64_t>(left) + static_cast<std::uint64_t>(right));
  } else {
    return left + right;
  }
}

/// Sums by key in memory: open addressing over slots of eight bytes that point into dense entries.
///
/// Thread safety: none for one object.
/// Lifetime: copies the bytes of a key when it sees it first, and only then.
template <AggregationKey Key, Summable Value>
class KeyedTable {
 public:
  struct Entry {
    std::uint64_t hash;
    Key key;
    Value value;
  };

  /// Makes room for `entry_count` entries in all, so that adding them moves nothing.
  void reserve(std::size_t entry_count) {
    if (entry_count > slots_.size() / 2) {
      rehash(std::bit_ceil(entry_count * 2));
    }
    entries_.reserve(entry_count);
  }

  /// Adds `value` to the sum of `key`. Precondition: `hash` is hash_key(key).
  void add(std::uint64_t hash, Key key, Value value) {
    // Half full at most: linear probing then looks at about 1.5 slots for a key that is there.
    if (entries_.size() >= slots_.size() / 2) {
      rehash(std::max<std::size_t>(kFirstSlotCount, slots_.size() * 2));
    }
    const std::size_t mask = slots_.size() - 1;
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    std::size_t slot = static_cast<std::size_t>(hash) & mask;
    for (; slots_[slot].entry != kEmpty; slot = (slot + 1) & mask) {
      if (slots_[slot].tag == tag) {
        Entry& entry = entries_[slots_[slot].entry];
        if (entry.hash == hash && entry.key == key) {
          entry.value = wrapping_sum(entry.value, value);
          return;
        }
      }
    }
    if (entries_.size() >= kEmpty) {
      throw std::bad_alloc();
    }
    entries_.push_back({hash, keep(key), value});
    slots_[slot] = {tag, static_cast<std::uint32_t>(entries_.size() - 1)};
  }

  [[nodiscard]] std::span<const Entry> entries() const noexcept { return entries_; }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept {
    return entries_.capacity() * sizeof(Entry) + slots_.capacity() * sizeof(Slot) +
           arena_.memory_bytes();
  }

  /// How far entries lie from the slots that their hashes name, added up: what probing costs.
  [[nodiscard]] std::uint64_t displacement() const noexcept {
    std::uint64_t sum = 0;
    for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
      if (slots_[slot].entry != kEmpty) {
        const std::uint64_t home = entries_[slots_[slot].entry].hash;
        sum += (slot - static_cast<std::size_t>(home)) & (slots_.size() - 1);
      }
    }
    return sum;
  }

 private:
  static constexpr std::uint32_t kEmpty = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::size_t kFirstSlotCount = 64;

  struct Slot {
    std::uint32_t tag = 0;  // The high half of the hash: most mismatches never touch the entry.
    std::uint32_t entry = kEmpty;
  };

  [[nodiscard]] Key keep(Key key) {
    if constexpr (std::same_as<Key, std::string_view>) {
      return arena_.keep(key);
    } else {
      return key;
    }
  }

  // `slot_count` is a power of two.
  void rehash(std::size_t slot_count) {
    std::vector<Slot> slots(slot_count);
    const std::size_t mask = slot_count - 1;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const std::uint64_t hash = entries_[i].hash;
      std::size_t slot = static_cast<std::size_t>(hash) & mask;
      while (slots[slot].entry != kEmpty) {
        slot = (slot + 1) & mask;
      }
      slots[slot] = {static_cast<std::uint32_t>(hash >> 32), static_cast<std::uint32_t>(i)};
    }
    slots_ = std::move(slots);
  }

  std::vector<Entry> entries_;
  std::vector<Slot> slots_;
  KeyArena arena_;
};

}  // namespace pinion
