#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <utility>

#include <pinion/core/thread_annotations.hpp>
#include <pinion/core/timer.hpp>

namespace pinion {

/// A timer whose time stands still until the test moves it.
class FakeTimer final : public ITimer {
 public:
  [[nodiscard]] const IClock& clock() const noexcept override { return clock_; }

  void call_at(Instant due, std::function<void()> callback) override PINION_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    calls_.emplace(due, std::move(callback));
    changed_.notify_all();
  }

  /// Moves the time without calling back, as a body that takes long does.
  void pass(Duration duration) noexcept { clock_.nanoseconds_ += duration.count(); }

  /// Waits until somebody asked for a call, moves the time to the first one and makes it. Says how
  /// far the time was moved.
  Duration run_next() PINION_EXCLUDES(mutex_) {
    std::function<void()> callback;
    Duration moved = {};
    {
      const MutexLock lock(mutex_);
      while (calls_.empty()) {
        changed_.wait(mutex_);
      }
      moved = std::max(calls_.begin()->first - clock_.now(), Duration::zero());
      callback = std::move(calls_.begin()->second);
      calls_.erase(calls_.begin());
    }
    pass(moved);
    callback();
    return moved;
  }

 private:
  class Clock final : public IClock {
   public:
    [[nodiscard]] Instant now() const noexcept override { return Instant(Duration(nanoseconds_)); }
    std::atomic<std::int64_t> nanoseconds_ = 1;
  };

  Clock clock_;
  Mutex mutex_;
  std::condition_variable_any changed_;
  std::multimap<Instant, std::function<void()>> calls_ PINION_GUARDED_BY(mutex_);
};

}  // namespace pinion
