#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "pages.hpp"

namespace pinion::bench {

// Fibonacci hashing (Knuth, "The Art of Computer Programming", volume 3, 6.4): spreads dense keys
// evenly. The top bits of the hash choose the partition, the next ones the slot.
inline constexpr unsigned kPartitionBits = 6;
inline constexpr std::size_t kPartitions = std::size_t{1} << kPartitionBits;

[[nodiscard]] inline std::uint64_t hash_of(std::uint32_t key) noexcept {
  return key * 0x9E3779B97F4A7C15u;
}
[[nodiscard]] inline std::size_t partition_of(std::uint32_t key) noexcept {
  return static_cast<std::size_t>(hash_of(key) >> (64 - kPartitionBits));
}

/// The plain programs' table: open addressing with linear probing, at most half full.
class SumTable {
 public:
  struct Entry {
    std::uint64_t tag;  // 0: empty; else the key with a bit above it.
    double sum;

    [[nodiscard]] std::uint32_t key() const noexcept { return static_cast<std::uint32_t>(tag); }
  };

  explicit SumTable(std::size_t keys = 256) { reserve(keys); }

  void reserve(std::size_t keys) {
    unsigned bits = 6;
    while ((std::size_t{1} << bits) < 2 * keys) {
      ++bits;
    }
    if ((std::size_t{1} << bits) > entries_.size()) {
      rehash(bits);
    }
  }

  void add(std::uint32_t key, double value) {
    const std::uint64_t tag = key | kUsed;
    for (std::size_t i = slot(key);; i = (i + 1) & (entries_.size() - 1)) {
      Entry& entry = entries_[i];
      if (entry.tag == tag) {
        entry.sum += value;
        return;
      }
      if (entry.tag == 0) {
        entry = {tag, value};
        if (++used_ > entries_.size() / 2) {
          rehash(64 - shift_ + 1);
        }
        return;
      }
    }
  }

  [[nodiscard]] std::size_t size() const noexcept { return used_; }

  template <class Visit>
  void for_each(Visit visit) const {
    for (const Entry& entry : entries_) {
      if (entry.tag != 0) {
        visit(entry);
      }
    }
  }

 private:
  static constexpr std::uint64_t kUsed = std::uint64_t{1} << 32;

  [[nodiscard]] std::size_t slot(std::uint32_t key) const noexcept {
    return static_cast<std::size_t>(hash_of(key) << kPartitionBits >> shift_);
  }

  void rehash(unsigned bits) {
    const Pages<Entry> old = std::exchange(entries_, Pages<Entry>(std::size_t{1} << bits));
    shift_ = 64 - bits;
    for (const Entry& entry : old) {
      if (entry.tag != 0) {
        std::size_t i = slot(entry.key());
        while (entries_[i].tag != 0) {
          i = (i + 1) & (entries_.size() - 1);
        }
        entries_[i] = entry;
      }
    }
  }

  Pages<Entry> entries_;
  unsigned shift_ = 64;
  std::size_t used_ = 0;
};

}  // namespace pinion::bench
