#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include <pinion/core/bytes.hpp>

namespace pinion {
namespace {

using namespace std::chrono_literals;

constexpr Duration kQuietStart = 1s;  // Shorter work needs no progress.
constexpr Duration kBarInterval = 100ms;
constexpr Duration kLineInterval = 5s;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double fraction_done(const protocol::Progress& progress) {
  if (progress.shard_count == 0) {
    return 0;
  }
  return progress.weight > 0
             ? static_cast<double>(progress.weight_accepted) / static_cast<double>(progress.weight)
             : static_cast<double>(progress.shard_accepted_count) /
                   static_cast<double>(progress.shard_count);
}

std::string rate(std::uint64_t bytes, Duration elapsed) {
  const double bytes_per_second = static_cast<double>(bytes) / std::max(seconds(elapsed), 1e-9);
  return format_bytes(static_cast<std::uint64_t>(std::min(bytes_per_second, 1e18))) + "/s";
}

std::string facts(const protocol::Progress& progress, Duration elapsed) {
  if (!progress.planned) {
    return "planning";
  }
  if (progress.stage != protocol::Stage::kMap) {
    return progress.stage == protocol::Stage::kCombine ? "combining" : "merging";
  }
  std::string text =
      fmt::format("{}/{} shards", progress.shard_accepted_count, progress.shard_count);
  if (progress.input_bytes > 0) {
    text += "  " + rate(progress.input_bytes, elapsed);
  }
  if (const double done = fraction_done(progress); done > 0) {
    // Bounded, as a first small file of a huge input gives more than a Duration holds.
    const double left = std::clamp(seconds(elapsed) * (1 - done) / done, 0.0, 1e9);
    text += fmt::format(
        "  {} left",
        format_duration(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(left))));
  }
  if (progress.failure_count > 0) {
    text += fmt::format("  {} run again", progress.failure_count);
  }
  return text;
}

}  // namespace

ProgressDisplay::ProgressDisplay(const Options& options, Instant now)
    : options_(options), started_(now), step_started_(now), drawn_(now) {}

ProgressDisplay::Options ProgressDisplay::for_standard_error(bool quiet) {
  Options options{.quiet = quiet, .is_terminal = isatty(STDERR_FILENO) == 1};
  winsize size{};
  if (options.is_terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) {
    options.width = size.ws_col;
  }
  return options;
}

Duration ProgressDisplay::interval() const noexcept {
  return options_.is_terminal ? kBarInterval : kLineInterval;
}

std::string ProgressDisplay::update(const protocol::Progress& progress, Instant now) {
  if (options_.quiet || progress.step <= step_over_) {
    return {};
  }
  if (progress.step != step_) {
    step_ = progress.step;
    step_started_ = now;
  }
  if (now - started_ < kQuietStart || now - drawn_ < interval()) {
    return {};
  }
  // A step of one body is planned at once, and then the body may write to this terminal.
  if (!progress.planned && now - step_started_ < kQuietStart) {
    return {};
  }
  if (options_.is_terminal && progress.planned && progress.shard_count == 1) {
    return clear();
  }
  drawn_ = now;
  std::string text = options_.is_terminal ? bar(progress, now) : line(progress, now);
  bar_is_up_ = options_.is_terminal;
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
  return text;
}

std::string ProgressDisplay::clear() {
  if (!bar_is_up_) {
    return {};
  }
  bar_is_up_ = false;
  std::string text = "\r\x1b[K";
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
  return text;
}

std::string ProgressDisplay::step_over(std::uint64_t step) {
  step_over_ = std::max(step_over_, step);
  return clear();
}

std::string ProgressDisplay::bar(const protocol::Progress& progress, Instant now) const {
  const std::string head = fmt::format("step {} ", progress.step);
  const std::string tail = facts(progress, now - step_started_);
  const std::size_t used = head.size() + tail.size() + 4;
  const std::size_t room = options_.width > used ? std::min(options_.width - used, 40uL) : 0;
  const double done = progress.stage != protocol::Stage::kMap ? 1 : fraction_done(progress);
  const auto filled = std::min(room, static_cast<std::size_t>(done * static_cast<double>(room)));
  const std::string text = room < 5 ? head + tail
                                    : fmt::format("{}[{}{}] {}", head, std::string(filled, '#'),
                                                  std::string(room - filled, '.'), tail);
  return "\r\x1b[K" + text.substr(0, options_.width - 1);
}

std::string ProgressDisplay::line(const protocol::Progress& progress, Instant now) const {
  return fmt::format("pinion: step {}: {}\n", progress.step, facts(progress, now - step_started_));
}

std::string summary_of(const JobTotals& totals, Duration elapsed) {
  std::string text = fmt::format("{} step{}, {} shard{} in {}", totals.step_count,
                                 totals.step_count == 1 ? "" : "s", totals.shard_count,
                                 totals.shard_count == 1 ? "" : "s", format_duration(elapsed));
  if (totals.input_bytes > 0) {
    text += fmt::format(", {} read ({})", format_bytes(totals.input_bytes),
                        rate(totals.input_bytes, elapsed));
  }
  if (totals.failure_count > 0) {
    text += fmt::format(", {} run again", totals.failure_count);
  }
  if (totals.skipped_shard_count > 0) {
    text += fmt::format(", {} skipped", totals.skipped_shard_count);
  }
  return text;
}

}  // namespace pinion
