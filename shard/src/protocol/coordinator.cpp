#include <pinion/shard/protocol/coordinator.hpp>

#include <algorithm>

#include <pinion/core/assert.hpp>

#include "protocol/coordinator_state.hpp"

namespace pinion::protocol {

Coordinator::Coordinator(const CoordinatorOptions& options)
    : state_(std::make_unique<State>(options)) {}
Coordinator::~Coordinator() = default;
Coordinator::Coordinator(Coordinator&&) noexcept = default;
Coordinator& Coordinator::operator=(Coordinator&&) noexcept = default;

void Coordinator::step(const Event& event, Instant now, Effects& effects) {
  PINION_ASSERT(now >= state_->now);
  state_->now = now;
  state_->effects = &effects;
  std::visit([this](const auto& happened) { state_->on(happened); }, event);
  state_->effects = nullptr;
}

Instant Coordinator::next_deadline() const noexcept {
  Instant deadline = Instant::max();
  if (state_->job_failure) {
    return deadline;
  }
  for (const auto& [number, step] : state_->steps) {
    if (!step.open()) {
      continue;
    }
    if (state_->now < step.patience_end) {
      deadline = std::min(deadline, step.patience_end);
    }
    if (step.granting()) {
      deadline = std::min(deadline, step.table().next_deadline());
    }
  }
  return deadline;
}

Progress Coordinator::progress() const noexcept {
  if (state_->steps.empty()) {
    return {};
  }
  const StepRecord& step = state_->steps.rbegin()->second;
  const bool mapped = step.phase == Phase::kMerge || step.phase == Phase::kDone;
  return {.step = step.number,
          .stage = mapped ? Stage::kMerge : Stage::kMap,
          .planned = step.phase != Phase::kPlanning,
          .shard_count = step.map_units.shard_count,
          .shard_accepted_count = step.shard_accepted_count,
          .weight = step.weight,
          .weight_accepted = step.weight_accepted,
          .input_bytes = step.input_bytes,
          .failure_count = step.failure_count};
}

Coordinator::State::State(const CoordinatorOptions& given)
    : options(given), fences{.epoch = given.epoch}, ranks(given.rank_count) {
  PINION_ASSERT(given.rank_count > 0);
  PINION_ASSERT(given.lease_duration > Duration::zero());
  PINION_ASSERT(given.attempt_count_max > 0 && given.death_count_max > 0);
}

void Coordinator::State::on(const RankJoined& joined) {
  if (joined.rank >= ranks.size() || joined.incarnation <= ranks[joined.rank].incarnation) {
    return;
  }
  if (live(joined.rank)) {
    lose_process(joined.rank, "it was started again");
  }
  ranks[joined.rank] = {.status = RankStatus::kLive, .incarnation = joined.incarnation};
  if (job_failure) {
    send(joined.rank, JobFailed{.failure = *job_failure});
    return;
  }
  after_membership_change();
}

void Coordinator::State::on(const RankLost& lost) {
  if (lost.rank >= ranks.size() || lost.incarnation < ranks[lost.rank].incarnation) {
    return;
  }
  RankRecord& rank = ranks[lost.rank];
  if (rank.status == RankStatus::kLeft && lost.incarnation == rank.incarnation) {
    return;
  }
  const bool was_live = live(lost.rank);
  rank.status = lost.returns ? RankStatus::kReturning : RankStatus::kGone;
  rank.incarnation = lost.incarnation;
  rank.loss_reason = lost.reason;
  if (was_live) {
    lose_process(lost.rank, lost.reason);
  }
  after_membership_change();
}

void Coordinator::State::on(const RankLeft& left) {
  if (left.rank >= ranks.size() || left.incarnation != ranks[left.rank].incarnation ||
      !live(left.rank)) {
    return;
  }
  ranks[left.rank].status = RankStatus::kLeft;
  for (auto& [number, step] : steps) {
    step.participants[left.rank] = {};
    if (step.planner.rank == left.rank) {
      step.planner = {};
    }
    if (step.granting()) {
      step.table().withdraw(left.rank);
    }
  }
  after_membership_change();
}

void Coordinator::State::on(const MessageReceived& received) {
  const Envelope& envelope = received.envelope;
  const bool ours = envelope.epoch == options.epoch || options.mutations.accept_stale_epoch;
  if (envelope.job != options.job || !ours || envelope.rank >= ranks.size() ||
      !live(envelope.rank) || envelope.incarnation != ranks[envelope.rank].incarnation) {
    return;
  }
  if (job_failure) {
    // The program may have ignored the failure and come to its next step.
    if (std::holds_alternative<EnterStep>(received.message)) {
      send(envelope.rank, JobFailed{.failure = *job_failure});
    }
    return;
  }
  const Holder from{.rank = envelope.rank, .incarnation = envelope.incarnation};
  std::visit([&](const auto& body) { receive(from, body); }, received.message);
}

void Coordinator::State::on(const Tick&) {
  if (job_failure) {
    return;
  }
  for (auto& [number, step] : steps) {
    advance_planning(step);
    serve(step);
  }
}

/// Takes back what the dead process of `rank` held in any step.
void Coordinator::State::lose_process(std::uint32_t rank, const std::string& reason) {
  for (auto& [number, step] : steps) {
    step.participants[rank] = {};
    if (step.planner.rank == rank) {
      step.planner = {};
    }
    if (!step.granting()) {
      continue;
    }
    LeaseTable& table = step.table();
    if (options.mutations.forget_lost_leases) {
      table.forget(rank);
      continue;
    }
    const std::vector<std::uint64_t> abandoned = table.abandon(rank);
    step.failure_count += abandoned.size();
    for (const std::uint64_t unit : abandoned) {
      if (table.death_count(unit) >= options.death_count_max) {
        const std::string name = step.name_of(step.stage(), unit);
        const bool several =
            step.stage() == Stage::kMap && step.map_units.shards_of(unit).count() > 1;
        fail_step(step, {.code = ErrorCode::kUnknown,
                         .text = name + (several ? " were" : " was") + " held by " +
                                 std::to_string(table.death_count(unit)) +
                                 " ranks when they died, the last of them rank " +
                                 std::to_string(rank) + " (" + reason + ")"});
        break;
      }
    }
  }
}

void Coordinator::State::after_membership_change() {
  if (job_failure) {
    return;
  }
  bool somebody_can_go_on = false;
  std::uint32_t last_gone = 0;
  bool somebody_is_gone = false;
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    somebody_can_go_on = somebody_can_go_on || live(rank) || may_still_come(rank);
    if (ranks[rank].status == RankStatus::kGone) {
      somebody_is_gone = true;
      last_gone = rank;
    }
  }
  const bool step_is_open = std::any_of(steps.begin(), steps.end(),
                                        [](const auto& entry) { return entry.second.open(); });
  if (!somebody_can_go_on && somebody_is_gone && step_is_open) {
    end_job({.code = ErrorCode::kUnavailable,
             .text = "no rank is left to finish the step: rank " + std::to_string(last_gone) +
                     " is gone for good (" + ranks[last_gone].loss_reason + ")"});
    return;
  }
  for (auto& [number, step] : steps) {
    advance_planning(step);
    serve(step);
  }
}

void Coordinator::State::end_job(Failure failure) {
  job_failure = failure;
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    if (live(rank)) {
      send(rank, JobFailed{.failure = failure});
    }
  }
  effects->push_back(EndJob{.failure = std::move(failure)});
}

bool Coordinator::State::live(std::uint32_t rank) const {
  return ranks[rank].status == RankStatus::kLive;
}

bool Coordinator::State::may_still_come(std::uint32_t rank) const {
  return ranks[rank].status == RankStatus::kExpected ||
         ranks[rank].status == RankStatus::kReturning;
}

void Coordinator::State::keep(const BlobHandle& blob) {
  if (blob != BlobHandle{}) {
    effects->push_back(Keep{.blob = blob});
  }
}

void Coordinator::State::release(const BlobHandle& blob) {
  if (blob != BlobHandle{}) {
    effects->push_back(Release{.blob = blob});
  }
}

}  // namespace pinion::protocol
