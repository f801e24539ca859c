#pragma once

#include <cstddef>
#include <utility>

namespace pinion::detail {

/// What the calling thread is at the moment. The binder writes the first three when oneTBB moves
/// the thread to another arena.
struct WorkerThread {
  const void* executor = nullptr;
  const void* arena = nullptr;  ///< Its PlaceArena.
  std::size_t worker = 0;
  unsigned nested_tasks = 0;  ///< Tasks that run inside a submit() that found its queue full.
  bool inside_task = false;
};
extern thread_local constinit WorkerThread this_thread;

/// Whether the calling thread is inside a task of some Executor.
[[nodiscard]] inline bool inside_task() noexcept {
  return this_thread.inside_task;
}

/// Marks the calling thread as inside a task for a while.
class InsideTask {
 public:
  InsideTask() noexcept : before_(std::exchange(this_thread.inside_task, true)) {}
  ~InsideTask() { this_thread.inside_task = before_; }
  InsideTask(const InsideTask&) = delete;
  InsideTask& operator=(const InsideTask&) = delete;

 private:
  const bool before_;
};

}  // namespace pinion::detail
