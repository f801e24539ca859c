#include <pinion/core/clock.hpp>

namespace pinion {

Instant SystemClock::now() const noexcept {
  return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
}

}  // namespace pinion
