#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <pinion/shard/fold.hpp>
#include <pinion/shard/key_sum.hpp>
#include <pinion/shard/open_table.hpp>
#include <pinion/shard/table_key.hpp>
#include <pinion/shard/zeroed_pages.hpp>

namespace pinion {

/// Rows in parts by the high bits of their hashes, as they come: nothing is looked for when a row
/// is added, so where keys hardly come again no row waits for memory. Rows of equal keys are joined
/// part by part, in a near cache, when the content is asked for.
///
/// Throws StateRefused where a call needs memory that is not there.
/// Thread safety: none for one object.
template <TableKey K, Fold F>
class RowScatter {
 public:
  using S = typename F::State;
  using Slot = typename OpenTable<K, S>::Slot;

  /// As many as a near cache holds lines for, beside what else is in use.
  static constexpr std::size_t kPartCount = 256;

  void add(const K& key, std::uint64_t hash, const S& state) {
    Part& part = parts_[hash >> (64 - kPartBits)];
    if (part.next == part.end) [[unlikely]] {
      add_chunk(part);
    }
    *part.next++ = {key, state};
  }

  [[nodiscard]] std::uint64_t row_count() const noexcept {
    std::uint64_t count = 0;
    for (const Part& part : parts_) {
      count += part.row_count();
    }
    return count;
  }

  /// How many of the rows have a key of their own, at a guess: 1 when no key comes twice. Looks at
  /// one part; each call at another one.
  [[nodiscard]] double distinct_share() {
    for (std::size_t i = 0; i < kPartCount; ++i) {
      const Part& part = parts_[sampled_part_++ % kPartCount];
      if (part.row_count() > 0) {
        return static_cast<double>(joined(part).size()) / static_cast<double>(part.row_count());
      }
    }
    return 1;
  }

  /// Calls `function(key, state)` for every row, nearly in the order of hashes.
  template <class Function>
  void for_each(Function function) const {
    for (const Part& part : parts_) {
      part.for_each([&function](const Slot& row) { function(row.key, row.state); });
    }
  }

  /// Joins the rows of each key and appends the entries to `entries`, in the order of hashes and,
  /// where those are equal, of keys. Borrows the rows until the next one is added. Returns the keys
  /// of rows that were joined with others.
  [[nodiscard]] KeySum append_in_order(std::vector<OrderedEntry<K, S>>& entries) {
    KeySum joined_keys;
    for (Part& part : parts_) {
      const std::span<const Slot> rows = joined(part);
      joined_keys += joined_keys_;
      part.assign(rows);
      part.for_each([&entries](const Slot& row) { entries.push_back({row.key.hash(), &row}); });
    }
    return joined_keys;
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept { return slabs_.size() * kSlabBytes; }

 private:
  static constexpr int kPartBits = std::countr_zero(kPartCount);
  static constexpr std::size_t kChunkBytes = std::size_t{32} << 10;
  static constexpr std::size_t kChunkRows = kChunkBytes / sizeof(Slot);
  static constexpr std::size_t kSlabBytes = std::size_t{8} << 20;

  // Chunks of rows, all but the last one full.
  struct Part {
    Slot* next = nullptr;
    Slot* end = nullptr;
    std::vector<Slot*> chunks = {};

    [[nodiscard]] std::size_t row_count() const noexcept {
      return chunks.size() * kChunkRows - static_cast<std::size_t>(end - next);
    }

    template <class Function>
    void for_each(Function function) const {
      std::size_t left = row_count();
      for (const Slot* const chunk : chunks) {
        const std::size_t count = std::min(left, kChunkRows);
        std::for_each_n(chunk, count, function);
        left -= count;
      }
    }

    // Chunks that are no longer needed stay with the slabs, as hardly anything is added after this.
    void assign(std::span<const Slot> rows) {
      const std::size_t count = (rows.size() + kChunkRows - 1) / kChunkRows;
      chunks.resize(count);
      next = end = nullptr;
      for (Slot* const chunk : chunks) {
        const std::size_t filled = std::min(rows.size(), kChunkRows);
        next = std::ranges::copy(rows.first(filled), chunk).out;
        end = chunk + kChunkRows;
        rows = rows.subspan(filled);
      }
    }
  };

  void add_chunk(Part& part) {
    if (free_begin_ == free_end_) {
      slabs_.emplace_back(kSlabBytes);
      free_begin_ = slabs_.back().begin();
      free_end_ = free_begin_ + kSlabBytes;
    }
    part.chunks.push_back(reinterpret_cast<Slot*>(free_begin_));
    free_begin_ += kChunkBytes;
    part.next = part.chunks.back();
    part.end = part.next + kChunkRows;
  }

  // The rows of a part, those of each key joined in the order in which they came; in the order of
  // hashes, then of keys. Borrows scratch memory.
  std::span<const Slot> joined(const Part& part) {
    rows_.clear();
    rows_.reserve(part.row_count());
    part.for_each([this](const Slot& row) { rows_.push_back(row); });
    sort_nearly();
    joined_keys_ = {};
    std::size_t count = 0;
    for (std::size_t i = 0; i < sorted_.size(); ++i) {
      const Slot row = sorted_[i];
      const std::uint64_t hash = row.key.hash();
      std::size_t at = count;
      while (at > 0 && comes_before(row, hash, sorted_[at - 1])) {
        --at;
      }
      if (at > 0 && sorted_[at - 1].key == row.key) {
        F::join(sorted_[at - 1].state, row.state);
        joined_keys_.add(hash);
        continue;
      }
      std::move_backward(sorted_.begin() + static_cast<std::ptrdiff_t>(at),
                         sorted_.begin() + static_cast<std::ptrdiff_t>(count),
                         sorted_.begin() + static_cast<std::ptrdiff_t>(count + 1));
      sorted_[at] = row;
      ++count;
    }
    return std::span<const Slot>(sorted_).first(count);
  }

  [[nodiscard]] static bool comes_before(const Slot& row, std::uint64_t hash, const Slot& other) {
    const std::uint64_t other_hash = other.key.hash();
    return hash < other_hash || (hash == other_hash && row.key < other.key);
  }

  // One pass of a radix sort, which keeps rows of equal keys in their order, from rows_ to sorted_:
  // into pieces of one or two rows, as hashes are spread evenly.
  void sort_nearly() {
    sorted_.resize(rows_.size());
    if (rows_.size() < 2) {
      sorted_ = rows_;
      return;
    }
    const int bits = static_cast<int>(std::bit_width(rows_.size())) - 1;
    const auto piece_of = [bits](const Slot& row) {
      return (row.key.hash() << kPartBits) >> (64 - bits);
    };
    ends_.assign(std::size_t{1} << bits, 0);
    for (const Slot& row : rows_) {
      ++ends_[piece_of(row)];
    }
    std::size_t sum = 0;
    for (std::size_t& end : ends_) {
      sum += end;
      end = sum;
    }
    for (std::size_t i = rows_.size(); i > 0; --i) {
      sorted_[--ends_[piece_of(rows_[i - 1])]] = rows_[i - 1];
    }
  }

  std::array<Part, kPartCount> parts_;
  std::vector<ZeroedPages> slabs_;
  std::byte* free_begin_ = nullptr;
  std::byte* free_end_ = nullptr;
  std::size_t sampled_part_ = 0;

  // Scratch of one part, and the keys of its rows that joined() has joined with others.
  std::vector<Slot> rows_;
  std::vector<Slot> sorted_;
  std::vector<std::size_t> ends_;
  KeySum joined_keys_;
};

}  // namespace pinion
