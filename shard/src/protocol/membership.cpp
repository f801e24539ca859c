#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include <pinion/shard/protocol/wire.hpp>

#include "protocol/coordinator_state.hpp"

namespace pinion::protocol {
namespace {

std::vector<PlaceWorkers> workers_of(const Register& registration) {
  const std::vector<std::uint32_t>& counts = registration.worker_counts;
  std::vector<PlaceWorkers> workers;
  for (std::size_t i = 0; i < registration.places.size(); ++i) {
    workers.push_back(
        {.place = registration.places[i], .worker_count = i < counts.size() ? counts[i] : 1});
  }
  return workers;
}

std::string hexadecimal(const ProcessId& process) {
  char digits[2 * 16 + 1];
  std::snprintf(digits, sizeof digits, "%016llx%016llx",
                static_cast<unsigned long long>(process.high),
                static_cast<unsigned long long>(process.low));
  return digits;
}

}  // namespace

const char* to_string(MemberState state) noexcept {
  switch (state) {
    case MemberState::kAlive:
      return "alive";
    case MemberState::kSuspect:
      return "suspect";
    case MemberState::kDisconnected:
      return "disconnected";
    case MemberState::kGone:
      return "gone";
    case MemberState::kDrained:
      break;
  }
  return "drained";
}

std::vector<Member> Coordinator::members() const {
  std::vector<Member> members;
  members.reserve(state_->ranks.size());
  for (std::uint32_t rank = 0; rank < state_->ranks.size(); ++rank) {
    members.push_back(state_->member(rank));
  }
  return members;
}

Member Coordinator::State::member(std::uint32_t rank) const {
  const RankRecord& record = ranks[rank];
  Member member{.rank = rank,
                .incarnation = record.incarnation,
                .reason = record.loss_reason,
                .since = record.since,
                .registered = record.registration.has_value(),
                .registration = record.registration.value_or(Register{}),
                .lease_count = lease_count_of(rank),
                .unit_count_done = record.unit_count_done,
                .input_bytes = record.input_bytes};
  switch (record.status) {
    case RankStatus::kExpected:
      member.state = MemberState::kDisconnected;
      member.reason = "it has not joined yet";
      return member;
    case RankStatus::kReturning:
      member.state = MemberState::kDisconnected;
      member.reason += "; it is being started again";
      return member;
    case RankStatus::kGone:
      member.state = MemberState::kGone;
      return member;
    case RankStatus::kLeft:
      member.state = MemberState::kDrained;
      return member;
    case RankStatus::kLive:
      break;
  }
  if (record.draining) {
    const bool holds = member.lease_count > 0;
    member.state = holds ? MemberState::kAlive : MemberState::kDrained;
    member.reason =
        (holds ? "it finishes what it holds: " : "it was drained: ") + record.loss_reason;
    return member;
  }
  member.state = MemberState::kAlive;
  member.reason = record.registration ? "it has registered" : "it has joined";
  for (const StepRecord* step : open_steps) {
    if (step->open() && step->participants[rank].silent) {
      member.state = MemberState::kSuspect;
      member.since = step->participants[rank].silent_since;
      member.reason = "a lease of step " + std::to_string(step->number) +
                      " ran out, and it has not been heard since";
    }
  }
  return member;
}

std::uint64_t Coordinator::State::lease_count_of(std::uint32_t rank) const {
  std::uint64_t count = 0;
  for (const StepRecord* step : open_steps) {
    count += step->granting() ? step->table().leased_count_of(rank) : 0;
  }
  return count;
}

void Coordinator::State::receive(Holder from, const Register& registration) {
  RankRecord& record = ranks[from.rank];
  Registered answer{.lease_duration = options.lease_duration};
  if (registration.protocol_version != kProtocolVersion) {
    answer.failure = {.code = ErrorCode::kUnimplemented,
                      .text = "rank " + std::to_string(from.rank) + " speaks protocol version " +
                              std::to_string(registration.protocol_version) + ", the job version " +
                              std::to_string(kProtocolVersion) +
                              "; use the same Pinion version for every program of a job"};
  } else if (record.registration && record.registration->process != registration.process) {
    answer.failure = {.code = ErrorCode::kAlreadyExists,
                      .text = "rank " + std::to_string(from.rank) + ", life " +
                              std::to_string(from.incarnation) + ", is process " +
                              hexadecimal(record.registration->process) + " already; " +
                              hexadecimal(registration.process) + " cannot be it too"};
  } else {
    record.registration = registration;
    record.workers = workers_of(registration);
    note_that_has_come(from.rank);
    for (StepRecord* step : open_steps) {
      advance_planning(*step);
      if (step->granting()) {
        place_rank(*step, from.rank);
        step->claims.wake_all();
        serve(*step);
      }
    }
  }
  send(from.rank, std::move(answer));
}

void Coordinator::State::receive(Holder from, const Drain& drain) {
  RankRecord& record = ranks[from.rank];
  if (!record.draining) {
    record.draining = true;
    record.since = now;
    record.loss_reason = drain.reason.empty() ? "it asked for that" : drain.reason;
    ++draining_count;
    note_that_has_come(from.rank);  // No plan is for where it works.
    for (StepRecord* step : open_steps) {
      if (step->open()) {
        set_silent(*step, from.rank, step->participants[from.rank].silent);
        step->claims.remove(from.rank);
      }
    }
  }
  end_drain(from.rank);
  if (!record.told_drained) {
    after_membership_change();
  }
}

/// Tells a rank that drains once it holds nothing; nobody may be left then.
void Coordinator::State::end_drain(std::uint32_t rank) {
  RankRecord& record = ranks[rank];
  if (record.draining && !record.told_drained && lease_count_of(rank) == 0) {
    record.told_drained = true;
    send(rank, Drained{});
    after_membership_change();
  }
}

void Coordinator::State::receive(Holder from, const Leave& leaving) {
  leave(from.rank, leaving.reason.empty() ? "it left" : leaving.reason);
}

void Coordinator::State::leave(std::uint32_t rank, const std::string& reason) {
  set_status(rank, RankStatus::kLeft);
  ranks[rank].loss_reason = reason;
  withdraw_process(rank);
  after_membership_change();
}

void Coordinator::State::set_status(std::uint32_t rank, RankStatus status) {
  const auto is_able = [&] { return live(rank) || may_still_come(rank); };
  const auto is_awaited = [&] { return is_able() && !ranks[rank].has_come; };
  able_count -= is_able() ? 1 : 0;
  awaited_count -= is_awaited() ? 1 : 0;
  draining_count -= std::exchange(ranks[rank].draining, false) ? 1 : 0;
  ranks[rank].status = status;
  ranks[rank].since = now;
  ranks[rank].told_drained = false;
  able_count += is_able() ? 1 : 0;
  awaited_count += is_awaited() ? 1 : 0;
}

/// Precondition: the rank is live.
void Coordinator::State::note_that_has_come(std::uint32_t rank) {
  awaited_count -= std::exchange(ranks[rank].has_come, true) ? 0 : 1;
}

/// Of ranks that work may be granted to, now or when they are back; where there are none, of those
/// that drain, as a plan must be for the same places whoever makes it.
std::vector<PlaceWorkers> Coordinator::State::workers_of_job() const {
  std::vector<PlaceWorkers> all;
  const auto add_those = [&](bool that_drain) {
    for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
      const RankRecord& record = ranks[rank];
      if ((live(rank) || may_still_come(rank)) && record.draining == that_drain) {
        all.insert(all.end(), record.workers.begin(), record.workers.end());
      }
    }
  };
  add_those(false);
  if (all.empty()) {
    add_those(true);
  }
  std::sort(all.begin(), all.end(), [](const PlaceWorkers& left, const PlaceWorkers& right) {
    return before_by_host(left.place, right.place);
  });
  std::size_t count = 0;
  for (const PlaceWorkers& workers : all) {
    if (count > 0 && all[count - 1].place == workers.place) {
      all[count - 1].worker_count += workers.worker_count;
    } else {
      all[count++] = workers;
    }
  }
  all.resize(count);
  return all;
}

/// Lets the queue of the step's stage know where the rank works.
void Coordinator::State::place_rank(StepRecord& step, std::uint32_t rank) {
  if (step.phase == Phase::kCombine) {
    step.table().set_places(rank, std::array{Place{.host = host_of(rank)}});
  } else if (ranks[rank].registration) {
    step.table().set_places(rank, ranks[rank].registration->places);
  }
}

/// Fails a step that no rank of the job can end. A rank that has not registered may have a device.
void Coordinator::State::check_devices(StepRecord& step) {
  if (!step.granting() || !step.table().any_needs_device()) {
    return;
  }
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    const RankRecord& record = ranks[rank];
    if (record.draining || (!live(rank) && !may_still_come(rank))) {
      continue;
    }
    if (!record.registration || !live(rank)) {
      return;
    }
    const std::vector<Place>& places = record.registration->places;
    if (std::any_of(places.begin(), places.end(),
                    [](const Place& place) { return place.kind == PlaceKind::kDevice; })) {
      return;
    }
  }
  fail_step(step, {.code = ErrorCode::kFailedPrecondition,
                   .text = "step " + std::to_string(step.number) +
                           " has shards that run on a device only, and no rank of the job has "
                           "one; give them a body for the CPU, or start ranks with devices"});
}

/// The rank has entered.
void Coordinator::State::count_in(StepRecord& step, std::uint32_t rank) {
  step.participants[rank].counted = true;
  ++step.entered_count;
  set_silent(step, rank, false);
}

/// The rank's process takes no part in the step any more.
void Coordinator::State::count_out(StepRecord& step, std::uint32_t rank) {
  Participant& participant = step.participants[rank];
  step.entered_count -= participant.counted ? 1 : 0;
  step.idle_count -= participant.idle ? 1 : 0;
  step.claims.remove(rank);
  ++step.sharer_changes;
  participant = {};
}

void Coordinator::State::set_silent(StepRecord& step, std::uint32_t rank, bool silent) {
  Participant& participant = step.participants[rank];
  if (silent && !participant.silent) {
    participant.silent_since = now;
  }
  participant.silent = silent;
  const bool idle = participant.counted && (silent || ranks[rank].draining);
  step.idle_count += idle ? 1 : 0;
  step.idle_count -= std::exchange(participant.idle, idle) ? 1 : 0;
  ++step.sharer_changes;
}

}  // namespace pinion::protocol
