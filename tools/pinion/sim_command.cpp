#include "sim_command.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

#include "sim/sim_heap.hpp"
#include "sim/sim_knobs.hpp"
#include "sim/sim_mutations.hpp"
#include "sim/sim_shrink.hpp"
#include "sim_report.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;

/// Larger jobs take too long to be run some hundred times.
constexpr std::uint64_t kShrunkEventsMax = 1'000'000;

struct SimCommand {
  sim::SimOptions options = {};
  std::string faults = {};
  std::string broken_rule = {};
  std::uint64_t lease_ms = 6000;
  std::uint64_t heartbeat_ms = 2000;
  std::uint64_t patience_ms = 2000;
  std::uint64_t deadline_ms = 0;
  std::uint64_t body_us = 10'000;
  std::uint64_t latency_us = 300;
  std::uint64_t chaos_ms = 60'000;
  bool one_planner = false;
  bool no_second_attempts = false;
  bool json = false;
  bool quiet = false;
};

Result<sim::SimOptions> options_of(const SimCommand& command) {
  sim::SimOptions options = command.options;
  options.lease_duration = command.lease_ms * Duration(1ms);
  options.heartbeat = command.heartbeat_ms * Duration(1ms);
  options.plan_patience = command.patience_ms * Duration(1ms);
  options.shard_deadline = command.deadline_ms * Duration(1ms);
  options.body_max = command.body_us * Duration(1us);
  options.latency_max = command.latency_us * Duration(1us);
  options.chaos_end = command.chaos_ms * Duration(1ms);
  options.every_rank_plans = !command.one_planner;
  options.second_attempts = !command.no_second_attempts;
  if (options.steadfast_rank >= options.rank_count) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("--steadfast is {}; the ranks are 0 to {}", options.steadfast_rank,
                              options.rank_count - 1));
  }
  if (options.host_count > options.rank_count) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("--hosts is {}; there are {} ranks, and each host has one",
                              options.host_count, options.rank_count));
  }
  if (options.skip_bad && command.deadline_ms > 0) {
    return Status(
        ErrorCode::kInvalidArgument,
        "--skip-bad and --deadline-ms exclude each other: which shards miss their deadline "
        "is not known beforehand, so the answer without them is not either");
  }
  if (options.skip_bad && options.death_count_max > 0) {
    return Status(ErrorCode::kInvalidArgument,
                  "--skip-bad and --deaths exclude each other: with which shards ranks die is not "
                  "known beforehand, so the answer without them is not either");
  }
  Result<sim::Faults> faults = sim::Faults::parse(command.faults);
  if (!faults) {
    return std::move(faults).error();
  }
  options.faults = *faults;
  if (!command.broken_rule.empty()) {
    const sim::MutationInfo* const mutation = sim::find_mutation(command.broken_rule);
    if (mutation == nullptr) {
      return Status(ErrorCode::kInvalidArgument,
                    "there is no rule '" + command.broken_rule + "' to break");
    }
    mutation->flag(options) = true;
  }
  return options;
}

/// A line on the standard error that says how far a run has come, once it has taken a second: the
/// same line again on a terminal, else one every ten seconds.
class ProgressLine {
 public:
  ProgressLine(const sim::World& world, const IClock& clock, bool quiet)
      : world_(world), clock_(clock), quiet_(quiet), begin_(clock.now()), next_(begin_ + 1s) {}

  void show() {
    const Instant now = clock_.now();
    if (quiet_ || now < next_) {
      return;
    }
    next_ = now + (terminal_ ? Duration(500ms) : Duration(10s));
    shown_ = true;
    const protocol::Progress progress = world_.progress();
    const double wall = std::chrono::duration<double>(now - begin_).count();
    const double virtual_time =
        std::chrono::duration<double>(world_.now().time_since_epoch()).count() - 1;
    std::fprintf(stderr, "%sstep %llu of %llu  %llu/%llu shards  %.2f s simulated in %.1f s%s",
                 terminal_ ? "\r" : "", static_cast<unsigned long long>(progress.step),
                 static_cast<unsigned long long>(world_.options().step_count),
                 static_cast<unsigned long long>(progress.shard_accepted_count),
                 static_cast<unsigned long long>(progress.shard_count), virtual_time, wall,
                 terminal_ ? "\033[K" : "\n");
  }

  void end() const {
    if (shown_ && terminal_) {
      std::fputs("\r\033[K", stderr);
    }
  }

 private:
  const sim::World& world_;
  const IClock& clock_;
  bool quiet_;
  bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  bool shown_ = false;
  Instant begin_;
  Instant next_;
};

Status broken(const sim::World& world, const std::string& violation) {
  std::string text = violation + "; replay: pinion sim " + world.options().to_string();
  if (world.figures().events <= kShrunkEventsMax) {
    const sim::ShrunkCase smaller = sim::shrink(world.options());
    text += fmt::format("; after {} runs of smaller ones: {}: pinion sim {}", smaller.run_count,
                        smaller.violation, smaller.options.to_string());
  }
  return Status(ErrorCode::kInternal, std::move(text));
}

Status simulate(const SimCommand& command) {
  Result<sim::SimOptions> options = options_of(command);
  if (!options) {
    return std::move(options).error();
  }
  sim::use_huge_heap();
  const SystemClock clock;
  const Instant begin = clock.now();
  sim::World world(*options, &clock);
  ProgressLine line(world, clock, command.quiet);
  const std::string violation = world.run([&line] { line.show(); });
  line.end();
  const Duration wall = clock.now() - begin;
  const std::string text = command.json ? sim_json(world, wall, violation) : sim_text(world, wall);
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return Status::from_errno(errno, "writing to standard output");
  }
  return violation.empty() ? Status() : broken(world, violation);
}

std::string faults_help() {
  std::string text =
      "Faults, for --faults NAME=NUMBER,NAME=NUMBER [of what, and from where to where tests draw "
      "it]:\n";
  for (const sim::FaultInfo& fault : sim::fault_table()) {
    const std::string_view unit = fault.unit == sim::FaultUnit::kPerMessage ? "a message"
                                  : fault.unit == sim::FaultUnit::kPerRankSecond
                                      ? "a rank and second"
                                  : fault.unit == sim::FaultUnit::kPerSecond ? "a second"
                                  : fault.unit == sim::FaultUnit::kPerCase   ? "a case"
                                                                             : "share";
    text +=
        fmt::format("  {:<12}{} [{}, 0 to {:g}]\n", fault.name, fault.meaning, unit, fault.most);
  }
  return text;
}

std::string knobs_help() {
  std::string text = "What tests draw for each seed beside that:\n";
  for (const sim::KnobInfo& knob : sim::knob_table()) {
    const std::string range = knob.is_flag() ? "" : fmt::format("{} to {}", knob.least, knob.most);
    const std::string share =
        knob.share == 1 ? "" : fmt::format("in {:.0f} % of the seeds", knob.share * 100);
    text += fmt::format("  {:<24}{}{}{}\n", knob.name, range,
                        range.empty() || share.empty() ? "" : ", ", share);
  }
  return text;
}

void add_shape_options(CLI::App& app, SimCommand& command) {
  sim::SimOptions& options = command.options;
  const auto add = [&app](const char* name, std::uint64_t& value, std::uint64_t least,
                          std::uint64_t most, const char* help) {
    app.add_option(name, value, help)
        ->check(CLI::Range(least, most))
        ->type_name("N")
        ->capture_default_str();
  };
  add("--ranks", options.rank_count, 1, 100'000, "Processes of the job");
  add("--hosts", options.host_count, 1, 100'000, "Hosts that they live on");
  add("--steps", options.step_count, 1, 100'000, "Steps of its program");
  add("--shards", options.shard_count, 0, 100'000'000, "Shards of a step");
  add("--partitions", options.partition_count, 0, 65'536, "Partitions of a step");
  add("--ordered", options.ordered_batch_shard_count, 0, 65'536,
      "Shards of a batch of an ordered step; 0: not ordered");
  add("--workers", options.worker_count, 1, 65'535, "Workers of a rank");
  add("--leases", options.lease_count_max, 1, 1'000'000, "Leases that a rank holds at most");
  add("--wanted", options.wanted_count, 0, 1'000'000,
      "Leases that a rank wants that wait or run; 0: it claims by all it holds");
  add("--batch", options.batch_shard_max, 1, 65'536, "Shards of a batch at most");
  add("--attempts", options.attempt_count_max, 2, 100, "Failures of a shard until it is given up");
  add("--deaths", options.death_count_max, 0, 255,
      "Ranks that die with a shard alone until it is given up; 0: any number");
  add("--steadfast", options.steadfast_rank, 0, 99'999, "A rank that always returns");
  add("--wire-period", options.wire_period, 1, 1'000'000'000,
      "Encode and decode every so many messages one");
  app.add_flag("--varied", options.varied, "Draw each step's size, up to those above");
  app.add_option_function<std::uint64_t>(
         "--only-shard",
         [&options](std::uint64_t shard) {
           options.only_one = true;
           options.only_shard = shard;
         },
         "Steps run this shard and no other")
      ->type_name("N");
  app.add_flag("--skip-bad", options.skip_bad, "Steps go on without shards that are given up");
  app.add_flag("--combine", options.combine, "Hosts may combine their partials");
  app.add_flag("--devices", options.devices, "Some ranks have a device, and some shards need one");
  app.add_flag("--journal", options.journal, "Keep what is decided, to be resumed");
  app.add_flag("--no-second-attempts", command.no_second_attempts,
               "Ranks do not try what others are late with");
  app.add_flag("--one-planner", command.one_planner, "Only the steadfast rank can plan");
}

void add_time_options(CLI::App& app, SimCommand& command) {
  const auto add = [&app](const char* name, std::uint64_t& value, std::uint64_t least,
                          const char* help) {
    app.add_option(name, value, help)
        ->check(CLI::Range(least, std::uint64_t{1'000'000'000}))
        ->type_name("N")
        ->capture_default_str();
  };
  add("--lease-ms", command.lease_ms, 10, "How long a lease lasts");
  add("--heartbeat-ms", command.heartbeat_ms, 1, "Between two heartbeats");
  add("--patience-ms", command.patience_ms, 1,
      "How long a plan waits for lower ranks, the first for all");
  add("--deadline-ms", command.deadline_ms, 0,
      "How long after its grant a shard must be accepted; 0: however late");
  add("--body-us", command.body_us, 100, "What a shard takes at most; at least a hundredth");
  add("--latency-us", command.latency_us, 150, "What a message takes at most");
  add("--chaos-ms", command.chaos_ms, 0, "After this nothing goes wrong any more");
}

}  // namespace

void add_sim_command(CLI::App& app, int& exit_status) {
  auto command = std::make_shared<SimCommand>();
  command->options.seed = 1;
  command->options.rank_count = 16;
  command->options.shard_count = 10'000;
  command->options.partition_count = 16;
  command->options.worker_count = 4;
  command->options.wire_period = 64;
  CLI::App* sub = app.add_subcommand(
      "sim", "Simulate a job on machines that are not there: what it takes, what survives");
  sub->footer(faults_help() + "\n" + knobs_help());
  sub->add_option("--seed", command->options.seed, "Another seed is another run")
      ->type_name("N")
      ->capture_default_str();
  add_shape_options(*sub, *command);
  add_time_options(*sub, *command);
  sub->add_option("--faults", command->faults, "What goes wrong, and how often; see below")
      ->type_name("LIST");
  sub->add_option("--break", command->broken_rule)->group("");
  sub->add_flag("--json", command->json, "Print JSON");
  sub->add_flag("--quiet", command->quiet, "Show no progress");
  sub->callback([command, &exit_status] {
    const Status status = simulate(*command);
    exit_status = error_info(status.code()).exit_status;
    if (!status.ok()) {
      std::fprintf(stderr, "pinion: %s\n", status.to_string().c_str());
    }
  });
}

}  // namespace pinion
