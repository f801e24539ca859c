// The head of a job over several hosts: starts their agents, speaks for their ranks to the
// coordinator, and ends them.

#include <algorithm>
#include <random>
#include <set>
#include <utility>

#include <fmt/format.h>

#include <pinion/core/bytes.hpp>

#include "agent/agent.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTimeToLeave = 10s;  // For the agent of a host that has nothing left to do.

// How much was pulled, and how quickly, where that can be told.
std::string pulled_words(const HostTraffic& traffic) {
  const double seconds = std::chrono::duration<double>(traffic.bulk_time).count();
  std::string words = fmt::format("{} in {} pull{}", format_bytes(traffic.pulled_bytes),
                                  traffic.pulled_count, traffic.pulled_count == 1 ? "" : "s");
  if (traffic.bulk_bytes > 0 && seconds > 0) {
    const double rate = static_cast<double>(traffic.bulk_bytes) / seconds;
    words += " (at " + format_bytes(static_cast<std::uint64_t>(rate)) + "/s)";
  }
  return words;
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

// Also the words of a shell are waited for.
bool Agent::any_host_is_left() const {
  return remote_hosts_->any_is_left() || shells_.any_runs();
}

Status Agent::start_hosts(const std::string& started_in) {
  const std::string token = random_token();
  PINION_RETURN_IF_ERROR(open_link(
      {.job = job_, .epoch = epoch_, .host = 0, .host_count = host_count(), .token = token}));
  remote_hosts_.emplace(spec_);
  return shells_.start({.spec = spec_,
                        .job = job_,
                        .epoch = epoch_,
                        .token = token,
                        .head_address = link_->address(),
                        .remote_shell = settings_.remote_shell,
                        .start_width = settings_.start_width,
                        .start_directory = started_in,
                        .environment = environment_to_give()},
                       output_);
}

void Agent::serve_hosts() {
  handle_held_messages();
  if (!told_over_ && (begun_ || exit_status_) && !any_rank_runs() && remote_hosts_->all_over()) {
    told_over_ = true;
    hosts_end_ = clock_.now() + kTimeToLeave;
    head_traffic_ = traffic();
    link_->send_to_all(LeaveJob{});
  }
  lose_parted_hosts();
  press_on_hosts();
}

void Agent::host_came(const HostCame& event) {
  remote_hosts_->came(event.host, event.address);
  if (remote_hosts_->is_lost(event.host)) {
    link_->send(event.host, LeaveJob{});
  } else if (exit_status_) {
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
  } else if (const auto* end = std::get_if<HostNotStarted>(&message)) {
    host_not_started(host, *end);
  } else if (const auto* over = std::get_if<HostRanksOver>(&message)) {
    remote_hosts_->ranks_over(host, over->traffic);
  } else if (std::holds_alternative<HostTookInput>(message)) {
    input_.host_took(host);
  } else if (const auto* placed = std::get_if<HostPlaced>(&message)) {
    placements_[host] = placed->lines;
  } else if (const auto* missed = std::get_if<HostMissed>(&message)) {
    const bool is_known = missed->host > 0 && missed->host < host_count();
    if (is_known && !remote_hosts_->is_lost(missed->host)) {
      parted_.add(host, missed->host, clock_.now(), missed->reason);
    }
  }
}

// Once an agent is there its connection says how it is, and no shell.
void Agent::host_not_started(std::uint32_t starter, const HostNotStarted& end) {
  const bool is_known = end.host > 0 && end.host < host_count();
  if (!is_known || starter_of(end.host, settings_.start_width) != starter ||
      !remote_hosts_->is_expected(end.host)) {
    return;
  }
  const std::string way =
      starter == 0 ? "" : fmt::format("reached from {}, ", remote_hosts_->name_of(starter));
  host_lost(end.host, way + end.reason, end.exit_status);
}

void Agent::host_lost(std::uint32_t host, const std::string& reason, int exit_status) {
  if (!remote_hosts_->lose(host)) {
    return;
  }
  host_outputs_.end(host);
  parted_.forget(host);
  if (told_over_) {
    return;
  }
  link_->send(host, LeaveJob{});  // It may not have noticed.
  shells_.kill(host);
  input_.host_gone(host);
  link_->send_to_all(HostIsLost{host, reason});
  if (begun_ && !exit_status_ && spec_.on_failure == OnFailure::kAbort) {
    rank_failed(error_info(ErrorCode::kUnavailable).exit_status, false);
  }
  driver_->host_lost(host, remote_hosts_->name_of(host) + ": " + reason);
  if (!begun_ && !exit_status_) {
    say(fmt::format("pinion: the job does not begin without {}", remote_hosts_->name_of(host)));
    end_all_later(exit_status, Duration::zero());
  }
}

// Hosts that do not reach each other would fail for want of each other's blobs, or wait for them. A
// job without steps has none.
std::optional<Instant> Agent::next_parting() const {
  const bool needs_all =
      driver_ && begun_ && !told_over_ && !exit_status_ && driver_->progress().step > 0;
  return needs_all ? parted_.due() : std::nullopt;
}

void Agent::lose_parted_hosts() {
  while (next_parting()) {
    const std::optional<PartedHosts::Choice> choice = parted_.choose(clock_.now());
    if (!choice) {
      return;
    }
    parted_.forget(choice->host);
    host_lost(choice->host, fmt::format("it and {} do not reach each other: {}",
                                        remote_hosts_->name_of(choice->other), choice->reason));
  }
}

void Agent::press_on_hosts() {
  for (std::uint32_t host = 1; exit_status_ && !begun_ && !launched_ && host < host_count();
       ++host) {
    if (remote_hosts_->is_expected(host)) {
      shells_.kill(host);
      remote_hosts_->lose(host);
    }
  }
  if (exit_status_ && !hosts_end_) {
    hosts_end_ = clock_.now() + 2 * settings_.grace + kTimeToLeave;
  }
  // Hosts keep what they have printed until it is taken.
  if (told_over_ && !silenced_ && (output_.is_full(false) || output_.is_full(true))) {
    hosts_end_ = clock_.now() + kTimeToLeave;
  }
  if (hosts_end_ && clock_.now() >= *hosts_end_) {
    hosts_end_.reset();
    shells_.kill_all();
    remote_hosts_->lose_all();
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
      say(fmt::format("pinion: {} and {}, by {}: {} and {} of blobs", name, other_name,
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
