// The processes of the ranks: how they are started, what their end means, how they are ended.

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sstream>
#include <utility>

#include <fmt/format.h>

#include "agent/agent.hpp"
#include "agent/rank_variables.hpp"
#include "drain_request.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;

constexpr Duration kPatienceAfterFailure =
    300ms;  // The others may be on their way out, with words.

// Sent by a terminal to the rank that it belongs to, and meant for the whole job.
bool is_of_terminal(int signal) {
  return signal == SIGINT || signal == SIGQUIT || signal == SIGHUP;
}

}  // namespace

Status Agent::start_first() {
  if (launched_) {
    begun_ = true;  // They are there, and come by themselves.
    begin_other_hosts();
    return {};
  }
  say_about_devices();
  if (remote_hosts_ && spec_.input_reader == InputReader::kAll) {
    for (std::uint32_t host = 1; host < host_count(); ++host) {
      input_.add_host(host);
    }
  }
  if (spec_.report_bindings) {
    say("pinion: " + describe_blob_pages());
  }
  if (!spec_.debug_rank) {
    return start_others();
  }
  others_wait_ = spec_.rank_count > 1;
  begun_ = true;
  return start(*spec_.debug_rank);
}

Status Agent::start_others() {
  others_wait_ = false;
  begun_ = true;
  begin_other_hosts();
  if (spec_.dry_run) {
    place_only();
    return {};
  }
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    if (rank != spec_.debug_rank) {
      PINION_RETURN_IF_ERROR(start(rank));
    }
  }
  return {};
}

void Agent::begin_other_hosts() {
  if (remote_hosts_) {
    link_->send_to_all(BeginJob{remote_hosts_->addresses(link_->address())});
  }
}

void Agent::place_only() {
  std::vector<std::string> lines;
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    lines.push_back(describe(rank));
  }
  if (is_head()) {
    placements_[0] = std::move(lines);
  } else {
    link_->send(0, HostPlaced{std::move(lines)});
  }
}

std::string Agent::describe(std::uint32_t rank) const {
  const std::string where = host_count() > 1 ? spec_.hosts[share_.host].name + ", " : "";
  return where + describe_rank(named(rank).rank, ranks_[rank].placement);
}

bool Agent::has_terminal(std::uint32_t rank) const {
  return rank == spec_.debug_rank.value_or(0);
}

bool Agent::reads_input(std::uint32_t rank) const {
  if (launched_) {
    return named(rank).rank == 0;  // What else a launcher gives it to has no need to read it.
  }
  return spec_.input_reader == InputReader::kAll ||
         (spec_.input_reader == InputReader::kRank0 && has_terminal(rank));
}

std::vector<std::string> Agent::command_of(std::uint32_t rank) const {
  std::vector<std::string> command;
  if (rank == spec_.debug_rank) {
    std::istringstream words(settings_.debugger);
    for (std::string word; words >> word;) {
      command.push_back(word);
    }
  }
  command.insert(command.end(), spec_.command.begin(), spec_.command.end());
  return command;
}

// The ends of the pipes live in `ends` and `input`, which must outlast the start.
Status Agent::connect_standard(std::uint32_t rank, RankStart& start, OutputRelay::Ends& ends,
                               UniqueFd& input) {
  if (rank != spec_.debug_rank && (spec_.rank_count > 1 || spec_.tag_output)) {
    Result<OutputRelay::Ends> made = output_.add_rank(named(rank).rank);
    if (!made) {
      return std::move(made).error();
    }
    ends = std::move(made).value();
    start.output = ends.output.get();
    start.errors = ends.errors.get();
  }
  if (!reads_input(rank)) {
    return {};
  }
  if (spec_.input_reader == InputReader::kRank0) {
    start.input = STDIN_FILENO;
    if (isatty(STDIN_FILENO) == 1) {
      start.process_group = tcgetpgrp(STDIN_FILENO);
    }
  } else if (ranks_[rank].incarnation == 0) {
    Result<UniqueFd> made = input_.add_rank();
    if (!made) {
      return std::move(made).error();
    }
    input = std::move(made).value();
    start.input = input.get();
  }
  return {};
}

Status Agent::start(std::uint32_t rank) {
  Rank& it = ranks_[rank];
  if (spec_.report_bindings && it.incarnation == 0) {
    say("pinion: " + describe(rank));
  }
  RankStart start{.command = command_of(rank),
                  .environment = spec_.environment,
                  .absent_variables = foreign_variables(),
                  .cpus = {},
                  .open_file_limit = open_file_limit_};
  for (auto& variable : rank_variables({.rank = named(rank).rank,
                        .rank_count = spec_.rank_count,
                        .host = share_.host,
                        .local_rank = rank,
                        .local_rank_count = share_.rank_count,
                        .incarnation = it.incarnation + 1,
                        .gpu_bus_id = gpu_of(rank).bus_id,
                        .visible_gpu = gpu_of(rank).visible_as})) {
    start.environment.push_back(std::move(variable));
  }
  for (const WorkerGroup& group : it.placement.groups) {
    start.cpus.insert(start.cpus.end(), group.cpus.begin(), group.cpus.end());
  }
  if (start.cpus.empty()) {
    // Workers that are not bound keep to the job's CPUs all the same.
    start.cpus = it.placement.cpus.empty() ? spec_.cpus : it.placement.cpus;
  }
  OutputRelay::Ends ends;
  UniqueFd input;
  PINION_RETURN_IF_ERROR(connect_standard(rank, start, ends, input));
  if (link_) {
    keep_descriptors_from_ranks();
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
  if (launched_) {
    launched_rank_ended(rank);
    return;
  }
  Rank& it = ranks_[rank];
  int wait_status = 0;
  if (waitpid(it.process->pid, &wait_status, WNOHANG) != it.process->pid) {
    return;
  }
  output_.read_rank(named(rank).rank);  // Its last words come before ours.
  const bool had_joined = it.joined && !it.left;
  it.process.reset();
  it.connected = false;
  decide_after_end(rank, wait_status, had_joined);
}

void Agent::decide_after_end(std::uint32_t rank, int wait_status, bool had_joined) {
  Rank& it = ranks_[rank];
  const bool killed = WIFSIGNALED(wait_status);
  const bool failed = killed || WEXITSTATUS(wait_status) != 0;
  const bool others_go_on = spec_.on_failure == OnFailure::kContinue && !exit_status_;
  const std::optional<DeviceLoss> lost_device = std::exchange(it.lost_device, std::nullopt);
  const bool was_killed = killed && !is_of_terminal(WTERMSIG(wait_status)) &&
                          it.respawn_count < spec_.respawn_count_max;
  const bool returns = spec_.on_failure == OnFailure::kRespawn && failed && had_joined &&
                       (was_killed || lost_device) && !exit_status_ && rank != spec_.debug_rank;
  const std::string what =
      describe_wait_status(wait_status) +
      (lost_device ? ", as " + describe_loss(*lost_device) : describe_given_up(it));
  if (had_joined && !failed) {
    tell_left(rank);
  } else if (had_joined) {
    tell_lost(rank, what, returns);
  } else if (!it.joined && (!failed || others_go_on)) {
    // The coordinator expects it until it is told that it will never come.
    tell_lost(rank, "it ended without joining the job", false);
  }
  forget_client(rank);
  if (others_wait_ && rank == spec_.debug_rank && !it.joined) {
    others_wait_ = false;
    say(fmt::format("pinion: rank {} ended before it joined the job; the others were not started",
                    named(rank).rank));
    if (remote_hosts_ && !failed) {
      end_all_later(0, Duration::zero());
    }
  }
  if (!failed || exit_status_) {
    return;
  }
  const int status = killed ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
  if (!returns) {
    const std::string life =
        it.respawn_count == 0 ? "" : fmt::format(" in life {}", it.incarnation);
    say(fmt::format("pinion: rank {} {} {}{}; {}", named(rank).rank, killed ? "was" : "ended with",
                    what, life, others_go_on ? "the others go on" : "the job ends"));
    rank_failed(status, others_go_on);
    return;
  }
  if (lost_device) {
    start_again(rank, fmt::format("ended with {}; {}", what, note_device_loss(*lost_device)));
    return;
  }
  ++it.respawn_count;
  start_again(rank, fmt::format("was {}; starting it again ({} of {})", what, it.respawn_count,
                                spec_.respawn_count_max));
}

void Agent::start_again(std::uint32_t rank, const std::string& words) {
  say(fmt::format("pinion: rank {} {}", named(rank).rank, words));
  if (Status started = start(rank); !started.ok()) {
    say("pinion: " + started.to_string());
    end_all_later(error_info(started.code()).exit_status, kPatienceAfterFailure);
  }
}

// What it shared with others goes, but for what the job keeps.
void Agent::forget_client(std::uint32_t rank) {
  Rank& it = ranks_[rank];
  if (!it.joined) {
    return;
  }
  it.ring.reset();
  for (const BlobHandle& blob : kept_until_death_) {
    if (blob.segment / kSegmentsPerClient == it.client) {
      segments_.release(blob);
    }
  }
  segments_.client_gone(it.client);
  if (copies_) {
    copies_->table().client_gone(it.client);
  }
  rings_.client_gone(it.client);
}

void Agent::rank_failed(int exit_status, bool others_go_on) {
  first_failure_ = first_failure_.value_or(exit_status);
  if (!is_head()) {
    link_->send(0, HostRankFailed{exit_status, others_go_on});
  }
  if (!others_go_on) {
    end_all_later(exit_status, kPatienceAfterFailure);
  }
}

void Agent::signal_rank(const Rank& rank, int signal) const {
  if (launched_) {
    signal_launched(rank, signal);
  } else if (rank.process) {
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
    tell_end(exit_status, patience);
  }
  others_wait_ = false;
  if (!next_press_) {
    next_press_ = clock_.now() + patience;
    next_signal_ = SIGTERM;
  }
}

void Agent::end_all_now() {
  next_press_ = clock_.now();
  next_signal_ = SIGKILL;
}

// Whether nobody is left to wait for us.
bool Agent::end_without_launcher() {
  if (launched_ || !is_head() || getppid() == launcher_) {
    return false;
  }
  end_all_later(128 + SIGKILL, Duration::zero());
  end_all_now();
  return true;
}

void Agent::press_on_with_ending() {
  const Instant now = clock_.now();
  if (!next_press_ || now < *next_press_) {
    return;
  }
  signal_all(next_signal_);
  if (launched_ && next_signal_ == SIGKILL) {
    launched_->kill_expected();
  }
  // A stopped process takes SIGTERM only once it goes on.
  signal_all(SIGCONT);
  next_signal_ = SIGKILL;
  next_press_ = now + settings_.grace;
}

void Agent::end_for_want_of_time() {
  if (spec_.timeout == Duration::zero() || exit_status_ ||
      clock_.now() < started_ + spec_.timeout) {
    return;
  }
  say(fmt::format("pinion: the job has not ended within {} s (--timeout); it is ended",
                  std::chrono::duration<double>(spec_.timeout).count()));
  end_all_later(error_info(ErrorCode::kDeadlineExceeded).exit_status, Duration::zero());
}

void Agent::take_signals() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    const int signal = static_cast<int>(info.ssi_signo);
    if (end_without_launcher()) {
      return;
    }
    if (signal == drain_signal()) {
      drain(static_cast<std::uint32_t>(info.ssi_int));
    } else if (signal != SIGCONT) {
      act_on_signal(signal);
    }
  }
}

void Agent::act_on_signal(int signal) {
  if (remote_hosts_) {
    link_->send_to_all(SignalRanks{signal});
  }
  signal_all(signal);
  if (signal == SIGUSR1 || signal == SIGUSR2) {
    return;
  }
  signal_all(SIGCONT);  // A stopped process takes the signal only once it goes on.
  if (silenced_ && signal == SIGINT) {
    end_all_now();
    return;
  }
  const bool is_term = signal == SIGTERM;
  silenced_ = true;
  next_press_.reset();
  // Programs that leave a signal of the terminal alone are told otherwise in time.
  end_all_later(128 + signal, is_term ? settings_.grace : settings_.grace / 2);
  next_signal_ = is_term ? SIGKILL : SIGTERM;
}

}  // namespace pinion
