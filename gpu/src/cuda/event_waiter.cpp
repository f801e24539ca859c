#include "cuda/event_waiter.hpp"

#include <system_error>
#include <utility>

namespace pinion {

EventWaiter::EventWaiter(ICudaRuntime& runtime, int device, std::function<Status(int)> outcome_of)
    : runtime_(runtime), device_(device), outcome_of_(std::move(outcome_of)) {}

Result<std::unique_ptr<EventWaiter>> EventWaiter::create(ICudaRuntime& runtime, int device,
                                                         std::function<Status(int)> outcome_of) {
  std::unique_ptr<EventWaiter> waiter(new EventWaiter(runtime, device, std::move(outcome_of)));
  try {
    waiter->thread_ = std::thread([raw = waiter.get()] { raw->run(); });
  } catch (const std::system_error& error) {
    return Status(
        ErrorCode::kResourceExhausted,
        std::string("the system has no thread for a stream of a device: ") + error.what());
  }
  return waiter;
}

EventWaiter::~EventWaiter() {
  {
    const MutexLock lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
  const MutexLock lock(mutex_);
  for (const CudaEvent event : idle_events_) {
    static_cast<void>(runtime_.destroy_event(device_, event));
  }
}

int EventWaiter::take_event(CudaEvent& event) {
  {
    const MutexLock lock(mutex_);
    if (!idle_events_.empty()) {
      event = idle_events_.back();
      idle_events_.pop_back();
      return 0;
    }
  }
  return runtime_.create_event(device_, event);
}

int EventWaiter::put(CudaStream stream, CompletionSource& source) {
  CudaEvent event = {};
  if (const int error = take_event(event); error != 0) {
    return error;
  }
  const int error = runtime_.record(device_, stream, event);
  {
    const MutexLock lock(mutex_);
    if (error != 0) {
      idle_events_.push_back(event);
      return error;
    }
    waiting_.push_back({event, std::move(source)});
  }
  changed_.notify_all();
  return 0;
}

void EventWaiter::run() {
  for (;;) {
    mutex_.lock();
    while (waiting_.empty() && !ended_) {
      changed_.wait(mutex_);
    }
    if (waiting_.empty()) {
      mutex_.unlock();
      return;
    }
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    mutex_.unlock();

    const int error = runtime_.wait_for(device_, next.event);
    {
      const MutexLock lock(mutex_);
      idle_events_.push_back(next.event);
    }
    next.source.signal(outcome_of_(error));
  }
}

}  // namespace pinion
