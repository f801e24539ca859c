#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/core/cancel.hpp>
#include <pinion/core/executor.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// How one task of a TaskGroup failed.
struct TaskError {
  std::string task = {};
  Status status = {};                 ///< What it returned; kUnknown with what() if it threw.
  std::exception_ptr exception = {};  ///< What it threw, or null.
};

/// Named tasks that somebody waits for. All of their errors reach the one who waits.
///
///     TaskGroup tasks(*executor);
///     Status accepted = tasks.run(place, "parse", [&] { parse(input); });      // May throw.
///     accepted = tasks.run(place, "check", [&]() -> Status { return check(); });
///     Status status = tasks.wait();  // UNKNOWN: 1 task failed: 'parse': bad digit
///
/// Thread safety: run() from any thread before wait(), and from the group's tasks at any time; the
///   rest from one thread.
/// Lifetime: the destructor waits. The executor outlives the group.
class TaskGroup {
 public:
  /// Once `cancel` is cancelled, tasks that have not begun are dropped.
  explicit TaskGroup(Executor& executor, CancelToken cancel = {});
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  /// Submits a callable that returns nothing or a Status, and may throw. Allocates if it is larger
  /// than 32 bytes, is aligned beyond 8, or may throw when it is moved. `name` must live until the
  /// task has ended (a string literal).
  /// Blocks, errors: as Executor::submit(). A task that was not accepted is none of the group's.
  template <class F>
  [[nodiscard]] Status run(Place place, const char* name, F&& callable) {
    return executor_.submit(
        place, Entry<std::decay_t<F>>{Ticket(*state_, name), std::forward<F>(callable)});
  }

  /// Success if all tasks ran and none failed; kCancelled if some were dropped; else the code of
  /// the first that failed, and words that name each. After it the group may be used again.
  /// Blocks: until all tasks of the group have ended.
  /// Precondition: not inside an Executor's task, whose worker would be lost: parallel_for() nests.
  [[nodiscard]] Status wait();

  /// All failures that the last wait() found, in the order in which they happened.
  [[nodiscard]] const std::vector<TaskError>& errors() const noexcept;

 private:
  struct State;

  // A task's place in the count of its group, given back when the task is destroyed.
  class Ticket {
   public:
    Ticket(State& state, const char* name) noexcept;
    Ticket(Ticket&& other) noexcept
        : state_(std::exchange(other.state_, nullptr)), name_(other.name_) {}
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket() {
      if (state_ != nullptr) {
        give_back();
      }
    }
    // False: the group is cancelled.
    [[nodiscard]] bool begin() noexcept;
    void report(Status status) noexcept;
    void report_exception() noexcept;  // The one that is being handled.

   private:
    void give_back() noexcept;

    State* state_;
    const char* name_;
  };

  template <class F>
  struct Entry {
    void operator()() noexcept {
      if (!ticket.begin()) {
        return;
      }
      try {
        if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
          callable();
        } else {
          ticket.report(callable());
        }
      } catch (...) {
        ticket.report_exception();
      }
    }

    Ticket ticket;  // First, so that what the callable owns goes before the group hears of it.
    F callable;
  };

  Executor& executor_;
  std::unique_ptr<State> state_;
};

}  // namespace pinion
