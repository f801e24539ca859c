#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <pinion/core/clock.hpp>
#include <pinion/shard/protocol/coordinator.hpp>

#include "coordinator_driver.hpp"

namespace pinion {

/// Shows how far a job is on standard error: a bar that redraws itself on a terminal, a line every
/// few seconds elsewhere, nothing when quiet. What is done within the first second is not shown;
/// nor is, on a terminal, a step of one shard: most of these print there.
///
/// Thread safety: none.
class ProgressDisplay {
 public:
  struct Options {
    bool quiet = false;
    bool is_terminal = false;
    std::size_t width = 80;
  };

  ProgressDisplay(const Options& options, Instant now);

  /// Options that fit standard error of this process.
  [[nodiscard]] static Options for_standard_error(bool quiet);

  /// Call as often as is handy; it draws at its own pace. Returns what it drew (also written to
  /// standard error), empty most of the time.
  std::string update(const protocol::Progress& progress, Instant now);

  /// Takes the bar away, before something else is printed and at the end.
  std::string clear();

  /// Takes the bar away and shows nothing more of this step, or of those before it: the program
  /// goes on and may print.
  std::string step_over(std::uint64_t step);

  /// How often update() is worth calling.
  [[nodiscard]] Duration interval() const noexcept;

 private:
  [[nodiscard]] std::string bar(const protocol::Progress& progress, Instant now) const;
  [[nodiscard]] std::string line(const protocol::Progress& progress, Instant now) const;

  Options options_;
  Instant started_;
  Instant step_started_;
  Instant drawn_;
  std::uint64_t step_ = 0;
  std::uint64_t step_over_ = 0;
  bool bar_is_up_ = false;
};

/// "2 steps, 65 shards in 1.31 s, 1.05 GiB read (821.00 MiB/s)"
[[nodiscard]] std::string summary_of(const JobTotals& totals, Duration elapsed);

}  // namespace pinion
