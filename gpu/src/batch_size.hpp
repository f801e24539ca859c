#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <pinion/core/clock.hpp>

namespace pinion {

/// How many bytes a device is best given in one launch, by what launches of one kernel took. Each
/// size is tried that promises a gain: twice as much is tried as long as a byte of twice as much
/// takes less. More is worth nothing, and keeps the stages of the device from overlapping.
///
/// Thread safety: none.
class BatchSize {
 public:
  /// From the bytes of one shard on, at most `most`, unless that is less.
  [[nodiscard]] std::uint64_t best(std::uint64_t shard_bytes, std::uint64_t most) const;

  /// A launch of so many bytes, at least 1, has kept the device busy for so long.
  void measured(std::uint64_t bytes, Duration time);

 private:
  // By the number of bits of the size: nanoseconds for a byte.
  std::array<std::optional<double>, 65> rates_ = {};
};

}  // namespace pinion
