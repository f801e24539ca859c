#pragma once

#include <chrono>
#include <cstdint>

namespace pinion {

/// A span of time, in nanoseconds.
using Duration = std::chrono::nanoseconds;

/// A point on one process's monotonic time line. Never compared across processes: leases travel as
/// durations.
using Instant = std::chrono::time_point<std::chrono::steady_clock, Duration>;

/// Where time comes from. Code that decides by time takes its instants from one of these, so that a
/// test or a simulation can own them.
///
/// Thread safety: now() may be called from any thread.
class IClock {
 public:
  virtual ~IClock() = default;

  /// Never goes back.
  [[nodiscard]] virtual Instant now() const noexcept = 0;
};

/// The machine's monotonic clock.
class SystemClock final : public IClock {
 public:
  [[nodiscard]] Instant now() const noexcept override;
};

}  // namespace pinion
