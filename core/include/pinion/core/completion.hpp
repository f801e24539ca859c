#pragma once

#include <functional>
#include <memory>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// The outcome of something that ends later, seen by those who wait for it. Copies are the same
/// completion.
///
///     CompletionSource source;
///     source.completion().on_ready([](const Status& status) { ... });
///     source.signal(Status());  // Runs the callback here.
///
/// Thread safety: all members may be called from any thread.
/// Order: what happened before signal() happened before a callback runs, before wait() returns and
///   before ready() says true.
class Completion {
 public:
  using Callback = std::function<void(const Status&)>;

  [[nodiscard]] bool ready() const noexcept;

  /// The outcome. Lifetime: as long as any copy of this completion.
  /// Precondition: ready().
  [[nodiscard]] const Status& status() const noexcept;

  /// Runs `callback` once: on the thread that signals, in the order in which callbacks came; or
  /// here and at once when that is over. A callback may attach more. Callbacks that signal further
  /// completions nest on the stack: long chains belong in an Executor's tasks.
  /// Precondition: `callback` is not empty and does not throw.
  void on_ready(Callback callback) const;

  /// Blocks: until it is signalled.
  /// Precondition: not inside an Executor's task, whose worker would be lost; use on_ready() there.
  void wait() const;

  /// Whether it was ready when `deadline` passed. The deadline is one of SystemClock.
  /// Blocks: until then.
  /// Precondition: as wait().
  [[nodiscard]] bool wait_until(Instant deadline) const;

 private:
  friend class CompletionSource;
  struct State;
  explicit Completion(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

  // Shared because the one who signals and those who wait end in any order.
  std::shared_ptr<State> state_;
};

/// The right to signal a completion, once. Dropped before that, it signals kAborted, so that nobody
/// waits for ever. Movable, not copyable.
///
/// Thread safety: none for one object.
class CompletionSource {
 public:
  CompletionSource();
  ~CompletionSource();
  CompletionSource(CompletionSource&&) noexcept = default;
  CompletionSource& operator=(CompletionSource&& other) noexcept;

  /// Precondition: not moved from.
  [[nodiscard]] Completion completion() const;

  /// Sets the outcome and runs the callbacks on this thread before it returns. A callback may
  /// destroy this object.
  /// Precondition: called at most once, not moved from.
  void signal(Status status);

 private:
  void abandon() noexcept;

  std::shared_ptr<Completion::State> state_;
};

}  // namespace pinion
