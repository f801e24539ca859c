#pragma once

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

#include <pinion/core/clock.hpp>

namespace pinion::bench {

/// One line of the cache that two threads, each bound to a CPU of its own, pass to and fro.
class LinePair {
 public:
  LinePair(unsigned cpu_a, unsigned cpu_b) noexcept : cpu_a_(cpu_a), cpu_b_(cpu_b) {}

  double measure() {
    std::thread b([this] { answer(); });
    std::thread a([this] { ask(); });
    a.join();
    b.join();
    return nanoseconds_;
  }

 private:
  // So many trips that reading the clock does not show, and so few that a series seldom has an
  // interrupt in it.
  static constexpr std::uint64_t kTripsInSeries = 64;
  static constexpr Duration kTime = std::chrono::milliseconds(4);
  static constexpr std::uint64_t kEnd = UINT64_MAX;

  static bool bind_this_thread(unsigned cpu) noexcept {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (cpu >= CPU_SETSIZE) {
      return false;
    }
    CPU_SET(cpu, &cpus);
    return ::pthread_setaffinity_np(::pthread_self(), sizeof(cpus), &cpus) == 0;
  }

  // False: the other one has ended.
  bool go_and_return(std::uint64_t trip) noexcept {
    std::uint64_t seen = 2 * trip;
    if (!turn_.compare_exchange_strong(seen, 2 * trip + 1, std::memory_order_acq_rel)) {
      return false;
    }
    do {
      seen = turn_.load(std::memory_order_acquire);
    } while (seen == 2 * trip + 1);
    return seen != kEnd;
  }

  void ask() {
    std::uint64_t trip = 0;
    // The first trip waits until the other thread runs.
    bool both_run = bind_this_thread(cpu_a_) && go_and_return(trip++);
    const SystemClock clock;
    const Instant end = clock.now() + kTime;
    std::vector<double> series;
    while (both_run && clock.now() < end) {
      const Instant begin = clock.now();
      for (std::uint64_t i = 0; i < kTripsInSeries && both_run; ++i) {
        both_run = go_and_return(trip++);
      }
      series.push_back(static_cast<double>((clock.now() - begin).count()) / kTripsInSeries);
    }
    turn_.store(kEnd, std::memory_order_release);
    if (both_run && !series.empty()) {
      std::sort(series.begin(), series.end());
      nanoseconds_ = series[series.size() / 2];
    }
  }

  void answer() noexcept {
    if (!bind_this_thread(cpu_b_)) {
      turn_.store(kEnd, std::memory_order_release);
      return;
    }
    for (std::uint64_t trip = 0;; ++trip) {
      std::uint64_t seen = 0;
      do {
        seen = turn_.load(std::memory_order_acquire);
      } while (seen < 2 * trip + 1);
      if (seen == kEnd) {
        return;
      }
      turn_.store(2 * trip + 2, std::memory_order_release);
    }
  }

  const unsigned cpu_a_;
  const unsigned cpu_b_;
  double nanoseconds_ = std::numeric_limits<double>::quiet_NaN();
  alignas(64) std::atomic<std::uint64_t> turn_ = 0;  // Odd: the second thread must answer.
};

/// How long a line of the cache takes from one CPU to another and back, in nanoseconds: the median
/// of many short series. Figures with two busy threads follow it, and the CPUs of a virtual machine
/// may be near one second and far the next: so it belongs beside each of them, taken before and
/// after.
///
/// Not a number when the CPUs are the same one, or not two that this process may use.
/// Blocks: about 5 ms. Precondition: no other thread of this process is busy on the two CPUs.
inline double line_round_trip_nanoseconds(unsigned cpu_a, unsigned cpu_b) {
  return cpu_a == cpu_b ? std::numeric_limits<double>::quiet_NaN()
                        : LinePair(cpu_a, cpu_b).measure();
}

/// Above this the two CPUs are far from each other: they share no cache at this moment.
inline constexpr double kLineIsFarNanoseconds = 120;

}  // namespace pinion::bench
