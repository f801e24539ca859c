#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shard/input.hpp>

namespace pinion {

/// Whether an occurrence of `delimiter` can overlap another one: "\n\n" can, "\r\n" cannot.
[[nodiscard]] bool overlaps_itself(std::string_view delimiter) noexcept;

/// Looks for the ends of delimited records in one input.
///
/// Thread safety: none.
/// Lifetime: keeps references to both.
class DelimiterFinder {
 public:
  /// Precondition: `delimiter` is not empty.
  DelimiterFinder(const InputListing& input, std::string_view delimiter) noexcept
      : input_(input), delimiter_(delimiter), overlaps_(overlaps_itself(delimiter)) {}

  /// The end of the first record that ends at `at_least` or behind it; `end` if none does. Records
  /// end with the delimiter, and are counted from `begin`, where one begins.
  /// Precondition: begin < at_least <= end, in one file or one stream.
  /// Blocks: for the file system. Errors: those of reading.
  [[nodiscard]] Result<std::uint64_t> first_end(std::uint64_t begin, std::uint64_t at_least,
                                                std::uint64_t end);

 private:
  [[nodiscard]] Result<std::uint64_t> find(std::uint64_t from, std::uint64_t end);
  [[nodiscard]] Result<std::uint64_t> find_counting(std::uint64_t begin, std::uint64_t at_least,
                                                    std::uint64_t end);
  [[nodiscard]] std::uint64_t first_fresh(std::uint64_t candidate, std::uint64_t last) const;
  [[nodiscard]] Status load(std::uint64_t from, std::size_t count);

  const InputListing& input_;
  std::string_view delimiter_;
  bool overlaps_;
  std::vector<std::byte> block_;
};

}  // namespace pinion
