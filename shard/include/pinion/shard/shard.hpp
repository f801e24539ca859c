#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace pinion {

/// A piece of the input as a body gets it.
///
/// Thread safety: immutable; belongs to the worker that runs the body.
/// Lifetime: text() and bytes() are valid during the body only; what outlives it must be copied
///   (emitted keys are).
class Shard {
 public:
  struct Fields {
    std::uint64_t id = 0;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint64_t seed = 0;
    std::uint32_t attempt = 1;
    std::span<const std::byte> bytes = {};
    std::size_t lead_bytes = 0;
  };

  /// For the engine and for tests of bodies.
  explicit Shard(const Fields& fields) noexcept : fields_(fields) {}

  [[nodiscard]] std::uint64_t id() const noexcept { return fields_.id; }

  /// The range of the input: byte offsets, or indices.
  [[nodiscard]] std::uint64_t begin() const noexcept { return fields_.begin; }
  [[nodiscard]] std::uint64_t end() const noexcept { return fields_.end; }

  /// A random seed that depends on the job's seed and the shard alone, never on who runs it.
  [[nodiscard]] std::uint64_t seed() const noexcept { return fields_.seed; }

  /// 1, and one more each time this shard, or in an ordered step one of its batch, failed before.
  [[nodiscard]] std::uint32_t attempt() const noexcept { return fields_.attempt; }

  /// The input's bytes, inflated; empty for an index range. Where a shard spans several sources, a
  /// line feed stands between them if one does not end with it; with align_to() that delimiter, and
  /// nothing with align_to_records(). 64 readable bytes follow the end. A partition of an answer is
  /// as it was sealed, nothing readable follows it, and read_partition() reads it.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return fields_.bytes; }
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(fields_.bytes.data()), fields_.bytes.size()};
  }

  /// How many readable bytes stand before the first one: 64 where the engine has read the shard
  /// into memory, 0 where it is a blob as it is mapped.
  [[nodiscard]] std::size_t lead_bytes() const noexcept { return fields_.lead_bytes; }

 private:
  Fields fields_;
};

}  // namespace pinion
