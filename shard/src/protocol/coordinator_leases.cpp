#include <algorithm>

#include "protocol/coordinator_state.hpp"

namespace pinion::protocol {
namespace {

/// Whether trying again, perhaps on another rank, is in vain.
bool is_final(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kPermissionDenied:
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kOutOfRange:
    case ErrorCode::kUnimplemented:
    case ErrorCode::kDataLoss:
      return true;
    default:
      return false;
  }
}

}  // namespace

void Coordinator::State::receive(Holder from, const Claim& claim) {
  StepRecord* const step = find_open(claim.step);
  if (step == nullptr || !entered(*step, from.rank)) {
    return;
  }
  hear(*step, from);
  Participant& participant = step->participants[from.rank];
  participant.demand = claim.unit_count;
  participant.claim_order = ++claim_count;
  participant.told_to_wait = false;
  serve(*step);
}

void Coordinator::State::receive(Holder from, const Heartbeat& heartbeat) {
  const auto found = steps.find(heartbeat.step);
  if (found == steps.end()) {
    return;
  }
  StepRecord& step = found->second;
  hear(step, from);
  HeartbeatAck answer{.step = heartbeat.step, .sent_ns = heartbeat.sent_ns};
  for (const Lease& lease : heartbeat.held) {
    if (step.granting() && standing(step, from, lease) == Standing::kHeld) {
      step.table().extend(lease.unit, lease_end());
    } else if (!options.mutations.extend_any_lease) {
      answer.lost.push_back(lease);
    }
  }
  send(from.rank, std::move(answer));
}

void Coordinator::State::receive(Holder from, const Report& report) {
  Verdict verdict{.step = report.step, .stage = report.stage, .report = report.report};
  const auto found = steps.find(report.step);
  if (found == steps.end()) {
    verdict.failure = {.code = ErrorCode::kAborted, .text = "nobody has entered the step"};
    send(from.rank, std::move(verdict));
    return;
  }
  StepRecord& step = found->second;
  const std::tuple key{from.rank, from.incarnation, report.stage, report.report};
  if (step.accepted_reports.contains(key) && !options.mutations.accept_twice) {
    send(from.rank, std::move(verdict));
    return;
  }
  verdict.failure = judge(step, from, report);
  if (verdict.failure.code != ErrorCode::kOk) {
    give_back_held(step, from, report.stage, report.batch);
    send(from.rank, std::move(verdict));
    serve(step);
    return;
  }
  step.accepted_reports.insert(key);
  accept(step, report);
  persist<UnitsAccepted>([&] { return acceptance_of(from, report); });
  send(from.rank, std::move(verdict));
  advance_stage(step);
  serve(step);
}

void Coordinator::State::receive(Holder from, const BatchFailed& failed) {
  StepRecord* const step = find_open(failed.step);
  if (step == nullptr || !step->granting() || step->stage() != failed.stage) {
    return;
  }
  const auto bad = std::find_if(failed.batch.begin(), failed.batch.end(), [&](const Lease& lease) {
    return lease.unit == failed.bad_unit && standing(*step, from, lease) == Standing::kHeld;
  });
  if (bad == failed.batch.end()) {
    give_back_held(*step, from, failed.stage, failed.batch);
    serve(*step);
    return;
  }
  // Another rank is given the chance first, where there is one.
  bool another_entered = false;
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    another_entered = another_entered || (rank != from.rank && entered(*step, rank));
  }
  const Instant shunned_until = another_entered ? now + options.lease_duration : now;
  const std::uint32_t attempt_count = step->table().fail(failed.bad_unit, shunned_until);
  ++step->failure_count;
  const bool last = attempt_count >= options.attempt_count_max && !options.mutations.retry_for_ever;
  if (last || is_final(failed.failure.code)) {
    const bool ok = failed.failure.code == ErrorCode::kOk;
    fail_step(
        *step,
        {.code = ok ? ErrorCode::kUnknown : failed.failure.code,
         .text = step->name_of(failed.stage, failed.bad_unit) + " failed on rank " +
                 std::to_string(from.rank) + " in attempt " + std::to_string(attempt_count) +
                 " of " + std::to_string(options.attempt_count_max) + ": " + failed.failure.text});
    return;
  }
  give_back_held(*step, from, failed.stage, failed.batch);
  serve(*step);
}

void Coordinator::State::receive(Holder from, const GiveBack& given) {
  StepRecord* const step = find_open(given.step);
  if (step == nullptr) {
    return;
  }
  give_back_held(*step, from, given.stage, given.leases);
  serve(*step);
}

/// Fills the open claims, the oldest first. Each gets one grant; what is missing is claimed again.
void Coordinator::State::serve(StepRecord& step) {
  if (!step.granting()) {
    return;
  }
  for (const std::uint32_t rank : step.table().expire(now)) {
    step.participants[rank].silent = true;
  }
  std::vector<std::uint32_t> claimants;
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    if (step.participants[rank].demand > 0 && entered(step, rank)) {
      claimants.push_back(rank);
    }
  }
  std::sort(claimants.begin(), claimants.end(), [&step](std::uint32_t a, std::uint32_t b) {
    return step.participants[a].claim_order < step.participants[b].claim_order;
  });
  for (const std::uint32_t rank : claimants) {
    Participant& participant = step.participants[rank];
    if (serve_rank(step, rank)) {
      participant.demand = 0;
    } else if (!participant.told_to_wait) {
      participant.told_to_wait = true;
      send(rank, Grant{.step = step.number,
                       .stage = step.stage(),
                       .unit_count_left = 0,
                       .lease_duration = options.lease_duration,
                       .leases = {}});
    }
  }
}

bool Coordinator::State::serve_rank(StepRecord& step, std::uint32_t rank) {
  Participant& participant = step.participants[rank];
  LeaseTable& table = step.table();
  const LeaseTable::GrantTerms terms{
      .unit_count_max = std::min<std::uint64_t>(participant.demand, fair_share(step, rank)),
      .expires = lease_end()};
  fences.counter -= options.mutations.reuse_fences && fences.counter > 0 ? 1 : 0;
  std::vector<Lease> leases =
      table.grant({.rank = rank, .incarnation = participant.incarnation}, terms, fences);
  if (leases.empty()) {
    return false;
  }
  if (step.stage() == Stage::kMerge && !participant.has_merge_inputs) {
    participant.has_merge_inputs = true;
    MergeInputs inputs{.step = step.number};
    for (const PartialRecord& partial : step.partials) {
      inputs.partials.push_back(partial.blob);
    }
    send(rank, std::move(inputs));
  }
  send(rank, Grant{.step = step.number,
                   .stage = step.stage(),
                   .unit_count_left = table.waiting_count(),
                   .lease_duration = options.lease_duration,
                   .leases = std::move(leases)});
  return true;
}

/// How many more units `rank` may get, so that every rank gets some when they are few. Ranks that
/// are still to enter have a share for as long as the step's patience lasts. A rank that holds
/// nothing may always get one.
std::uint64_t Coordinator::State::fair_share(const StepRecord& step, std::uint32_t rank) const {
  std::uint64_t sharer_count = 1;
  for (std::uint32_t other = 0; other < ranks.size(); ++other) {
    const bool takes_part = entered(step, other) && !step.participants[other].silent;
    const bool may_enter =
        !entered(step, other) && now < step.patience_end && (live(other) || may_still_come(other));
    sharer_count += other != rank && (takes_part || may_enter) ? 1 : 0;
  }
  const LeaseTable& table = step.table();
  const std::uint64_t unit_count = table.waiting_count() + table.leased_count();
  const std::uint64_t share = (unit_count + sharer_count - 1) / sharer_count;
  const std::uint64_t held = table.leased_count_of(rank);
  return held < share ? share - held : 0;
}

/// kOk when the report may be accepted as a whole.
Failure Coordinator::State::judge(const StepRecord& step, Holder from, const Report& report) const {
  if (!step.open()) {
    return {.code = ErrorCode::kAborted, .text = "the step is over"};
  }
  if (report.stage == Stage::kMap && step.phase == Phase::kMerge) {
    return {.code = ErrorCode::kAlreadyExists, .text = "every shard was accepted before"};
  }
  const bool one_unit = report.stage == Stage::kMerge || step.map_units.ordered();
  if (!step.granting() || report.stage != step.stage() || report.batch.empty() ||
      (one_unit && report.batch.size() != 1)) {
    return {.code = ErrorCode::kAborted, .text = "the report does not fit the stage of the step"};
  }
  std::set<std::uint64_t> units;
  Failure failure;
  for (const Lease& lease : report.batch) {
    Standing found = standing(step, from, lease);
    if (found == Standing::kAccepted && options.mutations.accept_twice) {
      found = Standing::kHeld;
    }
    if (found == Standing::kForeign && options.mutations.accept_stale_fence) {
      found = Standing::kHeld;
    }
    if (found == Standing::kAccepted) {
      return {.code = ErrorCode::kAlreadyExists,
              .text = "unit " + std::to_string(lease.unit) + " was accepted before"};
    }
    if (found == Standing::kForeign || !units.insert(lease.unit).second) {
      failure = {.code = ErrorCode::kAborted,
                 .text = "the lease of unit " + std::to_string(lease.unit) + " is not valid"};
    }
  }
  return failure;
}

void Coordinator::State::accept(StepRecord& step, const Report& report) {
  keep(report.output);
  if (report.stage == Stage::kMerge) {
    const std::uint64_t partition = report.batch.front().unit;
    step.partitions.accept(partition);
    step.results[partition] = report.output;
    return;
  }
  std::uint64_t smallest = step.map_units.shard_count;
  for (const Lease& lease : report.batch) {
    const MapUnits::ShardSpan shards = step.map_units.shards_of(lease.unit);
    smallest = std::min(smallest, shards.begin);
    step.shards.accept(lease.unit);
    step.weight_accepted += step.shards.weight(lease.unit);
    step.shard_accepted_count += shards.count();
  }
  step.input_bytes += report.input_bytes;
  if (report.output != BlobHandle{}) {
    step.partials.push_back({.smallest_shard = smallest, .blob = report.output});
  }
}

/// Lets those of the leases that are good wait for another grant, without counting it against them.
void Coordinator::State::give_back_held(StepRecord& step, Holder from, Stage stage,
                                        const std::vector<Lease>& leases) {
  if (!step.granting() || step.stage() != stage) {
    return;
  }
  for (const Lease& lease : leases) {
    if (standing(step, from, lease) == Standing::kHeld) {
      step.table().give_back(lease.unit);
    }
  }
}

void Coordinator::State::hear(StepRecord& step, Holder from) {
  if (entered(step, from.rank)) {
    step.participants[from.rank].silent = false;
  }
}

Standing Coordinator::State::standing(const StepRecord& step, Holder from,
                                      const Lease& lease) const {
  const bool ours = lease.fence.epoch == options.epoch || options.mutations.accept_stale_epoch;
  return ours ? step.table().standing(lease, from) : Standing::kForeign;
}

/// The drift bound: a rank's clock may run 5 % slower than ours, and the rank stops at 80 %.
Instant Coordinator::State::lease_end() const {
  return now + options.lease_duration + options.lease_duration / 20;
}

}  // namespace pinion::protocol
