#include <algorithm>

#include "protocol/coordinator_state.hpp"

namespace pinion::protocol {
namespace {

std::string in_words(Duration duration) {
  constexpr auto kSecond = Duration(std::chrono::seconds(1));
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(duration);
  return duration % kSecond == Duration::zero() ? std::to_string(duration / kSecond) + " s"
                                                : std::to_string(milliseconds.count()) + " ms";
}

}  // namespace

/// Lets ranks that have nothing to do try what others are late with, once nothing waits.
void Coordinator::State::offer_second_attempts(StepRecord& step) {
  LeaseTable& table = step.table();
  if (!options.second_attempts || table.waiting_count() > 0 ||
      step.claims.first_parked() == ClaimList::kNobody) {
    step.next_late_check = Instant::min();
    return;
  }
  if (now < step.next_late_check) {
    return;
  }
  step.next_late_check = Instant::min();
  const std::uint64_t most = std::max<std::uint64_t>(1, ranks.size() / 10);
  std::uint32_t rank = step.claims.first_parked();
  while (rank != ClaimList::kNobody && table.second_lease_count() < most) {
    const std::uint32_t after = step.claims.parked_after(rank);
    if (table.leased_count_of(rank) == 0) {
      const LeaseTable::Straggler late = table.find_straggler(rank, now, options.late_least);
      if (late.slot == LeaseTable::kNone) {
        // Nobody is before that, whoever asks.
        step.next_late_check = late.next;
        return;
      }
      grant_second(step, rank, late.slot);
    }
    rank = after;
  }
}

/// What was not accepted in its time has failed, whatever its rank says; that is told to stop.
void Coordinator::State::fail_overdue(StepRecord& step) {
  if (step.phase != Phase::kMap || step.shard_deadline == Duration::zero()) {
    return;
  }
  for (LeaseTable::Slot slot = step.shards.find_overdue(now); slot != LeaseTable::kNone;
       slot = step.shards.find_overdue(now)) {
    const Holder holder = step.shards.holder_of(slot);
    HeartbeatAck ended{.step = step.number,
                       .sent_ns = HeartbeatAck::kUnasked,
                       .lost = {step.shards.lease_of(slot, options.epoch)}};
    const BatchFailed missed{.step = step.number,
                             .stage = Stage::kMap,
                             .bad_unit = step.shards.unit_of(slot),
                             .failure = {.code = ErrorCode::kDeadlineExceeded,
                                         .text = "it was not accepted within " +
                                                 in_words(step.shard_deadline) + " of its grant"}};
    send(holder.rank, std::move(ended));
    fail_unit(step, holder, missed, slot);
    if (!step.open()) {
      return;
    }
  }
  advance_stage(step);
}

void Coordinator::State::grant_second(StepRecord& step, std::uint32_t rank,
                                      LeaseTable::Slot first) {
  Participant& participant = step.participants[rank];
  const Holder helper{.rank = rank, .incarnation = participant.incarnation};
  participant.demand = 0;
  step.claims.remove(rank);
  ++step.second_attempt_count;
  const Lease lease =
      step.table().grant_second(first, helper, {.now = now, .expires = lease_end()}, fences);
  send_grant(
      step, rank,
      {.step = step.number, .stage = step.stage(), .leases = {lease}, .second_attempt = true});
}

/// Whether a rank other than this one may be given a unit of the step.
bool Coordinator::State::another_can_try(const StepRecord& step, std::uint32_t rank) const {
  for (std::uint32_t other = 0; other < ranks.size(); ++other) {
    if (other != rank && entered(step, other) && !ranks[other].draining) {
      return true;
    }
  }
  return false;
}

/// A unit that is given up fails the step, unless it may be skipped or is done without.
void Coordinator::State::give_up(StepRecord& step, std::uint64_t unit, Failure failure) {
  const Stage stage = step.stage();
  if (stage == Stage::kCombine) {
    give_up_combining(step, unit, failure);
    return;
  }
  step.table().give_up(unit);
  if (stage == Stage::kMap && options.skip_bad) {
    step.skipped_shard_count += step.map_units.shards_of(unit).count();
    persist<UnitSkipped>([&] { return UnitSkipped{step.number, unit, failure}; });
    observe("step " + std::to_string(step.number) + " goes on without " +
            step.name_of(stage, unit) + ": " + failure.text);
    step.unnamed.push_back({.step = step.number,
                            .shard = step.map_units.shards_of(unit).begin,
                            .failure = std::move(failure)});
    name_skipped(step);
    return;
  }
  constexpr std::size_t kNamedMax = 20;  // A message that people read.
  std::string others;
  std::size_t count = 0;
  for (const auto& [other, trouble] : step.table().troubles()) {
    if (other == unit || trouble.failure_count == 0 || ++count > kNamedMax) {
      continue;
    }
    const std::string times =
        trouble.failure_count == 1 ? "once" : std::to_string(trouble.failure_count) + " times";
    others += (others.empty() ? "" : ", ") + step.name_of(stage, other) + " (" + times + ": " +
              trouble.last.text + ")";
  }
  if (count > 0) {
    failure.text += "; others have failed too: " + others;
  }
  if (count > kNamedMax) {
    failure.text += ", and " + std::to_string(count - kNamedMax) + " more";
  }
  if (stage == Stage::kMap) {
    step.failed_shard = step.map_units.shards_of(unit).begin;
  }
  fail_step(step, std::move(failure));
}

/// What input a shard has, ranks know, from the plan: one of them is asked to say it, the next that
/// comes where there is none. While the plan is lost they may not have it.
void Coordinator::State::name_skipped(StepRecord& step) {
  if (step.unnamed.empty() || step.plan_is_lost) {
    return;
  }
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    if (entered(step, rank)) {
      for (ShardSkipped& skipped : step.unnamed) {
        send(rank, std::move(skipped));
      }
      step.unnamed.clear();
      return;
    }
  }
}

/// For a report of units that were granted more than once, of which another may still come.
void Coordinator::State::remember_digest(StepRecord& step, Holder from, const Report& report) {
  const bool again = std::any_of(slots.begin(), slots.end(), [&step](LeaseTable::Slot slot) {
    return slot != LeaseTable::kNone && step.table().was_granted_again(slot);
  });
  if (again && report.digest != 0) {
    step.digests[{report.stage, report.batch.front().unit}] = {
        .digest = report.digest, .rank = from.rank, .units = units_of(report)};
  }
}

/// Equal units in equal order make equal outputs, or a body depends on what it must not.
void Coordinator::State::compare_digests(const StepRecord& step, Holder from,
                                         const Report& report) {
  if (report.digest == 0 || report.batch.empty() || options.mutations.ignore_digests) {
    return;
  }
  const auto found = step.digests.find({report.stage, report.batch.front().unit});
  if (found == step.digests.end() || found->second.digest == report.digest ||
      found->second.units != units_of(report)) {
    return;
  }
  observe("step " + std::to_string(step.number) + ": " +
          step.name_of(report.stage, report.batch.front().unit) + " gave one output on rank " +
          std::to_string(found->second.rank) + " and another on rank " + std::to_string(from.rank) +
          "; what a body emits must depend on its shard only, or answers differ from run to run");
}

}  // namespace pinion::protocol
