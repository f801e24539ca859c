#include <pinion/gpu/virtual_time.hpp>

#include <algorithm>
#include <atomic>
#include <map>
#include <utility>

#include <pinion/core/thread_annotations.hpp>

namespace pinion {
namespace {

// Read from any thread, and moved only by the one that lets the time pass: nobody orders other
// memory by it.
class MovedClock final : public IClock {
 public:
  [[nodiscard]] Instant now() const noexcept override {
    return Instant(Duration(ticks_.load(std::memory_order_relaxed)));
  }
  void move_to(Instant instant) noexcept {
    ticks_.store(instant.time_since_epoch().count(), std::memory_order_relaxed);
  }

 private:
  std::atomic<Duration::rep> ticks_ = 0;
};

}  // namespace

struct VirtualTime::State {
  // Runs the first call that is due at `end` or before; whether there was one.
  bool step(Instant end) PINION_EXCLUDES(mutex);

  MovedClock clock;
  Mutex mutex;
  // Equal times keep their order.
  std::multimap<Instant, std::function<void()>> calls PINION_GUARDED_BY(mutex);
};

bool VirtualTime::State::step(Instant end) {
  std::function<void()> callback;
  {
    const MutexLock lock(mutex);
    if (calls.empty() || calls.begin()->first > end) {
      return false;
    }
    clock.move_to(std::max(clock.now(), calls.begin()->first));
    callback = std::move(calls.begin()->second);
    calls.erase(calls.begin());
  }
  callback();
  return true;
}

VirtualTime::VirtualTime() : state_(std::make_unique<State>()) {}
VirtualTime::~VirtualTime() = default;

const IClock& VirtualTime::clock() const noexcept {
  return state_->clock;
}

void VirtualTime::call_at(Instant due, std::function<void()> callback) {
  const MutexLock lock(state_->mutex);
  state_->calls.emplace(due, std::move(callback));
}

void VirtualTime::advance(Duration span) {
  const Instant end = state_->clock.now() + span;
  while (state_->step(end)) {
  }
  state_->clock.move_to(end);
}

void VirtualTime::run() {
  while (state_->step(Instant::max())) {
  }
}

bool VirtualTime::run_until(const Completion& completion) {
  while (!completion.ready()) {
    if (!state_->step(Instant::max())) {
      return completion.ready();
    }
  }
  return true;
}

}  // namespace pinion
