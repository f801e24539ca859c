#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pinion::protocol {

/// A set of numbers below a limit that is fixed when it is made; its members are found in order.
/// A bit and a sixty-third each.
///
/// Thread safety: none.
class PositionSet {
 public:
  PositionSet() = default;
  /// Empty.
  explicit PositionSet(std::uint32_t limit) : limit_(limit) {
    std::size_t count = limit;
    do {
      count = (count + kWordBits - 1) / kWordBits;
      levels_.emplace_back(count);
    } while (count > 1);
  }

  void insert(std::uint32_t member) {
    std::size_t at = member;
    for (std::vector<std::uint64_t>& level : levels_) {
      std::uint64_t& word = level[at / kWordBits];
      const bool summed_up = word != 0;
      word |= std::uint64_t{1} << (at % kWordBits);
      if (summed_up) {
        return;
      }
      at /= kWordBits;
    }
  }

  /// Inserts all numbers below the limit.
  void fill() {
    std::size_t count = limit_;
    for (std::vector<std::uint64_t>& level : levels_) {
      std::fill(level.begin(), level.end(), ~std::uint64_t{0});
      if (count % kWordBits != 0) {
        level.back() = (std::uint64_t{1} << (count % kWordBits)) - 1;
      }
      count = level.size();
    }
  }

  void erase(std::uint32_t member) {
    std::size_t at = member;
    for (std::vector<std::uint64_t>& level : levels_) {
      std::uint64_t& word = level[at / kWordBits];
      word &= ~(std::uint64_t{1} << (at % kWordBits));
      if (word != 0) {
        return;
      }
      at /= kWordBits;
    }
  }

  /// Members that follow each other.
  struct Run {
    std::uint32_t begin = 0;
    std::uint32_t count = 0;
  };
  /// Takes the smallest member that is at least `from`, with up to `count_max` in all that follow
  /// it, but not all of a long run. None when there is no such member. Precondition: count_max > 0.
  Run take(std::uint32_t from, std::uint64_t count_max) {
    const std::uint32_t begin = next(from);
    if (begin == limit_) {
      return {};
    }
    std::uint64_t& word = levels_.front()[begin / kWordBits];
    const unsigned shift = begin % kWordBits;
    const auto members = static_cast<std::uint64_t>(std::countr_one(word >> shift));
    const std::uint64_t count = std::min(members, count_max);
    word &= ~((~std::uint64_t{0} >> (kWordBits - count)) << shift);
    if (word == 0) {
      erase(begin);
    }
    return {.begin = begin, .count = static_cast<std::uint32_t>(count)};
  }

  [[nodiscard]] bool contains(std::uint32_t member) const {
    return (levels_.front()[member / kWordBits] >> (member % kWordBits) & 1U) != 0;
  }

  /// The smallest member that is at least `from`; the limit when there is none.
  [[nodiscard]] std::uint32_t next(std::uint32_t from) const {
    std::size_t at = from;
    for (std::size_t level = 0; level < levels_.size(); ++level) {
      if (at / kWordBits >= levels_[level].size()) {
        return limit_;
      }
      const std::uint64_t bits = levels_[level][at / kWordBits] >> (at % kWordBits);
      if (bits != 0) {
        at += static_cast<std::size_t>(std::countr_zero(bits));
        while (level > 0) {
          --level;
          at = at * kWordBits + static_cast<std::size_t>(std::countr_zero(levels_[level][at]));
        }
        return static_cast<std::uint32_t>(at);
      }
      at = at / kWordBits + 1;
    }
    return limit_;
  }

  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    std::size_t bytes = 0;
    for (const std::vector<std::uint64_t>& level : levels_) {
      bytes += level.capacity() * sizeof(std::uint64_t);
    }
    return bytes;
  }

 private:
  static constexpr std::size_t kWordBits = 64;

  std::uint32_t limit_ = 0;
  std::vector<std::vector<std::uint64_t>> levels_;  // Each says which words of the one before hold.
};

}  // namespace pinion::protocol
