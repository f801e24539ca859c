#pragma once

#include <chrono>

#include <pinion/core/clock.hpp>

namespace pinion {

/// When a device hangs: when work on it takes `factor` times as long as the work before it did by
/// its bytes, but at least `least`. While nothing was measured, when it takes `first`.
struct HangLimits {
  double factor = 20.0;                       ///< At least 1.
  Duration least = std::chrono::seconds(1);   ///< Above 0, as `first`.
  Duration first = std::chrono::seconds(60);  ///< The first work of a process may take long.

  friend bool operator==(const HangLimits&, const HangLimits&) = default;
};

}  // namespace pinion
