#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "protocol/coordinator_state.hpp"

namespace pinion::protocol {
namespace {

std::string in_words(const HostLost& lost) {
  return "host " + std::to_string(lost.host) + " is lost" +
         (lost.reason.empty() ? "" : ": " + lost.reason);
}

}  // namespace

void Coordinator::State::on(const HostLost& lost) {
  if (lost.host == 0 || !lost_hosts.insert(lost.host).second) {
    return;
  }
  lose_ranks_of(lost);
  if (job_failure) {
    return;
  }
  observe(in_words(lost));
  for (StepRecord* step : open_steps) {
    if (step->granting()) {
      lose_work_of(*step, lost);
    }
  }
  note_lost_results(lost);
  after_membership_change();
}

/// A unit that such a rank held is not suspected of anything.
void Coordinator::State::lose_ranks_of(const HostLost& lost) {
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    if (host_of(rank) != lost.host || (!live(rank) && !may_still_come(rank))) {
      continue;
    }
    const bool was_live = live(rank);
    set_status(rank, RankStatus::kGone);
    ranks[rank].loss_reason = in_words(lost);
    if (was_live) {
      withdraw_process(rank);
    }
  }
}

/// Precondition: the step has a plan and is open.
void Coordinator::State::lose_work_of(StepRecord& step, const HostLost& lost) {
  step.misses.reset();
  const auto lies_there = [this, &lost](const BlobHandle& blob) {
    return lies_on(blob, lost.host, options.epoch);
  };
  if (std::any_of(step.streams.begin(), step.streams.end(), lies_there)) {
    fail_step(step, {.code = ErrorCode::kDataLoss,
                     .text = "step " + std::to_string(step.number) +
                             " has lost input that cannot be read again, as standard input was "
                             "kept on host " +
                             std::to_string(lost.host) + ", and " + in_words(lost) +
                             "; run the job again"});
    return;
  }
  if (lies_there(step.plan)) {
    step.plan = {};
    step.plan_is_lost = true;
    step.planner = {};
    step.first_decline = {};
    for (Participant& participant : step.participants) {
      participant.declined_to_plan = false;
    }
  }
  const bool partials_are_lost = reopen_lost_units(step, lost.host, options.epoch);
  if (partials_are_lost && step.phase != Phase::kMap) {
    return_to_map(step);
  }
}

/// Whether there were partials among what was lost in that epoch.
bool Coordinator::State::reopen_lost_units(StepRecord& step, std::uint32_t host,
                                           std::uint32_t epoch) {
  const auto lies_there = [host, epoch](const auto& partial) {
    return lies_on(partial.blob, host, epoch);
  };
  const bool partials_are_lost =
      !options.mutations.keep_partials_of_lost_host &&
      std::any_of(step.far_partials.begin(), step.far_partials.end(), lies_there);
  if (partials_are_lost) {
    for (const FarPartial& partial : step.far_partials) {
      if (!lies_there(partial)) {
        continue;
      }
      step.input_bytes -= partial.input_bytes;
      for (const std::uint64_t unit : partial.units) {
        step.shards.reopen(unit);
        step.shard_accepted_count -= step.map_units.shards_of(unit).count();
        step.weight_accepted -= step.shards.weight_of_unit(unit);
      }
    }
    if (epoch == options.epoch) {
      lose_combined(step, host);
    }
    std::erase_if(step.partials, lies_there);
    std::erase_if(step.far_partials, lies_there);
  }
  bool results_are_lost = false;
  for (std::uint32_t partition = 0; partition < step.results.size(); ++partition) {
    if (lies_on(step.results[partition], host, epoch)) {
      step.results[partition] = {};
      step.partitions.reopen(partition);
      results_are_lost = true;
    }
  }
  if (partials_are_lost || results_are_lost) {
    persist<BlobsLost>(
        [&] { return BlobsLost{.step = step.number, .host = host, .epoch = epoch}; });
  }
  return partials_are_lost;
}

/// Partitions that are merged already stay so, and what is combined of other hosts alone. Nobody
/// may go on with another.
void Coordinator::State::return_to_map(StepRecord& step) {
  LeaseTable& table = step.table();
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    HeartbeatAck ended{.step = step.number, .sent_ns = HeartbeatAck::kUnasked};
    table.list(rank, options.epoch, ended.lost);
    if (!ended.lost.empty()) {
      table.withdraw(rank);
      send(rank, std::move(ended));
    }
  }
  enter_phase(step, Phase::kMap);
}

/// Ranks that were told of a result have it, or see for themselves that they do not.
void Coordinator::State::note_lost_results(const HostLost& lost) {
  for (auto& [number, step] : steps) {
    const bool is_lost = step.phase == Phase::kDone &&
                         std::any_of(step.results.begin(), step.results.end(),
                                     [this, &lost](const BlobHandle& result) {
                                       return lies_on(result, lost.host, options.epoch);
                                     });
    if (!is_lost) {
      continue;
    }
    step.host_of_lost_result = lost.host;
    for (std::uint32_t rank = 0; rank < ranks.size() && !job_failure; ++rank) {
      if (may_still_come(rank) || (live(rank) && ranks[rank].latest_step < number)) {
        end_job(result_is_lost(step, rank));
      }
    }
  }
}

Failure Coordinator::State::result_is_lost(const StepRecord& step, std::uint32_t rank) const {
  return {.code = ErrorCode::kDataLoss,
          .text = "the result of step " + std::to_string(step.number) + " lay on host " +
                  std::to_string(*step.host_of_lost_result) + ", which is lost, and rank " +
                  std::to_string(rank) +
                  " has yet to come to it; a step that is done is not run again, so run the job "
                  "again"};
}

/// Plans are pure functions: who has the plan already goes on with it.
void Coordinator::State::take_plan_again(StepRecord& step, const PlanReady& ready) {
  const bool is_same = ready.partition_count == step.partition_count &&
                       ready.shards.size() == step.map_units.shard_count &&
                       ready.ordered_batch_shard_count == step.map_units.ordered_batch_shard_count;
  if (!is_same) {
    fail_step(step, {.code = ErrorCode::kFailedPrecondition,
                     .text = "the plan of step " + std::to_string(step.number) +
                             " was lost with its host, and made again it has " +
                             std::to_string(ready.shards.size()) + " shards instead of " +
                             std::to_string(step.map_units.shard_count) +
                             "; a planner must answer alike for the same input"});
    release_plan(ready.plan, ready.streams);
    return;
  }
  keep(ready.plan);
  for (const BlobHandle& stream : ready.streams) {
    if (std::find(step.streams.begin(), step.streams.end(), stream) == step.streams.end()) {
      keep(stream);
      step.streams.push_back(stream);
    }
  }
  step.plan = ready.plan;
  step.plan_is_lost = false;
  step.plan_again_since = now;
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    if (entered(step, rank)) {
      announce_start(step, rank);
    }
  }
  name_skipped(step);
}

/// Whether a failure may be that of a host rather than of the unit. The rank is told again where
/// everything lies before it tries another.
bool Coordinator::State::misses_a_host(StepRecord& step, Holder from, ErrorCode code) {
  if ((code != ErrorCode::kUnavailable && code != ErrorCode::kNotFound) ||
      options.rank_hosts.empty()) {
    return false;
  }
  const auto is_far = [&](const BlobHandle& blob) {
    return blob != BlobHandle{} && !lies_on(blob, 0, options.epoch) &&
           !lies_on(blob, host_of(from.rank), options.epoch);
  };
  const bool plan_is_new =
      step.plan_again_since && now - *step.plan_again_since <= options.host_patience;
  const bool may_be = step.phase == Phase::kMap
                          ? step.plan_is_lost || plan_is_new || is_far(step.plan)
                          : std::any_of(step.far_partials.begin(), step.far_partials.end(),
                                        [&](const FarPartial& one) { return is_far(one.blob); });
  if (!may_be) {
    return false;
  }
  if (!step.misses || now - step.misses->last > options.host_patience) {
    step.misses = {.since = now, .last = now};
  }
  step.misses->last = now;
  step.participants[from.rank].has_merge_inputs = false;
  return now - step.misses->since <= options.host_patience;
}

}  // namespace pinion::protocol
