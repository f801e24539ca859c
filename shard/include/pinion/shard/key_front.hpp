#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <pinion/shard/fold.hpp>
#include <pinion/shard/key_sum.hpp>
#include <pinion/shard/open_table.hpp>
#include <pinion/shard/table_key.hpp>

namespace pinion {

/// The states of the keys that came last, in front of an OpenTable that is too large for the near
/// caches: sets of two entries. A key that is in neither place of its set takes the first one. The
/// key from there moves to the second, and the one from the second on a list, which is worked off
/// in blocks, so that the slots of a block are fetched from memory together. So a key that comes
/// often is not driven out by one that comes once.
///
/// Thread safety: none for one object.
template <TableKey K, Fold F, std::size_t Bytes>
class KeyFront {
 public:
  using S = typename F::State;
  using Value = typename F::Value;

  /// Makes the entries. Call it before adding.
  void prepare() {
    if (entries_ == nullptr) {
      entries_ = std::make_unique<Entry[]>(kCount);
      list_ = std::make_unique<Entry[]>(kListCount);
    }
  }

  /// Adds a value. The high bits of `spread` choose the set.
  /// Precondition: the key is not empty, and `spread` depends on the key alone.
  void add(const K& key, std::uint64_t spread, const Value& value, OpenTable<K, S>& behind) {
    Entry* const set = &entries_[(spread >> kShift) * 2];
    if (set->key == key) [[likely]] {
      F::add(set->state, value);
      return;
    }
    add_behind_first(set, {key, F::first(value)}, behind);
  }

  /// Moves everything into the table.
  void drain(OpenTable<K, S>& behind) {
    for (std::size_t i = 0; entries_ != nullptr && i < kCount; ++i) {
      if (!entries_[i].key.empty()) {
        join_in(behind, entries_[i]);
        entries_[i].key = {};
      }
    }
    drain_list(behind);
  }

  /// What the front has added to the keys of the table behind it, once it was drained.
  [[nodiscard]] const KeySum& keys() const noexcept { return keys_; }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept {
    return entries_ == nullptr ? 0 : (kCount + kListCount) * sizeof(Entry);
  }

 private:
  struct Entry {
    K key = {};  // Empty: nothing here.
    S state = {};
  };

  static constexpr std::size_t kCount =
      std::max(std::bit_floor(Bytes / sizeof(Entry)), std::size_t{4});
  static constexpr int kShift = 64 - std::countr_zero(kCount / 2);
  static constexpr std::size_t kListCount = 256;

  // Not inlined, and with nothing by reference that the loop around add() would have to put into
  // memory for it.
  [[gnu::noinline]] void add_behind_first(Entry* set, Entry entry, OpenTable<K, S>& behind) {
    Entry& second = set[1];
    if (second.key == entry.key) {
      F::join(second.state, entry.state);
      std::swap(set[0], second);
      return;
    }
    if (!second.key.empty()) {
      if (list_count_ == kListCount) {
        drain_list(behind);
      }
      list_[list_count_++] = second;
    }
    second = set[0];
    set[0] = entry;
    keys_.add(entry.key.hash());
  }

  [[gnu::noinline]] void drain_list(OpenTable<K, S>& behind) {
    for (std::size_t i = 0; i < list_count_; ++i) {
      behind.prefetch(list_[i].key.hash());
    }
    for (std::size_t i = 0; i < list_count_; ++i) {
      join_in(behind, list_[i]);
    }
    list_count_ = 0;
  }

  void join_in(OpenTable<K, S>& table, const Entry& entry) {
    const std::uint64_t hash = entry.key.hash();
    const auto [slot, added] = table.find_or_add(entry.key, hash);
    if (added) {
      slot->state = entry.state;
    } else {
      F::join(slot->state, entry.state);
      keys_.remove(hash);
    }
  }

  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<Entry[]> list_;
  std::size_t list_count_ = 0;
  KeySum keys_;  // Of all entries that were made, but for those that were joined with a slot.
};

}  // namespace pinion
