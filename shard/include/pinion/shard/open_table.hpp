#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/core/assert.hpp>
#include <pinion/shard/table_key.hpp>
#include <pinion/shard/zeroed_pages.hpp>

namespace pinion {

/// The hashes of one of several equal partitions: see partition_of_hash().
struct HashRange {
  std::uint32_t partition = 0;
  std::uint32_t partition_count = 1;

  friend bool operator==(const HashRange&, const HashRange&) = default;
};

/// States by key in memory: open addressing with linear probing, keys and states side by side. The
/// slots divide the range of hashes evenly, so keys lie nearly in the order of their hashes:
/// growing and sealing walk through memory from front to back.
///
/// The same property makes it quadratic to fill a small table in the order of hashes while it
/// grows, because all that was added so far crowds its front. Whoever adds entries of another table
/// calls reserve() first.
///
/// Thread safety: none for one object.
template <TableKey K, class S>
class OpenTable {
  static_assert(std::is_trivially_copyable_v<S>);

  __extension__ using Wide = unsigned __int128;

 public:
  struct Slot {
    K key;
    S state;
  };

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Makes room for `count` keys in all, so that adding them moves nothing, and tells where most of
  /// their hashes lie. Others may come too, and cost more.
  void reserve(std::size_t count, HashRange range = {}) {
    if (size_ == 0) {
      first_hash_ = first_hash_of(range);
      part_count_ = range.partition_count;
      pages_ = {};
      home_count_ = 0;
    }
    if (count > capacity()) {
      rebuild(std::bit_ceil(count + count / 5 * 3 + kFirstSlotCount), tail_count_);
    }
  }

  /// The slot of a key, and whether it was added. The state of an added key is zero bytes.
  /// Throws std::bad_alloc. Precondition: the key is not empty, and `hash` is its hash.
  std::pair<Slot*, bool> find_or_add(const K& key, std::uint64_t hash) {
    if (size_ >= capacity()) {
      rebuild(std::max(kFirstSlotCount, home_count_ * 2), tail_count_);
    }
    while (true) {
      Slot* slot = slots() + home(hash);
      for (; !slot->key.empty(); ++slot) {
        if (slot->key == key) {
          return {slot, false};
        }
      }
      if (slot != slots() + home_count_ + tail_count_) {
        slot->key = key;
        ++size_;
        return {slot, true};
      }
      make_room_at_the_end();
    }
  }

  // Inlined by force, here and below: gcc takes a function that only fetches ahead for one without
  // effect, and drops calls of it that it has not inlined by then.
  [[gnu::always_inline]] void prefetch(std::uint64_t hash) const noexcept {
    if (home_count_ > 0) {
      __builtin_prefetch(slots() + home(hash), 1);
    }
  }

  /// Finds keys that are there. A copy of what searching needs, so that loops keep it in registers.
  /// Invalid once the table has moved, which finds fewer keys and is safe only to drop: take a new
  /// one after find_or_add().
  class Finder {
   public:
    /// The slot of the key, or null.
    [[nodiscard]] Slot* find(const K& key, std::uint64_t hash) const noexcept {
      Slot* slot = slots_ + home(hash);
      while (!(slot->key == key)) {
        if (slot->key.empty()) {
          return nullptr;
        }
        ++slot;
      }
      return slot;
    }
    [[gnu::always_inline]] void prefetch(std::uint64_t hash) const noexcept {
      __builtin_prefetch(slots_ + home(hash), 1);
    }

   private:
    friend class OpenTable;
    explicit Finder(const OpenTable& table) noexcept
        : slots_(table.slots()),
          first_hash_(table.first_hash_),
          slots_per_range_(table.slots_per_range_),
          last_home_(table.home_count_ - 1) {}

    [[nodiscard]] std::size_t home(std::uint64_t hash) const noexcept {
      const Wide wide = static_cast<Wide>(hash - first_hash_) * slots_per_range_;
      return std::min(static_cast<std::size_t>(wide >> 64), last_home_);
    }

    Slot* slots_;
    std::uint64_t first_hash_;
    std::uint64_t slots_per_range_;
    std::size_t last_home_;
  };

  /// Precondition: the table was reserved or has a key.
  [[nodiscard]] Finder finder() const noexcept {
    PINION_ASSERT(home_count_ > 0);
    return Finder(*this);
  }

  /// Every slot that holds a key, nearly in the order of hashes.
  template <class Function>
  void for_each(Function function) const {
    const Slot* const end = slots() + all_slot_count();
    for (const Slot* slot = slots(); slot != end; ++slot) {
      if (!slot->key.empty()) {
        function(*slot);
      }
    }
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept { return pages_.size_bytes(); }

  /// How far keys lie from the slots that their hashes name, added up: what probing costs.
  [[nodiscard]] std::uint64_t displacement() const {
    std::uint64_t sum = 0;
    for_each([&](const Slot& slot) {
      sum += static_cast<std::uint64_t>(&slot - slots()) - home(slot.key.hash());
    });
    return sum;
  }

 private:
  static constexpr std::size_t kFirstSlotCount = 64;
  static constexpr std::size_t kFirstTailCount = 63;

  [[nodiscard]] Slot* slots() const noexcept { return reinterpret_cast<Slot*>(pages_.begin()); }
  // The smallest hash of a partition.
  [[nodiscard]] static std::uint64_t first_hash_of(HashRange range) noexcept {
    const std::uint64_t count = range.partition_count;
    return ((std::uint64_t{range.partition} << 32) + count - 1) / count << 32;
  }
  [[nodiscard]] std::size_t home(std::uint64_t hash) const noexcept {
    return Finder(*this).home(hash);
  }
  // Five eighths full at most: a search then looks at fewer than two slots.
  [[nodiscard]] std::size_t capacity() const noexcept { return home_count_ / 8 * 5; }
  [[nodiscard]] std::size_t all_slot_count() const noexcept {
    return home_count_ == 0 ? 0 : home_count_ + tail_count_;
  }

  // Probing does not wrap around, or the order would end there: keys that find no slot before the
  // end lie in a tail. Few do, unless hashes are equal, which more homes would not help.
  void make_room_at_the_end() {
    if (size_ < home_count_ / 8) {
      rebuild(home_count_, tail_count_ * 2 + 1);
    } else {
      rebuild(home_count_ * 2, tail_count_);
    }
  }

  // `home_count` is a power of two. The slot behind the tail stays empty: it ends every search.
  void rebuild(std::size_t home_count, std::size_t tail_count) {
    if (home_count > (std::size_t{1} << 56) / sizeof(Slot)) {
      throw std::bad_alloc();
    }
    OpenTable larger;
    larger.pages_ = ZeroedPages((home_count + tail_count + 1) * sizeof(Slot));
    write_each_page(larger.pages_);
    larger.home_count_ = home_count;
    larger.tail_count_ = tail_count;
    larger.first_hash_ = first_hash_;
    larger.part_count_ = part_count_;
    larger.slots_per_range_ = static_cast<std::uint64_t>(home_count) * part_count_;
    for_each([&larger](const Slot& slot) {
      larger.find_or_add(slot.key, slot.key.hash()).first->state = slot.state;
    });
    *this = std::move(larger);
  }

  // Keys are spread over all pages, and a slot is read before it is written: the first read would
  // map a page of zeros that all share, and the first write replace it, for which the system
  // interrupts all other workers.
  static void write_each_page(const ZeroedPages& pages) noexcept {
    constexpr std::size_t kPageBytes = 4096;
    for (std::size_t at = 0; at < pages.size_bytes(); at += kPageBytes) {
      pages.begin()[at] = std::byte{0};
    }
  }

  ZeroedPages pages_;
  std::size_t home_count_ = 0;
  std::size_t tail_count_ = kFirstTailCount;
  std::size_t size_ = 0;
  std::uint64_t first_hash_ = 0;
  std::uint64_t part_count_ = 1;
  std::uint64_t slots_per_range_ = 0;  // As many as there would be for all hashes.
};

/// An entry with its hash.
template <class K, class S>
struct OrderedEntry {
  std::uint64_t hash;
  const typename OpenTable<K, S>::Slot* slot;
};

/// The order of entries: that of the hashes and, where those are equal, of the keys.
template <class K, class S>
[[nodiscard]] bool comes_before(const OrderedEntry<K, S>& left, const OrderedEntry<K, S>& right) {
  return left.hash < right.hash || (left.hash == right.hash && left.slot->key < right.slot->key);
}

/// Takes the entries of one partition off the front of entries in the order of hashes.
/// Precondition: those of the partitions before it were taken.
template <class K, class S>
[[nodiscard]] std::span<const OrderedEntry<K, S>> take_partition(
    std::span<const OrderedEntry<K, S>>& rest, std::uint32_t partition,
    std::uint32_t partition_count) {
  std::size_t count = 0;
  while (count < rest.size() && partition_of_hash(rest[count].hash, partition_count) == partition) {
    ++count;
  }
  const std::span<const OrderedEntry<K, S>> taken = rest.first(count);
  rest = rest.subspan(count);
  return taken;
}

/// Appends an entry to entries that lie in their order.
template <class K, class S>
void append_in_order(std::vector<OrderedEntry<K, S>>& entries, const OrderedEntry<K, S>& entry) {
  entries.push_back(entry);
  for (std::size_t i = entries.size() - 1; i > 0; --i) {
    if (comes_before(entries[i - 1], entry)) {
      break;
    }
    std::swap(entries[i - 1], entries[i]);
  }
}

/// The entries of a table in the order of hashes. Equal content gives an equal list, whatever the
/// order in which it came. Borrows the table.
template <class K, class S>
[[nodiscard]] std::vector<OrderedEntry<K, S>> entries_in_order(const OpenTable<K, S>& table) {
  std::vector<OrderedEntry<K, S>> entries;
  entries.reserve(table.size() + 1);
  table.for_each([&](const auto& slot) {
    append_in_order<K, S>(entries, {slot.key.hash(), &slot});
  });
  return entries;
}

}  // namespace pinion
