#pragma once

#include <functional>
#include <memory>

#include <pinion/core/clock.hpp>
#include <pinion/core/completion.hpp>
#include <pinion/core/timer.hpp>

namespace pinion {

/// A timer whose time passes only when somebody lets it: it jumps from one call to the next, and
/// the calls run on the thread that lets it. The same calls give the same order and the same
/// instants, on any machine.
///
/// Thread safety: call_at() and clock() from any thread, also from a callback. One thread at a time
///   lets the time pass, and no callback does.
class VirtualTime final : public ITimer {
 public:
  VirtualTime();
  ~VirtualTime() override;
  VirtualTime(const VirtualTime&) = delete;
  VirtualTime& operator=(const VirtualTime&) = delete;

  /// Begins at the first instant of the time line.
  [[nodiscard]] const IClock& clock() const noexcept override;

  /// What is due already runs as soon as time may pass, at the time of then.
  void call_at(Instant due, std::function<void()> callback) override;

  /// Runs what is due in the next `span`, and what that adds; it is then `span` later.
  void advance(Duration span);

  /// Runs everything that waits and what that adds; it is then the time of the last call.
  void run();

  /// Runs what is due until `completion` is ready. Whether it became so: false when nothing waits.
  [[nodiscard]] bool run_until(const Completion& completion);

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace pinion
