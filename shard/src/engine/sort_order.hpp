#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/record_table.hpp"
#include "engine/sort_key.hpp"

namespace pinion::engine {

/// Puts records in order by their prefixes, and by their whole keys where prefixes are equal.
///
/// Each record is one word of 64 bits for the most part: as much of its prefix as there is room
/// for, then its number, so that a vectorised sort of words (Highway's vqsort) orders them and ties
/// stay in the order of numbers. What is still equal is taken eight bytes further along the key.
///
/// Thread safety: none for one object.
class SortOrder {
 public:
  /// Borrows `keys` and what `records` borrow.
  SortOrder(const KeyReader& keys, const RecordTable& records) : keys_(keys), records_(records) {}

  /// The numbers of the records in ascending order of their keys, equal ones ascending.
  /// Precondition: prefixes[i] is the prefix of record i; at most 2^32 records.
  [[nodiscard]] std::vector<std::uint64_t> run(std::span<const std::uint64_t> prefixes);

 private:
  // Words whose keys are equal up to `key_offset`, to be put in order.
  struct Run {
    std::size_t begin;
    std::size_t end;
    std::size_t key_offset;
  };

  void sort_run(const Run& run);
  [[nodiscard]] std::size_t common_bytes(std::span<const std::uint64_t> numbers,
                                         std::size_t known) const;
  void sort_words(std::span<std::uint64_t> words, std::span<const std::uint64_t> values);
  void note_equal(std::span<const std::uint64_t> words, std::size_t begin, std::size_t key_offset,
                  std::uint64_t number_mask);

  const KeyReader& keys_;
  const RecordTable records_;
  std::vector<std::uint64_t> numbers_;
  std::vector<std::uint64_t> values_;
  std::vector<std::uint64_t> words_;
  std::vector<Run> unsorted_;
  bool is_exact_ = false;
};

}  // namespace pinion::engine
