#include <algorithm>

#include "protocol/coordinator_state.hpp"
#include "protocol/retry_rules.hpp"

namespace pinion::protocol {

void Coordinator::State::receive(Holder from, const Claim& claim) {
  StepRecord* const step = find_open(claim.step);
  if (step == nullptr || !entered(*step, from.rank)) {
    return;
  }
  hear(*step, from);
  Participant& participant = step->participants[from.rank];
  participant.demand = claim.unit_count;
  participant.told_to_wait = false;
  if (ranks[from.rank].draining || claim.unit_count == 0) {
    step->claims.remove(from.rank);
  } else {
    step->claims.make_ready(from.rank);
  }
  serve(*step);
}

void Coordinator::State::receive(Holder from, const Heartbeat& heartbeat) {
  const auto found = steps.find(heartbeat.step);
  if (found == steps.end()) {
    return;
  }
  StepRecord& step = found->second;
  hear(step, from);
  ranks[from.rank].unit_count_done = heartbeat.unit_count_done;
  ranks[from.rank].input_bytes = heartbeat.input_bytes;
  for (const std::string& text : heartbeat.observations) {
    observe("rank " + std::to_string(from.rank) + ": " + text);
  }
  HeartbeatAck answer{.step = heartbeat.step, .sent_ns = heartbeat.sent_ns};
  for (const Lease& lease : heartbeat.held) {
    const LeaseTable::Slot slot = find(step, from, lease);
    if (slot != LeaseTable::kNone) {
      step.table().extend(slot, lease_end());
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
  hear(step, from);
  verdict.failure = judge(step, from, report);
  if (verdict.failure.code != ErrorCode::kOk) {
    if (verdict.failure.code == ErrorCode::kAlreadyExists) {
      compare_digests(step, from, report);
    }
    give_back_held(step, from, report.stage, report.batch);
    send(from.rank, std::move(verdict));
  } else {
    step.accepted_reports.insert(key);
    accept(step, from, report);
    if (report.stage != Stage::kCombine) {  // Which can be done again.
      persist<UnitsAccepted>([&] { return acceptance_of(from, report); });
    }
    send(from.rank, std::move(verdict));
    advance_stage(step);
  }
  wake(step, from.rank);
  serve(step);
  end_drain(from.rank);
}

void Coordinator::State::receive(Holder from, const BatchFailed& failed) {
  StepRecord* const step = find_open(failed.step);
  if (step == nullptr || !step->granting() || step->stage() != failed.stage) {
    return;
  }
  LeaseTable::Slot bad = LeaseTable::kNone;
  for (const Lease& lease : failed.batch) {
    bad = lease.unit == failed.bad_unit ? find(*step, from, lease) : bad;
  }
  if (bad != LeaseTable::kNone) {
    fail_unit(*step, from, failed, bad);
  }
  give_back_held(*step, from, failed.stage, failed.batch);
  if (step->open()) {
    advance_stage(*step);
  }
  wake(*step, from.rank);
  serve(*step);
  end_drain(from.rank);
}

void Coordinator::State::fail_unit(StepRecord& step, Holder from, const BatchFailed& failed,
                                   LeaseTable::Slot bad) {
  if (failed.stage == Stage::kCombine) {
    step.combinations.give_back(bad);
    give_up_combining(step, failed.bad_unit, failed.failure);
    return;
  }
  Failure failure = failed.failure;
  if (failure.code == ErrorCode::kOk) {
    failure.code = ErrorCode::kUnknown;
  }
  const bool counts = !misses_a_host(step, from, failure.code);
  step.failure_count += counts ? 1 : 0;
  const Trouble* const before = step.table().trouble_of(failed.bad_unit);
  const std::uint32_t failure_count = (before == nullptr ? 0 : before->failure_count) + 1;
  const Duration delay = retry_delay(
      {.job_seed = options.seed, .step = step.number, .unit = failed.bad_unit}, failure_count,
      {.first_max = options.first_retry_delay_max, .max = options.retry_delay_max});
  const bool another = another_can_try(step, from.rank);
  // Another rank is given the chance first, where there is one.
  const LeaseTable::FailTerms terms{
      .kept_until = another ? now + delay + options.lease_duration : now,
      .ready_at = now + delay,
      .now = now,
      .counts = counts};
  const Trouble& trouble = step.table().fail(bad, terms, failure);
  if (!counts) {
    return;
  }
  const bool last = is_given_up(
      {.failures = trouble.failure_count, .ranks = trouble.rank_count, .another_rank_can = another},
      options.attempt_count_max);
  if (may_be_retried(failure.code) && (!last || options.mutations.retry_for_ever)) {
    return;
  }
  failure.text = step.name_of(failed.stage, failed.bad_unit) + " failed on rank " +
                 std::to_string(from.rank) + " in attempt " +
                 std::to_string(trouble.failure_count) + " of " +
                 std::to_string(options.attempt_count_max) + ": " + failure.text;
  give_up(step, failed.bad_unit, std::move(failure));
}

void Coordinator::State::receive(Holder from, const GiveBack& given) {
  StepRecord* const step = find_open(given.step);
  if (step == nullptr) {
    return;
  }
  give_back_held(*step, from, given.stage, given.leases);
  wake(*step, from.rank);
  serve(*step);
  end_drain(from.rank);
}

/// Fills the open claims, the oldest first. Each gets one grant; what is missing is claimed again.
/// A claim for which nothing was there is looked at again when something has changed that may help
/// it: its rank's leases, what waits, or what a rank's share is.
void Coordinator::State::serve(StepRecord& step) {
  if (!step.granting()) {
    return;
  }
  fail_overdue(step);
  if (!step.granting()) {
    return;
  }
  silent_ranks.clear();
  step.table().expire(now, silent_ranks);
  for (const std::uint32_t rank : silent_ranks) {
    set_silent(step, rank, true);
  }
  leave_unaided(step);
  if (!step.granting()) {
    return;
  }
  const std::uint64_t share = share_among(step, std::max<std::uint64_t>(sharer_count(step), 1));
  if (step.table().return_count() != step.seen_return_count || share > step.seen_share) {
    step.claims.wake_all();
    step.next_late_check = Instant::min();
  }
  step.seen_return_count = step.table().return_count();
  step.seen_share = share;
  while (step.claims.any_ready()) {
    const std::uint32_t rank = step.claims.first();
    Participant& participant = step.participants[rank];
    if (serve_rank(step, rank)) {
      participant.demand = 0;
      step.claims.remove(rank);
      continue;
    }
    step.claims.park(rank);
    if (!std::exchange(participant.told_to_wait, true)) {
      send(rank, Grant{.step = step.number,
                       .stage = step.stage(),
                       .unit_count_left = 0,
                       .lease_duration = options.lease_duration,
                       .leases = {}});
    }
  }
  offer_second_attempts(step);
}

/// Something has changed that the rank's claim, if it is open, depends on.
void Coordinator::State::wake(StepRecord& step, std::uint32_t rank) {
  if (step.open() && step.claims.contains(rank)) {
    step.claims.make_ready(rank);
  }
}

bool Coordinator::State::serve_rank(StepRecord& step, std::uint32_t rank) {
  LeaseTable& table = step.table();
  fences.counter -= options.mutations.reuse_fences && fences.counter > 0 ? 1 : 0;
  if (table.waiting_count() == 0) {
    return false;
  }
  const Participant& participant = step.participants[rank];
  const std::uint64_t unit_count =
      std::min({std::uint64_t{participant.demand}, fair_share(step, rank), table.waiting_count()});
  Grant grant{.step = step.number, .stage = step.stage(), .leases = take_lease_room(unit_count)};
  table.grant({.rank = rank, .incarnation = participant.incarnation},
              {.unit_count_max = unit_count, .now = now, .expires = lease_end()}, fences,
              grant.leases);
  if (grant.leases.empty()) {
    lease_rooms.push_back(std::move(grant.leases));
    return false;
  }
  step.next_late_check = Instant::min();
  grant.unit_count_left = table.waiting_count();
  send_grant(step, rank, std::move(grant));
  return true;
}

/// An empty list for so many leases, of a grant that was carried out where there is one.
std::vector<Lease> Coordinator::State::take_lease_room(std::uint64_t lease_count) {
  std::vector<Lease> leases;
  if (!lease_rooms.empty()) {
    leases = std::move(lease_rooms.back());
    lease_rooms.pop_back();
    leases.clear();
  }
  leases.reserve(lease_count);
  return leases;
}

void Coordinator::State::send_grant(StepRecord& step, std::uint32_t rank, Grant grant) {
  Participant& participant = step.participants[rank];
  if (step.phase != Phase::kMap && !participant.has_merge_inputs) {
    participant.has_merge_inputs = true;
    send(rank, inputs_for(step, rank));
  }
  grant.lease_duration = options.lease_duration;
  send(rank, std::move(grant));
}

/// Of all ranks that units are to be left for: those that have entered and are heard of, and those
/// that are still to enter, for as long as the step's patience lasts.
std::uint64_t Coordinator::State::sharer_count(const StepRecord& step) const {
  const std::uint32_t count = now < step.patience_end ? able_count : step.entered_count;
  return count - std::min(count, step.idle_count);
}

std::uint64_t Coordinator::State::share_among(const StepRecord& step,
                                              std::uint64_t sharer_count) const {
  return (step.table().open_count() + sharer_count - 1) / sharer_count;
}

/// How many more units `rank` may get, so that every rank gets some when they are few. A rank that
/// holds nothing may always get one.
std::uint64_t Coordinator::State::fair_share(const StepRecord& step, std::uint32_t rank) const {
  const std::uint64_t others = sharer_count(step) - (step.participants[rank].idle ? 0 : 1);
  const std::uint64_t share = share_among(step, others + 1);
  const std::uint64_t held = step.table().leased_count_of(rank);
  return held < share ? share - held : 0;
}

/// kOk when the report may be accepted as a whole.
/// Then `slots` has the records of its leases, in their order; kNone only where a rule is broken.
Failure Coordinator::State::judge(StepRecord& step, Holder from, const Report& report) {
  if (!step.open()) {
    return {.code = ErrorCode::kAborted, .text = "the step is over"};
  }
  if (is_lost(report.output.host)) {
    return {
        .code = ErrorCode::kAborted,
        .text = "its output lay on host " + std::to_string(report.output.host) + ", which is lost"};
  }
  if (report.stage == Stage::kMap && step.phase != Phase::kMap && step.granting()) {
    return {.code = ErrorCode::kAlreadyExists, .text = "every shard was accepted before"};
  }
  const bool one_unit = report.stage != Stage::kMap || step.map_units.ordered();
  if (!step.granting() || report.stage != step.stage() || report.batch.empty() ||
      (one_unit && report.batch.size() != 1)) {
    return {.code = ErrorCode::kAborted, .text = "the report does not fit the stage of the step"};
  }
  LeaseTable& table = step.table();
  slots.clear();
  ++judged_count;
  Failure failure;
  for (const Lease& lease : report.batch) {
    const LeaseTable::Slot slot = find(step, from, lease);
    slots.push_back(slot);
    if (slot != LeaseTable::kNone) {
      if (table.mark_seen(slot, judged_count)) {
        continue;
      }
    } else if (standing(step, from, lease) == Standing::kAccepted) {
      if (options.mutations.accept_twice) {
        continue;
      }
      return {.code = ErrorCode::kAlreadyExists,
              .text = "unit " + std::to_string(lease.unit) + " was accepted before"};
    } else if (options.mutations.accept_stale_fence) {
      continue;
    }
    failure = {.code = ErrorCode::kAborted,
               .text = "the lease of unit " + std::to_string(lease.unit) + " is not valid"};
  }
  return failure;
}

/// Precondition: judge() has found nothing against the report.
void Coordinator::State::accept(StepRecord& step, Holder from, const Report& report) {
  keep(report.output);
  remember_digest(step, from, report);
  LeaseTable& table = step.table();
  std::uint64_t weight = 0;
  for (std::size_t index = 0; index < slots.size(); ++index) {
    const LeaseTable::Slot slot = slots[index];
    const std::uint64_t unit = report.batch[index].unit;
    if (report.stage == Stage::kMap) {
      weight += slot == LeaseTable::kNone ? table.weight_of_unit(unit) : table.weight_of(slot);
    }
    if (slot == LeaseTable::kNone) {
      table.accept_unit(unit);  // Of a broken rule only.
    } else {
      table.accept(slot, now);
    }
  }
  count_accepted(step, report, weight);
}

/// What the step has when the units are accepted in their table.
void Coordinator::State::count_accepted(StepRecord& step, const Report& report,
                                        std::uint64_t weight) {
  if (report.stage == Stage::kMerge) {
    step.results[report.batch.front().unit] = report.output;
    return;
  }
  if (report.stage == Stage::kCombine) {
    note_combined(step, report.batch.front().unit, report.output);
    return;
  }
  std::uint64_t smallest = step.map_units.shard_count;
  for (const Lease& lease : report.batch) {
    const MapUnits::ShardSpan shards = step.map_units.shards_of(lease.unit);
    smallest = std::min(smallest, shards.begin);
    step.shard_accepted_count += shards.count();
  }
  step.weight_accepted += weight;
  step.input_bytes += report.input_bytes;
  if (report.output != BlobHandle{}) {
    step.partials.push_back({.smallest_shard = smallest, .blob = report.output});
    if (report.output.host != 0) {
      step.far_partials.push_back(
          {.blob = report.output, .input_bytes = report.input_bytes, .units = units_of(report)});
    }
  }
}

/// Lets those of the leases that are good wait for another grant, without counting it against them.
void Coordinator::State::give_back_held(StepRecord& step, Holder from, Stage stage,
                                        const std::vector<Lease>& leases) {
  if (!step.granting() || step.stage() != stage) {
    return;
  }
  for (const Lease& lease : leases) {
    if (const LeaseTable::Slot slot = find(step, from, lease); slot != LeaseTable::kNone) {
      step.table().give_back(slot);
    }
  }
}

void Coordinator::State::hear(StepRecord& step, Holder from) {
  if (step.open() && step.participants[from.rank].silent) {
    set_silent(step, from.rank, false);
  }
}

/// kNone unless the rank holds the lease, of the present stage.
LeaseTable::Slot Coordinator::State::find(const StepRecord& step, Holder from,
                                          const Lease& lease) const {
  const bool ours = lease.fence.epoch == options.epoch || options.mutations.accept_stale_epoch;
  return step.granting() && ours ? step.table().find(lease, from) : LeaseTable::kNone;
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
