#include "agent/agent.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <random>
#include <utility>

#include <fmt/format.h>

#include <pinion/core/assert.hpp>
#include <pinion/core/bytes.hpp>

#include "launch_spec.hpp"
#include "memory_budget.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;

constexpr Duration kPatienceAfterFailure =
    300ms;  // The others may be on their way out, with words.
constexpr Duration kPatienceAfterJobEnd = 5s;
constexpr Duration kPatienceAfterTerm = 5s;

Result<UniqueFd> take_over_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}) {
    sigaddset(&signals, signal);
  }
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  UniqueFd descriptor(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!descriptor.valid()) {
    return Status::from_errno(errno, "cannot watch for signals");
  }
  return descriptor;
}

std::uint64_t random_number() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

// Sent by a terminal to the rank that it belongs to, and meant for the whole job.
bool is_of_terminal(int signal) {
  return signal == SIGINT || signal == SIGQUIT || signal == SIGHUP;
}

}  // namespace

Result<std::unique_ptr<Agent>> Agent::create(const LaunchSpec& spec) {
  Result<Settings> settings = settings_of(spec);
  if (!settings) {
    return std::move(settings).error();
  }
  Result<HostPlacement> placement = placement_of(spec, *settings);
  if (!placement) {
    return std::move(placement).error();
  }
  PINION_RETURN_IF_ERROR(make_trace_directory(*settings));
  const Result<std::uint64_t> rank_budget = memory_budget_of(*settings, placement->ranks.size());
  if (!rank_budget) {
    return Status(rank_budget.error());
  }
  settings->memory_bytes = *rank_budget;
  GrantLog log;
  if (!settings->grant_log.empty()) {
    Result<GrantLog> opened = GrantLog::open(settings->grant_log);
    if (!opened) {
      return std::move(opened).error();
    }
    log = std::move(opened).value();
  }
  Result<UniqueFd> signals = take_over_signals();
  if (!signals) {
    return std::move(signals).error();
  }
  // Whoever read our words may have gone away.
  signal(SIGPIPE, SIG_IGN);
  // A limit on the size of files (ulimit -f) holds for shared memory too: then there are no slabs.
  signal(SIGXFSZ, SIG_IGN);
  // Where it is ignored, ended ranks would vanish without their exit status.
  signal(SIGCHLD, SIG_DFL);
  // Every sealed segment is a descriptor of ours.
  rlimit open_files{};
  getrlimit(RLIMIT_NOFILE, &open_files);
  const rlim_t limit_of_ranks = open_files.rlim_cur;
  open_files.rlim_cur = open_files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &open_files);
  // What ranks leave running becomes our child, so that it can be ended with the job.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::unique_ptr<Agent> agent(new Agent(spec, std::move(settings).value(),
                                         std::move(placement).value(), std::move(log),
                                         std::move(signals).value()));
  agent->open_file_limit_ = limit_of_ranks;
  return agent;
}

Agent::Agent(const LaunchSpec& spec, Settings settings, HostPlacement placement, GrantLog log,
             UniqueFd signals)
    : spec_(spec),
      settings_(std::move(settings)),
      started_(clock_.now()),
      binds_memory_(placement.node_count > 1),
      log_(std::move(log)),
      signals_(std::move(signals)),
      job_(random_number()),
      segments_({job_, kEpoch, 0}, kSegmentsPerClient, settings_.memory_bytes / 4),
      driver_({.job = job_,
               .epoch = kEpoch,
               .rank_count = spec.rank_count,
               .lease_duration = settings_.lease_duration,
               .fast_forward = !settings_.test_no_fast_forward},
              {.send =
                   [this](std::uint32_t rank, const std::vector<std::byte>& message) {
                     if (ranks_[rank].connected) {
                       answer(rank, FrameKind::kControl, 0, message);
                     }
                   },
               .keep =
                   [this](const BlobHandle& blob) {
                     if (settings_.test_no_acceptance) {
                       kept_until_death_.push_back(blob);
                     }
                     return segments_.keep(blob);
                   },
               .release = [this](const BlobHandle& blob) { segments_.release(blob); },
               .end_job =
                   [this](const protocol::Failure& failure) {
                     say(fmt::format("pinion: {}: {}", to_string(failure.code), failure.text));
                     end_all_later(error_info(failure.code).exit_status, kPatienceAfterJobEnd);
                   },
               .step_over = [this](std::uint64_t step) { display_.step_over(step); }},
              clock_, log_),
      display_(ProgressDisplay::for_standard_error(settings_.quiet), started_) {
  for (RankPlacement& rank_placement : placement.ranks) {
    ranks_.push_back({.placement = std::move(rank_placement)});
  }
}

int Agent::run() {
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    if (spec_.report_bindings) {
      say("pinion: " + describe_rank(rank, ranks_[rank].placement));
    }
    if (Status started = start(rank); !started.ok()) {
      say("pinion: " + started.to_string());
      end_all_later(error_info(started.code()).exit_status, Duration::zero());
      break;
    }
  }
  while (any_rank_runs()) {
    wait_for_events();
    take_signals();
    for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      serve(rank);
    }
    const Instant now = clock_.now();
    if (now >= driver_.next_deadline()) {
      driver_.tick();
    }
    press_on_with_ending();
    display_.update(driver_.progress(), now);
  }
  reap_strays();
  print_summary();
  return exit_status_.value_or(0);
}

Status Agent::start(std::uint32_t rank) {
  Rank& it = ranks_[rank];
  RankStart start{.command = spec_.command,
                  .environment = {{"PINION_RANK", std::to_string(rank)},
                                  {"PINION_SIZE", std::to_string(ranks_.size())},
                                  {"PINION_LOCAL_RANK", std::to_string(rank)},
                                  {"PINION_INCARNATION", std::to_string(it.incarnation + 1)}},
                  .cpus = {},
                  .has_standard_input = rank == 0,
                  .open_file_limit = open_file_limit_};
  for (const WorkerGroup& group : it.placement.groups) {
    start.cpus.insert(start.cpus.end(), group.cpus.begin(), group.cpus.end());
  }
  if (start.cpus.empty()) {
    start.cpus = spec_.cpus;  // Workers that are not bound keep to the job's CPUs all the same.
  }
  if (rank == 0 && isatty(STDIN_FILENO) == 1) {
    start.process_group = tcgetpgrp(STDIN_FILENO);
  }
  Result<RankProcess> process = start_rank(start);
  if (!process) {
    return std::move(process).error();
  }
  it.process = std::move(process).value();
  ++it.incarnation;
  it.joined = false;
  it.left = false;
  it.connected = true;
  return {};
}

void Agent::ended(std::uint32_t rank) {
  Rank& it = ranks_[rank];
  int wait_status = 0;
  if (waitpid(it.process->pid, &wait_status, WNOHANG) != it.process->pid) {
    return;
  }
  const bool had_joined = it.joined && !it.left;
  it.process.reset();
  it.connected = false;
  decide_after_end(rank, wait_status, had_joined);
}

void Agent::decide_after_end(std::uint32_t rank, int wait_status, bool had_joined) {
  Rank& it = ranks_[rank];
  const bool killed = WIFSIGNALED(wait_status);
  const bool failed = killed || WEXITSTATUS(wait_status) != 0;
  const bool returns = killed && !is_of_terminal(WTERMSIG(wait_status)) && had_joined &&
                       !exit_status_ && it.respawn_count < spec_.respawn_count_max;
  const std::string what = describe_wait_status(wait_status);
  if (had_joined && !failed) {
    driver_.rank_left(named(rank));
  } else if (had_joined) {
    driver_.rank_lost(named(rank), what, returns);
  } else if (!it.joined && !failed) {
    // The coordinator expects it until it is told that it will never come.
    driver_.rank_lost(named(rank), "it ended without joining the job", false);
  }
  if (it.joined) {
    for (const BlobHandle& blob : kept_until_death_) {
      if (blob.segment / kSegmentsPerClient == it.client) {
        segments_.release(blob);
      }
    }
    segments_.client_gone(it.client);
  }
  if (!failed || exit_status_) {
    return;
  }
  if (!returns) {
    const std::string life =
        it.respawn_count == 0 ? "" : fmt::format(" in life {}", it.incarnation);
    say(fmt::format("pinion: rank {} {} {}{}; the job ends", rank, killed ? "was" : "ended with",
                    what, life));
    end_all_later(killed ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status),
                  kPatienceAfterFailure);
    return;
  }
  ++it.respawn_count;
  say(fmt::format("pinion: rank {} was {}; starting it again ({} of {})", rank, what,
                  it.respawn_count, spec_.respawn_count_max));
  if (Status started = start(rank); !started.ok()) {
    say("pinion: " + started.to_string());
    end_all_later(error_info(started.code()).exit_status, kPatienceAfterFailure);
  }
}

void Agent::signal_rank(const Rank& rank, int signal) const {
  if (rank.process) {
    // The whole group, as a rank may be a script; the process alone where the group is not its own.
    const pid_t pid = rank.process->pid;
    kill(getpgid(pid) == pid ? -pid : pid, signal);
  }
}

void Agent::signal_all(int signal) const {
  for (const Rank& rank : ranks_) {
    signal_rank(rank, signal);
  }
}

void Agent::end_all_later(int exit_status, Duration patience) {
  if (!exit_status_) {
    exit_status_ = exit_status;
  }
  if (!next_press_) {
    next_press_ = clock_.now() + patience;
    next_signal_ = SIGTERM;
  }
}

void Agent::press_on_with_ending() {
  const Instant now = clock_.now();
  if (!next_press_ || now < *next_press_) {
    return;
  }
  signal_all(next_signal_);
  // A stopped process takes SIGTERM only once it goes on.
  signal_all(SIGCONT);
  next_signal_ = SIGKILL;
  next_press_ = now + kPatienceAfterTerm;
}

void Agent::reap_strays() {
  // Whatever the ranks have started and left running ends with the job. Bounded: children that
  // daemonise themselves again and again are given up on.
  for (int round = 0; round < 100; ++round) {
    const pid_t child = waitpid(-1, nullptr, WNOHANG);
    if (child < 0) {
      return;
    }
    if (child == 0) {
      const std::string path = fmt::format("/proc/self/task/{}/children", getpid());
      if (std::FILE* file = std::fopen(path.c_str(), "re")) {
        int pid = 0;
        while (std::fscanf(file, "%d", &pid) == 1) {
          kill(pid, SIGKILL);
        }
        std::fclose(file);
      }
      poll(nullptr, 0, 10);
    }
  }
}

void Agent::wait_for_events() {
  std::vector<pollfd> watched{{signals_.get(), POLLIN, 0}};
  for (const Rank& rank : ranks_) {
    if (rank.process) {
      watched.push_back({rank.process->watch.get(), POLLIN, 0});
      if (rank.connected) {
        const auto writing = static_cast<short>(rank.process->channel.wants_write() ? POLLOUT : 0);
        watched.push_back(
            {rank.process->channel.descriptor(), static_cast<short>(POLLIN | writing), 0});
      }
    }
  }
  poll(watched.data(), watched.size(), milliseconds_to_wait());
}

void Agent::take_signals() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    const int signal = static_cast<int>(info.ssi_signo);
    signal_all(signal);
    if (signal != SIGUSR1 && signal != SIGUSR2) {
      signal_all(SIGCONT);  // A stopped process takes the signal only once it goes on.
      silenced_ = true;
      next_press_.reset();
      end_all_later(128 + signal, kPatienceAfterTerm);
    }
  }
}

int Agent::milliseconds_to_wait() const {
  const Instant now = clock_.now();
  Instant until = std::min(driver_.next_deadline(), now + display_.interval());
  if (next_press_) {
    until = std::min(until, *next_press_);
  }
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(until - now);
  return static_cast<int>(std::clamp<std::int64_t>(wait.count(), 0, 60'000));
}

bool Agent::any_rank_runs() const {
  return std::any_of(ranks_.begin(), ranks_.end(),
                     [](const Rank& rank) { return rank.process.has_value(); });
}

void Agent::say(const std::string& line) {
  display_.clear();
  fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
}

void Agent::print_summary() {
  display_.clear();
  const JobTotals totals = driver_.totals();
  if (settings_.quiet || silenced_ || totals.step_count == 0) {
    return;
  }
  say(fmt::format("pinion: {} rank{}, {}", ranks_.size(), ranks_.size() == 1 ? "" : "s",
                  summary_of(totals, clock_.now() - started_)));
  if (!settings_.trace_directory.empty()) {
    say(fmt::format("pinion: trace in {}/trace.rank*.json (open in Perfetto)",
                    settings_.trace_directory));
  }
}

}  // namespace pinion
