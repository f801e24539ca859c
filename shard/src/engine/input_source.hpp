#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <pinion/core/assert.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/input.hpp>

namespace pinion {

[[nodiscard]] inline std::uint64_t end_of(const InputSource& source) noexcept {
  return source.begin + source.size_bytes;
}

[[nodiscard]] inline bool lies_in_blob(const InputSource& source) noexcept {
  return source.blob.generation != 0;
}

/// Whether it is a block of standard input: the listing made its blob.
[[nodiscard]] inline bool is_stream(const InputSource& source) noexcept {
  return lies_in_blob(source) && source.path == "-";
}

/// Whether `right` goes on where `left`, the source before it, stops: two blocks of one stream. A
/// line may cross from one to the other.
[[nodiscard]] inline bool continues(const InputSource& left, const InputSource& right) noexcept {
  return is_stream(left) && is_stream(right);
}

/// The source that holds `offset`.
/// Precondition: the sources cover it.
[[nodiscard]] inline std::size_t source_at(std::span<const InputSource> sources,
                                           std::uint64_t offset) noexcept {
  const auto after = std::upper_bound(
      sources.begin(), sources.end(), offset,
      [](std::uint64_t value, const InputSource& source) { return value < source.begin; });
  PINION_ASSERT(after != sources.begin());
  PINION_ASSERT(offset < end_of(*(after - 1)));
  return static_cast<std::size_t>(after - sources.begin()) - 1;
}

/// One past the last block of the stream, or of the file, that begins at `first`.
[[nodiscard]] inline std::size_t whole_source_end(std::span<const InputSource> sources,
                                                  std::size_t first) noexcept {
  std::size_t end = first + 1;
  while (end < sources.size() && continues(sources[end - 1], sources[end])) {
    ++end;
  }
  return end;
}

/// For a source that is not a whole number of records.
[[nodiscard]] inline Status broken_record(const std::string& path, std::uint64_t size_bytes,
                                          std::uint64_t record_bytes) {
  return {ErrorCode::kInvalidArgument,
          "'" + path + "' has " + std::to_string(size_bytes) +
              " bytes, which is not a whole number of records of " + std::to_string(record_bytes) +
              ": " + std::to_string(size_bytes % record_bytes) + " are left over"};
}

}  // namespace pinion
