// The head of a job over several hosts: starts their agents, speaks for their ranks to the
// coordinator, and ends them.

#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <set>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <pinion/core/bytes.hpp>

#include "agent/agent.hpp"
#include "agent/rank_process.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTimeToLeave = 10s;  // For the agent of a host that has nothing left to do.

// How much was pulled, and how quickly, where that can be told.
std::string pulled_words(const HostTraffic& traffic) {
  const double seconds = std::chrono::duration<double>(traffic.bulk_time).count();
  if (traffic.bulk_bytes == 0 || seconds <= 0) {
    return format_bytes(traffic.pulled_bytes);
  }
  const double rate = static_cast<double>(traffic.bulk_bytes) / seconds;
  return format_bytes(traffic.pulled_bytes) + " (at " +
         format_bytes(static_cast<std::uint64_t>(rate)) + "/s)";
}

// A Pinion that cannot do what it is asked to says why by its exit status.
int status_of_agent(int wait_status) {
  const int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0;
  return status >= 64 && status < 80 ? status : error_info(ErrorCode::kUnavailable).exit_status;
}

}  // namespace

std::string Agent::random_token() {
  std::random_device device;
  std::string token;
  for (int i = 0; i < 4; ++i) {
    token += fmt::format("{:08x}", device());
  }
  return token;
}

// Agents that remote shells have started are gone with these, others with their connection.
bool Agent::any_host_is_left() const {
  return launched_ ? remote_hosts_->any_is_left() : remote_hosts_->any_shell_runs();
}

Status Agent::start_hosts(const std::string& started_in) {
  std::error_code error;
  const std::string agent = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (error) {
    return Status::from_errno(error.value(), "cannot tell where pinion-agent is");
  }
  const std::string token = random_token();
  PINION_RETURN_IF_ERROR(open_link(
      {.job = job_, .epoch = epoch_, .host = 0, .host_count = host_count(), .token = token}));
  remote_hosts_.emplace(spec_);
  return remote_hosts_->start(settings_.remote_shell, agent,
                              {.spec = spec_,
                               .job = job_,
                               .epoch = epoch_,
                               .token = token,
                               .head_address = link_->address(),
                               .start_directory = started_in,
                               .environment = environment_to_give()},
                              output_);
}

void Agent::serve_hosts() {
  handle_held_messages();
  for (const RemoteHosts::ShellEnd& end : remote_hosts_->serve()) {
    shell_ended(end.host, end.wait_status);
  }
  if (!told_over_ && (begun_ || exit_status_) && !any_rank_runs() && remote_hosts_->all_over()) {
    told_over_ = true;
    shells_end_ = clock_.now() + kTimeToLeave;
    head_traffic_ = traffic();
    link_->send_to_all(LeaveJob{});
  }
  press_on_hosts();
}

void Agent::host_came(const HostCame& event) {
  remote_hosts_->came(event.host, event.address);
  if (exit_status_) {
    link_->send(event.host, EndRanks{*exit_status_, Duration::zero()});
  } else if (!begun_ && remote_hosts_->all_came()) {
    if (const Status started = start_first(); !started.ok()) {
      say("pinion: " + started.to_string());
      end_all_later(error_info(started.code()).exit_status, Duration::zero());
    }
  }
}

// What was printed before it may still be held back there, as the head has yet to take more. What
// the journal is to have of what it says comes after it.
void Agent::handle_host_later(const HostSaid& said) {
  held_messages_.push_back({.said = said, .number = ++held_count_});
  if (journal_) {
    copy_for_journal(held_messages_.back());
  }
  handle_held_messages();
}

bool Agent::must_wait(const HeldMessage& held) const {
  const std::uint32_t host = held.said.host;
  if (remote_hosts_->is_lost(host)) {
    return false;
  }
  const auto* const from = std::get_if<FromRank>(&held.said.message);
  // Nobody waits for whoever does not read what the job prints.
  const bool is_taken = !output_.is_full(false) && !output_.is_closed(false);
  const bool is_before_output =
      from != nullptr && is_taken && host_outputs_.bytes_of(host) < from->output_bytes;
  return held.missing_count > 0 || is_before_output;
}

void Agent::handle_held_messages() {
  std::vector<std::uint32_t> waiting;
  for (auto held = held_messages_.begin(); held != held_messages_.end();) {
    const std::uint32_t host = held->said.host;
    const bool is_behind = std::find(waiting.begin(), waiting.end(), host) != waiting.end();
    if (is_behind || must_wait(*held)) {
      waiting.push_back(host);
      ++held;
      continue;
    }
    const HeldMessage next = std::move(*held);
    held = held_messages_.erase(held);
    handle_held(next);
  }
}

void Agent::handle_held(const HeldMessage& held) {
  const std::uint32_t host = held.said.host;
  if (held.failure.code() == ErrorCode::kUnavailable) {
    host_lost(host, held.failure.to_string());
  } else if (!held.failure.ok()) {
    driver_->fail({held.failure.code(), "what a rank of " + remote_hosts_->name_of(host) +
                                            " has reported cannot be copied for the journal: " +
                                            std::string(held.failure.message())});
  } else {
    handle_host(host, held.said.message);
  }
  for (const BlobHandle& blob : held.copies) {
    copies_->table().let_go(kJournalClient, blob);
  }
}

void Agent::handle_host(std::uint32_t host, const HostMessage& message) {
  if (remote_hosts_->is_lost(host)) {
    return;
  }
  const auto speaks_for = [&](std::uint32_t rank) { return remote_hosts_->has(host, rank); };
  if (const auto* from = std::get_if<FromRank>(&message)) {
    if (const Status status =
            speaks_for(from->rank)
                ? driver_->message_arrived({from->rank, from->incarnation}, from->message)
                : Status(ErrorCode::kPermissionDenied, "it speaks for a rank of another host");
        !status.ok()) {
      host_lost(host, status.to_string());
    }
  } else if (const auto* joined = std::get_if<HostRankJoined>(&message)) {
    if (speaks_for(joined->rank)) {
      const LoggedRank who{joined->rank, joined->incarnation};
      remote_hosts_->rank_joined(who);
      driver_->rank_joined(who, joined->pid);
    }
  } else if (const auto* lost = std::get_if<HostRankLost>(&message)) {
    if (speaks_for(lost->rank)) {
      driver_->rank_lost({lost->rank, lost->incarnation}, lost->reason, lost->returns);
    }
  } else if (const auto* left = std::get_if<HostRankLeft>(&message)) {
    if (speaks_for(left->rank)) {
      driver_->rank_left({left->rank, left->incarnation});
    }
  } else if (const auto* failed = std::get_if<HostRankFailed>(&message)) {
    rank_failed(failed->exit_status, failed->others_go_on);
  } else if (const auto* broken = std::get_if<HostBroken>(&message)) {
    driver_->fail({broken->code, remote_hosts_->name_of(host) + ": " + broken->text});
  } else if (const auto* over = std::get_if<HostRanksOver>(&message)) {
    remote_hosts_->ranks_over(host, over->traffic);
  } else if (std::holds_alternative<HostTookInput>(message)) {
    input_.host_took(host);
  } else if (const auto* placed = std::get_if<HostPlaced>(&message)) {
    placements_[host] = placed->lines;
  }
}

void Agent::shell_ended(std::uint32_t host, int wait_status) {
  output_.read_shell(host);
  host_lost(host,
            fmt::format("its remote shell {} {}", WIFSIGNALED(wait_status) ? "was" : "ended with",
                        describe_wait_status(wait_status)));
  if (!begun_ && !exit_status_) {
    say(fmt::format("pinion: the job does not begin without {}", remote_hosts_->name_of(host)));
    end_all_later(status_of_agent(wait_status), Duration::zero());
  }
}

void Agent::host_lost(std::uint32_t host, const std::string& reason) {
  if (!remote_hosts_->lose(host) || told_over_) {
    return;
  }
  host_outputs_.end(host);
  remote_hosts_->kill_shell(host);
  input_.host_gone(host);
  if (begun_ && !exit_status_ && spec_.on_failure == OnFailure::kAbort) {
    rank_failed(error_info(ErrorCode::kUnavailable).exit_status, false);
  }
  driver_->host_lost(host, remote_hosts_->name_of(host) + ": " + reason);
  if (launched_ && !begun_ && !exit_status_) {
    say(fmt::format("pinion: the job does not begin without {}", remote_hosts_->name_of(host)));
    end_all_later(error_info(ErrorCode::kUnavailable).exit_status, Duration::zero());
  }
}

void Agent::press_on_hosts() {
  if (exit_status_ && !begun_) {
    remote_hosts_->kill_shells_of_expected();
  }
  if (exit_status_ && !shells_end_) {
    shells_end_ = clock_.now() + 2 * settings_.grace + kTimeToLeave;
  }
  // Hosts keep what they have printed until it is taken.
  if (told_over_ && !silenced_ && (output_.is_full(false) || output_.is_full(true))) {
    shells_end_ = clock_.now() + kTimeToLeave;
  }
  if (shells_end_ && clock_.now() >= *shells_end_) {
    shells_end_.reset();
    remote_hosts_->kill_shells();
    if (launched_) {
      remote_hosts_->lose_all();
    }
  }
}

void Agent::print_traffic() {
  if (!remote_hosts_) {
    return;
  }
  std::vector<std::vector<HostTraffic>> by_host = {head_traffic_};
  for (std::uint32_t host = 1; host < host_count(); ++host) {
    by_host.push_back(remote_hosts_->traffic_of(host));
  }
  const auto between = [&](std::uint32_t host, std::uint32_t other) {
    for (const HostTraffic& traffic : by_host[host]) {
      if (traffic.host == other) {
        return traffic;
      }
    }
    return HostTraffic{};
  };
  for (std::uint32_t host = 0; host < host_count(); ++host) {
    for (std::uint32_t other = host + 1; other < host_count(); ++other) {
      const HostTraffic here = between(host, other);
      const HostTraffic there = between(other, host);
      const std::string& path = here.path.empty() ? there.path : here.path;
      const std::string& name = spec_.hosts[host].name;
      const std::string& other_name = spec_.hosts[other].name;
      say(fmt::format("pinion: {} and {}, by {}: {} and {} of blobs pulled", name, other_name,
                      path.empty() ? "a way that is gone" : path, pulled_words(here),
                      pulled_words(there)));
      for (const std::string& slow : std::set{here.slow, there.slow}) {
        if (!slow.empty()) {
          say(fmt::format("pinion: warning: {} and {}: {}", name, other_name, slow));
        }
      }
    }
  }
}

}  // namespace pinion
