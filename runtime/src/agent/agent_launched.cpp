// An agent whose ranks another launcher has started: they come to it, and go, by themselves.

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include <fmt/format.h>

#include "agent/agent.hpp"

namespace pinion {

Result<std::unique_ptr<Agent>> Agent::create_launched(const LaunchedHost& launch) {
  Result<Settings> settings = settings_of(launch.spec);
  if (!settings) {
    return std::move(settings).error();
  }
  Result<HostPlacement> placement = placement_of_launched(launch.processes, *settings, launch.host);
  if (!placement) {
    return std::move(placement).error();
  }
  Result<Parts> parts = complete({.spec = launch.spec,
                                  .settings = *std::move(settings),
                                  .share = share_of(launch.spec, launch.host),
                                  .placement = *std::move(placement)});
  if (!parts) {
    return std::move(parts).error();
  }
  const bool is_head = launch.host == 0;
  if (is_head) {
    PINION_RETURN_IF_ERROR(begin_new_job(*parts));
  } else {
    parts->job = launch.job;
    parts->epoch = launch.epoch;
  }
  Result<LaunchedRanks> ranks =
      LaunchedRanks::create(launch.processes, SystemClock().now() + parts->settings.join_patience);
  if (!ranks) {
    return std::move(ranks).error();
  }
  PINION_RETURN_IF_ERROR(become_agent(*parts));
  std::unique_ptr<Agent> agent(new Agent(*std::move(parts)));
  agent->launched_ = *std::move(ranks);
  if (agent->host_count() > 1) {
    agent->token_ = is_head ? random_token() : launch.token;
    PINION_RETURN_IF_ERROR(agent->open_link({.job = agent->job_,
                                             .epoch = agent->epoch_,
                                             .host = launch.host,
                                             .host_count = agent->host_count(),
                                             .token = agent->token_}));
    if (is_head) {
      agent->remote_hosts_.emplace(launch.spec);
    } else {
      PINION_RETURN_IF_ERROR(agent->link_->join(0, launch.head_address));
    }
  }
  return agent;
}

AgentReport Agent::report() const {
  return {.socket = launched_->socket_name(),
          .job = job_,
          .epoch = epoch_,
          .token = token_,
          .head_address = link_ ? link_->address() : std::string()};
}

void Agent::serve_launched() {
  if (!launched_) {
    return;
  }
  for (const std::uint32_t rank : launched_->take_absent(clock_.now())) {
    tell_lost(rank, "it ended without joining the job", false);
  }
  for (LaunchedRanks::Arrival& arrival :
       begun_ ? launched_->take_arrivals() : std::vector<LaunchedRanks::Arrival>()) {
    Rank& it = ranks_[arrival.rank];
    it.process = std::move(arrival.process);
    it.incarnation = 1;
    it.connected = true;
  }
  if (launched_->launcher_has_ended()) {
    say("pinion: what started the ranks has ended without them; they are ended");
    end_all_later(128 + SIGKILL, Duration::zero());
    end_all_now();
  }
}

// Whoever is at the other end of the socket has ended, or has closed it without a word. How it
// ended its launcher knows.
void Agent::launched_rank_ended(std::uint32_t rank) {
  Rank& it = ranks_[rank];
  it.process.reset();
  it.connected = false;
  if (it.joined && !it.left) {
    say(
        fmt::format("pinion: rank {} has ended before the job; the others go on as far as their "
                    "launcher lets them",
                    named(rank).rank));
    tell_lost(rank, "its process has ended" + describe_given_up(it), false);
  } else if (!it.joined) {
    tell_lost(rank, "it ended without joining the job", false);
  }
  forget_client(rank);
}

bool Agent::any_launched_rank_is_here() const {
  if (launched_->any_expected()) {
    return true;
  }
  for (const Rank& rank : ranks_) {
    // One that has left may still have to be answered.
    if (rank.process && (!rank.left || rank.process->channel.wants_write())) {
      return true;
    }
  }
  return false;
}

void Agent::signal_launched(const Rank& rank, int signal) const {
  if (rank.process && !rank.left) {
    syscall(SYS_pidfd_send_signal, rank.process->watch.get(), signal, nullptr, 0);
  }
}

}  // namespace pinion
