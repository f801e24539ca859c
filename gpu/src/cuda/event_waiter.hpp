#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include <pinion/core/completion.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>

#include "cuda/cuda_runtime.hpp"

namespace pinion {

/// Signals completions when events of a stream have happened, in their order, on a thread of its
/// own. CUDA's own callbacks may not call CUDA, and callbacks of completions may; and what waits
/// for one stream must not hold up the others when it hangs.
///
/// Thread safety: all members may be called from any thread.
/// Lifetime: the destructor waits for the events; it must not run in a callback.
class EventWaiter {
 public:
  /// `outcome_of` makes the outcome of an event of what waiting for it gave.
  /// Errors: kResourceExhausted when the system has no more threads.
  /// Lifetime: borrows `runtime`.
  [[nodiscard]] static Result<std::unique_ptr<EventWaiter>> create(
      ICudaRuntime& runtime, int device, std::function<Status(int)> outcome_of);
  ~EventWaiter();
  EventWaiter(const EventWaiter&) = delete;
  EventWaiter& operator=(const EventWaiter&) = delete;

  /// Records what is in `stream` now; signals `source` when it has happened, or not when this gives
  /// CUDA's error number.
  [[nodiscard]] int put(CudaStream stream, CompletionSource& source) PINION_EXCLUDES(mutex_);

 private:
  struct Waiting {
    CudaEvent event;
    CompletionSource source;
  };

  EventWaiter(ICudaRuntime& runtime, int device, std::function<Status(int)> outcome_of);

  [[nodiscard]] int take_event(CudaEvent& event) PINION_EXCLUDES(mutex_);
  void run() PINION_EXCLUDES(mutex_);

  ICudaRuntime& runtime_;
  const int device_;
  const std::function<Status(int)> outcome_of_;

  Mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Waiting> waiting_ PINION_GUARDED_BY(mutex_);
  std::vector<CudaEvent> idle_events_ PINION_GUARDED_BY(mutex_);
  bool ended_ PINION_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pinion
