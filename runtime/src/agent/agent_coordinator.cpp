// The coordinator, in the head of a job: what it is told to be, and what it makes the agent do.

#include <utility>

#include <fmt/format.h>

#include "agent/agent.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;

constexpr Duration kPatienceAfterJobEnd = 5s;

std::vector<std::uint32_t> hosts_of_ranks(const LaunchSpec& spec) {
  std::vector<std::uint32_t> hosts;
  for (std::uint32_t host = 0; host < spec.hosts.size(); ++host) {
    hosts.insert(hosts.end(), spec.hosts[host].rank_count, host);
  }
  return hosts;
}

}  // namespace

void Agent::make_coordinator() {
  driver_.emplace(
      protocol::CoordinatorOptions{.job = job_,
                                   .epoch = epoch_,
                                   .rank_count = spec_.rank_count,
                                   .rank_hosts = hosts_of_ranks(spec_),
                                   .lease_duration = settings_.lease_duration,
                                   .seed = settings_.seed,
                                   .death_count_max = settings_.death_count_max,
                                   .skip_bad = settings_.skip_bad,
                                   .only_shard = settings_.only_shard,
                                   .late_least = settings_.late_least,
                                   .combine_bytes_min = settings_.combine_bytes,
                                   .journaled = !spec_.journal_directory.empty(),
                                   .fast_forward = !settings_.test_no_fast_forward,
                                   .mutations = {.accept_stale_fence = settings_.test_no_fences,
                                                 .accept_twice = settings_.test_no_fences}},
      coordinator_hooks(), clock_, log_);
}

CoordinatorDriver::Hooks Agent::coordinator_hooks() {
  return {.send = [this](std::uint32_t rank,
                         const std::vector<std::byte>& message) { send_to_rank(rank, message); },
          .keep = [this](const BlobHandle& blob) { return keep(blob); },
          .release = [this](const BlobHandle& blob) { release(blob); },
          .end_job =
              [this](const protocol::Failure& failure) {
                say(fmt::format("pinion: {}: {}", to_string(failure.code), failure.text));
                end_all_later(error_info(failure.code).exit_status, kPatienceAfterJobEnd);
              },
          .tell = [this](const std::string& text) { say("pinion: " + text); },
          .step_over = [this](std::uint64_t step) { display_.step_over(step); },
          .persist = [this](protocol::Record record) { return persist(std::move(record)); }};
}

// As somebody has asked from outside.
void Agent::drain(std::uint32_t named_rank) {
  if (!driver_) {
    say("pinion: to drain a rank, ask on the first host of the job");
    return;
  }
  const Status asked = driver_->drain(named_rank, "an operator asked for it");
  say(asked.ok() ? fmt::format("pinion: rank {} drains: it finishes what it holds, and is given "
                               "nothing more",
                               named_rank)
                 : "pinion: no rank is drained: " + asked.to_string());
}

void Agent::send_to_rank(std::uint32_t rank, const std::vector<std::byte>& message) {
  if (!is_here(rank)) {
    link_->send(remote_hosts_->host_of(rank),
                ToRank{rank, remote_hosts_->incarnation_of(rank), message});
  } else if (ranks_[rank].connected) {
    answer(rank, FrameKind::kControl, 0, message);
  }
}

Status Agent::keep(const BlobHandle& blob) {
  const std::uint32_t host = host_with(blob, epoch_);
  if (remote_hosts_ && host > 0 && host < host_count()) {
    link_->send(host, KeepBlob{blob});
    return {};  // Where it is not there, its host says so.
  }
  if (settings_.test_no_acceptance) {
    kept_until_death_.push_back(blob);
  }
  return segments_.keep(blob);
}

void Agent::release(const BlobHandle& blob) {
  release_here(blob);
  if (remote_hosts_) {
    link_->send_to_all(ReleaseBlob{blob});
  }
}

}  // namespace pinion
