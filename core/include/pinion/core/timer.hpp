#pragma once

#include <functional>
#include <memory>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// Calls back when a time has come, so that no thread waits for it.
///
/// Thread safety: all members may be called from any thread, also from a callback.
class ITimer {
 public:
  virtual ~ITimer() = default;

  /// The time line of call_at().
  [[nodiscard]] virtual const IClock& clock() const noexcept = 0;

  /// Calls `callback` once when `due` has come, and never inside this call. Callbacks come one at a
  /// time, in the order of their times. It must be quick, as others wait, and must not throw.
  /// Lifetime: a callback whose time has not come when the timer ends is destroyed and not called.
  virtual void call_at(Instant due, std::function<void()> callback) = 0;
};

/// By the machine's monotonic clock, on one thread of its own.
///
/// Lifetime: the destructor waits for a callback that runs; it must not run in one.
class SystemTimer final : public ITimer {
 public:
  /// Errors: kResourceExhausted when the system has no more threads.
  [[nodiscard]] static Result<std::unique_ptr<SystemTimer>> create();
  ~SystemTimer() override;
  SystemTimer(const SystemTimer&) = delete;
  SystemTimer& operator=(const SystemTimer&) = delete;

  [[nodiscard]] const IClock& clock() const noexcept override { return clock_; }
  void call_at(Instant due, std::function<void()> callback) override;

 private:
  struct State;
  explicit SystemTimer(std::unique_ptr<State> state) noexcept;

  SystemClock clock_;
  std::unique_ptr<State> state_;
};

}  // namespace pinion
