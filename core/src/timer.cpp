#include <pinion/core/timer.hpp>

#include <condition_variable>
#include <map>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <pinion/core/thread_annotations.hpp>

namespace pinion {

struct SystemTimer::State {
  void run() PINION_EXCLUDES(mutex);

  Mutex mutex;
  std::condition_variable_any changed;
  bool stopping PINION_GUARDED_BY(mutex) = false;
  // Equal times keep their order.
  std::multimap<Instant, std::function<void()>> calls PINION_GUARDED_BY(mutex);
  std::thread thread;
};

void SystemTimer::State::run() {
  const SystemClock clock;
  for (;;) {
    std::function<void()> callback;
    {
      const MutexLock lock(mutex);
      while (!stopping && (calls.empty() || calls.begin()->first > clock.now())) {
        if (calls.empty()) {
          changed.wait(mutex);
        } else {
          // A copy: the entry may go while the lock is free.
          const Instant due = calls.begin()->first;
          changed.wait_until(mutex, due);
        }
      }
      if (stopping) {
        return;
      }
      callback = std::move(calls.begin()->second);
      calls.erase(calls.begin());
    }
    callback();
  }
}

Result<std::unique_ptr<SystemTimer>> SystemTimer::create() {
  auto state = std::make_unique<State>();
  try {
    state->thread = std::thread([state = state.get()] { state->run(); });
  } catch (const std::system_error& error) {
    return Status(ErrorCode::kResourceExhausted,
                  std::string("the system gives no thread for a timer: ") + error.what());
  }
  return std::unique_ptr<SystemTimer>(new SystemTimer(std::move(state)));
}

SystemTimer::SystemTimer(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}

SystemTimer::~SystemTimer() {
  {
    const MutexLock lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  state_->thread.join();
}

void SystemTimer::call_at(Instant due, std::function<void()> callback) {
  const MutexLock lock(state_->mutex);
  state_->calls.emplace(due, std::move(callback));
  state_->changed.notify_all();
}

}  // namespace pinion
