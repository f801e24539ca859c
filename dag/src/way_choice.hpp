#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <pinion/dag/run.hpp>

namespace pinion {

/// Learns from the runs of one graph which way is the fastest: it tries each that may be, some of
/// them twice, keeps to the best, and now and then tries another again.
///
/// Thread safety: none.
class WayChoice {
 public:
  /// `width`: units of a level, on average. Precondition: there are several lanes.
  [[nodiscard]] RunWay choose(std::size_t lane_count, double width) noexcept {
    if (lane_count != lane_count_) {
      lane_count_ = lane_count;
      tries_ = {};
      times_ = {};
      choice_count_ = 0;
    }
    ++choice_count_;
    if (tries_[index(RunWay::kCounting)] == 0) {
      return RunWay::kCounting;
    }
    const auto may_be = [&](RunWay way) {
      return way == RunWay::kCounting ||
             (way == RunWay::kWaves ? width >= kWidthMin && work_of_task() <= kWaveWorkMax
                                    : best_time() <= kSweptTimeMax);
    };
    for (std::uint32_t try_count = 0; try_count < 2; ++try_count) {
      for (const RunWay way : kWays) {
        if (may_be(way) && tries_[index(way)] == try_count &&
            (try_count == 0 || times_[index(way)] < kHopeful * best_time())) {
          return way;
        }
      }
    }
    const RunWay best = kWays[best_index()];
    if (choice_count_ % kRunsPerTrial != 0) {
      return best;
    }
    // One of the others in turn.
    const RunWay other = kWays[choice_count_ / kRunsPerTrial % kWays.size()];
    return may_be(other) && times_[index(other)] < kHopeless * best_time() ? other : best;
  }

  /// What a run took, in nanoseconds a task from its begin to its end.
  void note(RunWay way, std::size_t lane_count, double time) noexcept {
    if (lane_count != lane_count_) {
      return;
    }
    double& known = times_[index(way)];
    // Others on the machine make runs longer and never shorter.
    known = tries_[index(way)]++ == 0 || time < known ? time : known + (time - known) / 8;
  }

  /// Nanoseconds that a task takes at the best; 0: not known.
  [[nodiscard]] double best_time() const noexcept { return times_[best_index()]; }

  /// What the tasks take of the time of all lanes, at most.
  [[nodiscard]] double work_of_task() const noexcept {
    double work = 0;
    for (const RunWay way : kWays) {
      if (tries_[index(way)] > 0) {
        const double all =
            times_[index(way)] * (way == RunWay::kSweep ? 1.0 : static_cast<double>(lane_count_));
        work = work == 0 ? all : std::min(work, all);
      }
    }
    return work;
  }

 private:
  static constexpr std::array kWays = {RunWay::kCounting, RunWay::kWaves, RunWay::kSweep};
  static constexpr double kWidthMin = 16;
  // Of tasks that take longer, counting is no part that matters.
  static constexpr double kWaveWorkMax = 20'000;
  // A graph whose tasks take longer is worth to be shared.
  static constexpr double kSweptTimeMax = 50;
  static constexpr double kHopeful = 1.5;
  static constexpr double kHopeless = 4;
  static constexpr std::uint64_t kRunsPerTrial = 64;

  static std::size_t index(RunWay way) noexcept { return static_cast<std::size_t>(way); }

  [[nodiscard]] std::size_t best_index() const noexcept {
    std::size_t best = 0;
    for (std::size_t i = 1; i < kWays.size(); ++i) {
      if (tries_[i] > 0 && (tries_[best] == 0 || times_[i] < times_[best])) {
        best = i;
      }
    }
    return best;
  }

  std::size_t lane_count_ = 0;
  std::array<std::uint64_t, 3> tries_ = {};
  std::array<double, 3> times_ = {};
  std::uint64_t choice_count_ = 0;
};

}  // namespace pinion
