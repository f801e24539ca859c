#include "fail_points.hpp"

#include <signal.h>
#include <unistd.h>

#include <utility>

namespace pinion {

void fail_point(const char* file, int line) noexcept {
  FailPointPlan& plan = fail_point_plan;
  if (plan.log != nullptr) {
    const std::uint32_t number = plan.log->count.fetch_add(1, std::memory_order_relaxed);
    if (number < FailPointLog::kCountMax) {
      plan.log->points[number] = {.file = file, .line = line};
    }
  }
  if (plan.left.load(std::memory_order_relaxed) >= 0 &&
      plan.left.fetch_sub(1, std::memory_order_relaxed) == 0) {
    ::kill(::getpid(), SIGKILL);
  }
  if (plan.left_to_action > 0 && --plan.left_to_action == 0) {
    std::exchange(plan.action, nullptr)();
  }
}

}  // namespace pinion
