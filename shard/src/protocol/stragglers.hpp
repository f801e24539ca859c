#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <pinion/core/clock.hpp>

namespace pinion::protocol {

/// How long the units of a stage took from their grant to their report, for their weight: what the
/// slow ones are measured by. Of a bounded size; what it answers is right to an eighth.
///
/// Thread safety: none.
class DurationProfile {
 public:
  void add(Duration duration, std::uint64_t weight);

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

  /// Three quarters of the units took at most that many nanoseconds for each unit of weight.
  /// Precondition: count() > 0.
  [[nodiscard]] double third_quartile() const noexcept;

  /// How long a unit of that weight takes at that rate.
  [[nodiscard]] static Duration expected(double rate, std::uint64_t weight) noexcept;

 private:
  [[nodiscard]] static std::size_t bucket_of(double rate) noexcept;
  [[nodiscard]] static double end_of(std::size_t bucket) noexcept;

  std::vector<std::uint64_t> counts_;  // Empty before the first.
  std::uint64_t count_ = 0;
};

}  // namespace pinion::protocol
