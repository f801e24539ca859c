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
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <pinion/core/assert.hpp>
#include <pinion/core/bytes.hpp>

#include "agent/strays.hpp"
#include "drain_request.hpp"
#include "hosts/host_list.hpp"
#include "launch_spec.hpp"
#include "memory_budget.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;

constexpr Duration kWaitForCredit = 1ms;
constexpr Duration kLeaseOfDebuggedRank = std::chrono::hours(24 * 7);

Result<UniqueFd> take_over_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCONT, drain_signal()}) {
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

// Reading it would stop us, as the terminal belongs to the processes in front of it.
Status check_standard_input(const LaunchSpec& spec) {
  if (spec.input_reader == InputReader::kAll && isatty(STDIN_FILENO) == 1) {
    return {ErrorCode::kFailedPrecondition,
            "--stdin all copies standard input, which is a terminal; give a file or a pipe, or "
            "leave it to rank 0"};
  }
  return {};
}

Result<std::string> current_directory() {
  std::error_code error;
  const std::string path = std::filesystem::current_path(error).string();
  return error ? Result<std::string>(
                     Status::from_errno(error.value(), "cannot tell the working directory"))
               : path;
}

Status enter(const std::string& directory, const std::string& what) {
  return chdir(directory.c_str()) == 0
             ? Status()
             : Status::from_errno(errno, "cannot enter " + what + ", " + directory);
}

// What was named before is meant from where we were.
Status enter_working_directory(const std::string& directory, Settings& settings) {
  if (directory.empty()) {
    return {};
  }
  for (std::string* const path : {&settings.trace_directory, &settings.spill_directory}) {
    if (!path->empty()) {
      std::error_code error;
      const std::string absolute = std::filesystem::absolute(*path, error).string();
      if (error) {
        return Status::from_errno(error.value(), "cannot tell which folder " + *path + " is in");
      }
      *path = absolute;
    }
  }
  return chdir(directory.c_str()) == 0
             ? Status()
             : Status::from_errno(errno,
                                  "cannot enter the working directory " + directory + " (--wdir)");
}

// What a process is to be before it has ranks. Returns the limit of descriptors that ranks get.
rlim_t prepare_process() {
  // Whoever read our words may have gone away.
  signal(SIGPIPE, SIG_IGN);
  // A limit on the size of files (ulimit -f) is an error, with words. It holds for shared memory as
  // well: then there are no slabs.
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
  return limit_of_ranks;
}

}  // namespace

Result<Agent::Parts> Agent::prepare(const LaunchSpec& spec, std::uint32_t host) {
  Parts parts{.spec = spec, .settings = {}, .share = share_of(spec, host), .placement = {}};
  Result<Settings> settings = settings_of(spec);
  if (!settings) {
    return std::move(settings).error();
  }
  parts.settings = *std::move(settings);
  if (spec.dry_run) {
    parts.settings.grant_log.clear();
    parts.settings.trace_directory.clear();
  }
  Result<HostPlacement> placement = placement_of(spec, parts.settings, {}, host);
  if (!placement) {
    return std::move(placement).error();
  }
  parts.placement = *std::move(placement);
  return complete(std::move(parts));
}

// Settings and placement are there; the rest follows from them.
Result<Agent::Parts> Agent::complete(Parts parts) {
  const LaunchSpec& spec = parts.spec;
  if (parts.share.rank_count > kLivingClientCountMax) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("a host can have {} ranks of a job, as many as there are rows of "
                              "references to shared memory; {} were asked for. Give fewer ranks "
                              "more workers (--workers-per-rank)",
                              kLivingClientCountMax, parts.share.rank_count));
  }
  PINION_RETURN_IF_ERROR(check_standard_input(spec));
  PINION_RETURN_IF_ERROR(make_trace_directory(parts.settings));
  if (spec.debug_rank) {
    parts.settings.lease_duration = std::max(parts.settings.lease_duration, kLeaseOfDebuggedRank);
  }
  const Result<std::uint64_t> rank_budget =
      memory_budget_of(parts.settings, parts.placement.ranks.size());
  if (!rank_budget) {
    return Status(rank_budget.error());
  }
  parts.settings.memory_bytes = *rank_budget;
  return parts;
}

Status Agent::open_grant_log(Parts& parts) {
  const Settings& settings = parts.settings;
  Result<GrantLog> log = settings.grant_log.empty()
                             ? GrantLog()
                             : GrantLog::open(settings.grant_log, settings.test_stop_after);
  if (!log) {
    return std::move(log).error();
  }
  parts.log = *std::move(log);
  return {};
}

Status Agent::begin_new_job(Parts& parts) {
  parts.job = random_number();
  return open_grant_log(parts);
}

Status Agent::become_agent(Parts& parts) {
  Result<UniqueFd> signals = take_over_signals();
  if (!signals) {
    return std::move(signals).error();
  }
  parts.signals = *std::move(signals);
  parts.open_file_limit = prepare_process();
  return {};
}

Result<std::unique_ptr<Agent>> Agent::create(const LaunchSpec& spec, pid_t launcher) {
  PINION_RETURN_IF_ERROR(check_hosts(spec));
  Result<Parts> parts = prepare(spec, 0);
  if (!parts) {
    return std::move(parts).error();
  }
  Result<JournalStart> journal = start_journal(parts->spec, parts->settings, random_number());
  if (!journal) {
    return std::move(journal).error();
  }
  // Behind the lock of the journal: the log may be that of the job that holds it.
  PINION_RETURN_IF_ERROR(open_grant_log(*parts));
  const Result<std::string> started_in = current_directory();
  if (!started_in) {
    return started_in.error();
  }
  PINION_RETURN_IF_ERROR(enter_working_directory(parts->spec.working_directory, parts->settings));
  PINION_RETURN_IF_ERROR(become_agent(*parts));
  parts->launcher = launcher;
  parts->job = journal->job;
  parts->epoch = journal->epoch;
  std::unique_ptr<Agent> agent(new Agent(*std::move(parts)));
  PINION_RETURN_IF_ERROR(agent->take_up_journal(*std::move(journal)));
  if (agent->host_count() > 1 && !agent->ended_before_) {
    PINION_RETURN_IF_ERROR(agent->start_hosts(*started_in));
  }
  return agent;
}

Result<std::unique_ptr<Agent>> Agent::create_on_host(const HostLaunch& launch, UniqueFd lifeline) {
  PINION_RETURN_IF_ERROR(enter(launch.start_directory, "the folder in which the job was started"));
  LaunchSpec spec = launch.spec;
  // What is the head's alone. What all ranks read comes from there.
  const bool all_read = spec.input_reader == InputReader::kAll;
  spec.input_reader = all_read ? InputReader::kAll : InputReader::kNone;
  spec.debug_rank.reset();
  spec.timeout = Duration::zero();
  Result<Parts> parts = prepare(spec, launch.host);
  if (!parts) {
    return std::move(parts).error();
  }
  PINION_RETURN_IF_ERROR(enter_working_directory(spec.working_directory, parts->settings));
  PINION_RETURN_IF_ERROR(become_agent(*parts));
  parts->job = launch.job;
  parts->epoch = launch.epoch;
  std::unique_ptr<Agent> agent(new Agent(*std::move(parts)));
  agent->lifeline_ = std::move(lifeline);
  agent->output_.begin_to_send();
  PINION_RETURN_IF_ERROR(agent->shells_.start(launch, agent->output_));
  PINION_RETURN_IF_ERROR(agent->open_link({.job = launch.job,
                                           .epoch = launch.epoch,
                                           .host = launch.host,
                                           .host_count = agent->host_count(),
                                           .token = launch.token}));
  PINION_RETURN_IF_ERROR(agent->link_->join(0, launch.head_address));
  return agent;
}

Agent::Agent(Parts parts)
    : spec_(std::move(parts.spec)),
      settings_(std::move(parts.settings)),
      share_(parts.share),
      started_(clock_.now()),
      binds_memory_(parts.placement.node_count > 1),
      gpus_(std::move(parts.placement.gpus)),
      open_file_limit_(parts.open_file_limit),
      log_(std::move(parts.log)),
      signals_(std::move(parts.signals)),
      job_(parts.job),
      epoch_(parts.epoch),
      segments_({job_, epoch_, share_.host}, kSegmentsPerClient, settings_.memory_bytes / 4,
                available_bytes),
      rings_(job_, kRingCapacity),
      display_(ProgressDisplay::for_standard_error(settings_.quiet || !is_head()), started_),
      output_(spec_.tag_output),
      input_(is_head() ? STDIN_FILENO : -1),
      launcher_(parts.launcher) {
  for (RankPlacement& rank_placement : parts.placement.ranks) {
    ranks_.push_back({.placement = std::move(rank_placement)});
  }
  if (is_head()) {
    make_coordinator();
  }
}

int Agent::run() {
  const auto end_unless = [this](const Status& started) {
    if (!started.ok()) {
      say("pinion: " + started.to_string());
      end_all_later(error_info(started.code()).exit_status, Duration::zero());
    }
  };
  turn_.lock();
  // It may have died before its death was a signal to us.
  if (!end_without_launcher() && !ended_before_ && !link_) {
    end_unless(start_first());
  }
  while (goes_on()) {
    wait_for_events();
    take_signals();
    for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      serve(rank);
    }
    serve_launched();
    serve_link();  // After the ranks: others are told when the last of them is over.
    pass_input_on();
    if (others_wait_ && ranks_[*spec_.debug_rank].joined) {
      end_unless(start_others());
    }
    if (driver_ && clock_.now() >= driver_->next_deadline()) {
      driver_->tick();
    }
    serve_journal();
    end_for_want_of_time();
    press_on_with_ending();
    pass_output_on();
    if (driver_ && output_.errors_are_idle()) {
      display_.update(driver_->progress(), clock_.now());
    }
  }
  turn_.unlock();
  link_.reset();
  end_strays();
  for (std::uint32_t host = 1; host < host_count(); ++host) {
    host_outputs_.end(host);
  }
  output_.read_rest();
  end_journal();
  print_placements();
  print_summary();
  finish_output();
  shells_.let_go();
  return exit_status_.value_or(first_failure_.value_or(0));
}

// Whatever the ranks have started and left running ends with the job. Where a remote shell runs an
// agent as our descendant, that is none of it: it ends by itself, like the shells.
void Agent::end_strays() {
  const bool may_be_agents = !is_head() && !launched_;
  end_child_processes([&](pid_t pid) {
    return may_be_agents && (shells_.is_process_of_one(pid) || is_agent_of_other_host(pid));
  });
}

void Agent::wait_for_events() {
  std::vector<pollfd> watched{{signals_.get(), POLLIN, 0}};
  if (journal_) {
    watched.push_back({journal_->descriptor(), POLLIN, 0});
  }
  if (link_) {
    watched.push_back({link_->descriptor(), POLLIN, 0});
    watched.push_back({lifeline_.get(), POLLIN, 0});  // Not looked at where it is none.
  }
  shells_.watch(watched);
  if (launched_) {
    launched_->watch(watched);
  }
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
  int patience = milliseconds_to_wait();
  const std::size_t rings_begin = watched.size();
  std::vector<RingEnd*> sleeping;
  for (Rank& rank : ranks_) {
    if (listens_to_ring(rank)) {
      sleeping.push_back(&*rank.ring);
      patience = rank.ring->begin_sleep() ? patience : 0;
      watched.push_back({rank.ring->message_descriptor(), POLLIN, 0});
    }
  }
  const std::size_t output_begin = watched.size();
  output_.watch(watched);
  const std::size_t input_begin = watched.size();
  input_.watch(watched);
  turn_.unlock();
  poll(watched.data(), watched.size(), patience);
  turn_.lock();
  for (std::size_t i = 0; i < sleeping.size(); ++i) {
    sleeping[i]->end_sleep(watched[rings_begin + i].revents != 0);
  }
  const std::span<const pollfd> answers = watched;
  output_.read(answers.subspan(output_begin, input_begin - output_begin));
  input_.serve(answers.subspan(input_begin));
}

void Agent::pass_output_on() {
  if (output_.has_waiting()) {
    display_.clear();
    output_.write();
  }
  send_output_on();
  if (!output_.status().ok() && !output_failed_) {
    output_failed_ = true;
    const Status& status = output_.status();
    say("pinion: " + status.to_string());
    end_all_later(error_info(status.code()).exit_status, Duration::zero());
  }
}

// The ranks are over; what they wrote waits for whoever reads it, unless we are told to end.
void Agent::finish_output() {
  pass_output_on();
  while (output_.has_waiting() && (launched_ || (is_head() && getppid() == launcher_))) {
    std::vector<pollfd> watched{{signals_.get(), POLLIN, 0}};
    output_.watch(watched);
    poll(watched.data(), watched.size(), -1);
    if (watched[0].revents != 0) {
      take_signals();
      if (exit_status_) {
        return;
      }
    }
    pass_output_on();
  }
}

int Agent::milliseconds_to_wait() const {
  const Instant now = clock_.now();
  Instant until = now + display_.interval();
  if (driver_) {
    until = std::min(until, driver_->next_deadline());
  }
  if (hosts_end_) {
    until = std::min(until, *hosts_end_);
  }
  if (const std::optional<Instant> parting = next_parting()) {
    until = std::min(until, *parting);
  }
  if (link_ && waits_for_credit_) {
    until = std::min(until, now + kWaitForCredit);
  }
  if (next_press_) {
    until = std::min(until, *next_press_);
  }
  if (launched_ && launched_->any_expected()) {
    until = std::min(until, launched_->deadline());
  }
  if (spec_.timeout != Duration::zero() && !exit_status_) {
    until = std::min(until, started_ + spec_.timeout);
  }
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(until - now);
  return static_cast<int>(std::clamp<std::int64_t>(wait.count(), 0, 60'000));
}

bool Agent::any_rank_runs() const {
  if (launched_) {
    return any_launched_rank_is_here();
  }
  return std::any_of(ranks_.begin(), ranks_.end(),
                     [](const Rank& rank) { return rank.process.has_value(); });
}

void Agent::say(const std::string& line) {
  output_.say(line);
  pass_output_on();
}

void Agent::print_placements() {
  for (const auto& [host, lines] : placements_) {
    for (const std::string& line : lines) {
      output_.print(line);
    }
  }
}

void Agent::report_pages() {
  if (spec_.report_bindings) {
    say(fmt::format("pinion: of {} MiB of large blobs {} MiB lay in huge pages",
                    large_blob_pages_.bytes >> 20, large_blob_pages_.huge_bytes >> 20));
  }
}

void Agent::print_summary() {
  if (!is_head()) {
    return;
  }
  display_.clear();
  report_pages();
  const JobTotals totals = driver_->totals();
  if (settings_.quiet || silenced_ || totals.step_count == 0) {
    return;
  }
  const std::string hosts =
      host_count() > 1 ? fmt::format(" on {} hosts", host_count()) : std::string();
  say(fmt::format("pinion: {} rank{}{}, {}", spec_.rank_count, spec_.rank_count == 1 ? "" : "s",
                  hosts, summary_of(totals, clock_.now() - started_)));
  print_traffic();
  if (!settings_.trace_directory.empty()) {
    say(fmt::format("pinion: trace in {}/trace.rank*.json (open in Perfetto)",
                    settings_.trace_directory));
  }
}

}  // namespace pinion
