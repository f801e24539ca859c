#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <pinion/core/assert.hpp>
#include <pinion/shard/input.hpp>

namespace pinion {

[[nodiscard]] inline std::uint64_t end_of(const InputSource& source) noexcept {
  return source.begin + source.size_bytes;
}

/// Whether the bytes lie in a blob: they came from a stream.
[[nodiscard]] inline bool is_stream(const InputSource& source) noexcept {
  return source.blob.generation != 0;
}

/// Whether `right` goes on where `left`, the source before it, stops: two blocks of one stream. A
/// line may cross from one to the other.
[[nodiscard]] inline bool continues(const InputSource& left, const InputSource& right) noexcept {
  return is_stream(left) && is_stream(right) && left.path == right.path;
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

}  // namespace pinion
