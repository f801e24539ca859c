#include <pinion/shard/protocol/coordinator.hpp>

#include <algorithm>
#include <utility>

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

void Coordinator::reuse(Effects& effects) {
  constexpr std::size_t kRoomCountMax = 64;  // Of what one event makes the coordinator grant.
  for (Effect& effect : effects) {
    auto* const send = std::get_if<Send>(&effect);
    auto* const grant = send == nullptr ? nullptr : std::get_if<Grant>(&send->message);
    if (grant != nullptr && grant->leases.capacity() > 0 &&
        state_->lease_rooms.size() < kRoomCountMax) {
      state_->lease_rooms.push_back(std::move(grant->leases));
    }
  }
  effects.clear();
}

Instant Coordinator::next_deadline() const noexcept {
  Instant deadline = Instant::max();
  if (state_->job_failure) {
    return deadline;
  }
  for (const StepRecord* step : state_->open_steps) {
    if (!step->open()) {
      continue;
    }
    if (state_->now < step->patience_end) {
      deadline = std::min(deadline, step->patience_end);
    }
    if (state_->awaits_ranks(*step)) {
      deadline = std::min(deadline, state_->arrivals_end);
    }
    if (step->granting()) {
      deadline = std::min(deadline, step->table().next_deadline());
      if (step->next_late_check > state_->now) {
        deadline = std::min(deadline, step->next_late_check);
      }
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
  const bool combines = step.phase == Phase::kCombine;
  return {.step = step.number,
          .stage = combines ? Stage::kCombine
                   : mapped ? Stage::kMerge
                            : Stage::kMap,
          .planned = step.phase != Phase::kPlanning,
          .shard_count = step.map_units.shard_count,
          .shard_accepted_count = step.shard_accepted_count,
          .weight = step.weight,
          .weight_accepted = step.weight_accepted,
          .input_bytes = step.input_bytes,
          .failure_count = step.failure_count,
          .skipped_shard_count = step.skipped_shard_count,
          .second_attempt_count = step.second_attempt_count};
}

std::uint64_t Coordinator::record_count() const noexcept {
  std::uint64_t count = state_->ranks.size();
  for (const auto& [number, step] : state_->steps) {
    count += 1 + step.participants.size() + step.shards.record_count() +
             step.combinations.record_count() + step.partitions.record_count() +
             step.accepted_reports.size() + step.digests.size() + step.partials.size() +
             step.far_partials.size() + step.combined.size() * step.partition_count +
             step.results.size() + step.unnamed.size();
  }
  return count;
}

Coordinator::State::State(const CoordinatorOptions& given)
    : options(given),
      fences{.epoch = given.epoch},
      ranks(given.rank_count),
      able_count(given.rank_count),
      awaited_count(given.rank_count) {
  PINION_ASSERT(given.rank_count > 0);
  PINION_ASSERT(given.lease_duration > Duration::zero());
  PINION_ASSERT(given.attempt_count_max > 0 && given.death_count_max > 0);
  PINION_ASSERT(given.rank_hosts.empty() || given.rank_hosts.size() == given.rank_count);
}

void Coordinator::State::on(const RankJoined& joined) {
  if (joined.rank >= ranks.size() || joined.incarnation <= ranks[joined.rank].incarnation ||
      is_lost(host_of(joined.rank))) {
    return;
  }
  if (live(joined.rank)) {
    lose_process(joined.rank, "it was started again");
  }
  set_status(joined.rank, RankStatus::kLive);
  RankRecord& rank = ranks[joined.rank];
  rank = {.status = RankStatus::kLive,
          .incarnation = joined.incarnation,
          .since = now,
          .has_come = rank.has_come,
          .workers = std::move(rank.workers)};
  if (job_failure) {
    send(joined.rank, JobFailed{.failure = *job_failure});
    return;
  }
  after_membership_change();
}

void Coordinator::State::on(const RankLost& lost) {
  if (lost.rank >= ranks.size() || lost.incarnation < ranks[lost.rank].incarnation ||
      is_lost(host_of(lost.rank))) {
    return;
  }
  RankRecord& rank = ranks[lost.rank];
  if (rank.status == RankStatus::kLeft && lost.incarnation == rank.incarnation) {
    return;
  }
  const bool was_live = live(lost.rank);
  set_status(lost.rank, lost.returns ? RankStatus::kReturning : RankStatus::kGone);
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
  leave(left.rank, "it ended in good order");
}

void Coordinator::State::on(const MessageReceived& received) {
  const Envelope& envelope = received.envelope;
  const bool ours = envelope.epoch == options.epoch || options.mutations.accept_stale_epoch;
  if (envelope.job != options.job || !ours) {
    return;
  }
  if (std::holds_alternative<Register>(received.message)) {
    // Where nobody watches processes, this is how the job learns of them.
    on(RankJoined{.rank = envelope.rank, .incarnation = envelope.incarnation});
  }
  if (envelope.rank >= ranks.size() || !live(envelope.rank)) {
    return;
  }
  const bool older_counts =
      options.mutations.accept_older_life && std::holds_alternative<Report>(received.message);
  if (envelope.incarnation != ranks[envelope.rank].incarnation && !older_counts) {
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
  for (StepRecord* step : open_steps) {
    advance_planning(*step);
    serve(*step);
  }
}

/// Takes back what the dead process of `rank` held in any step.
void Coordinator::State::lose_process(std::uint32_t rank, const std::string& reason) {
  for (StepRecord* step : open_steps) {
    if (!step->open()) {
      continue;
    }
    count_out(*step, rank);
    if (step->planner.rank == rank) {
      step->planner = {};
    }
    if (!step->granting()) {
      continue;
    }
    if (options.mutations.accept_older_life) {
      continue;  // It keeps its leases for as long as they last.
    }
    LeaseTable& table = step->table();
    if (options.mutations.forget_lost_leases) {
      table.forget(rank);
      continue;
    }
    abandoned_units.clear();
    table.abandon(rank, abandoned_units);
    step->failure_count += abandoned_units.size();
    for (const std::uint64_t unit : abandoned_units) {
      const Trouble& trouble = *table.trouble_of(unit);
      if (trouble.alone_death_count >= options.death_count_max) {
        const bool several =
            step->stage() == Stage::kMap && step->map_units.shards_of(unit).count() > 1;
        give_up(*step, unit,
                {.code = ErrorCode::kUnknown,
                 .text = step->name_of(step->stage(), unit) + (several ? " were" : " was") +
                         " held by " + std::to_string(trouble.death_count) +
                         " ranks when they died, the last of them rank " + std::to_string(rank) +
                         " (" + reason + ")"});
        break;
      }
    }
    if (step->open()) {
      advance_stage(*step);
    }
  }
}

/// The process takes no part any more, through no fault of what it held.
void Coordinator::State::withdraw_process(std::uint32_t rank) {
  for (StepRecord* step : open_steps) {
    if (!step->open()) {
      continue;
    }
    count_out(*step, rank);
    if (step->planner.rank == rank) {
      step->planner = {};
    }
    if (step->granting()) {
      step->table().withdraw(rank);
    }
  }
}

void Coordinator::State::after_membership_change() {
  if (job_failure) {
    return;
  }
  const bool step_is_open = std::any_of(open_steps.begin(), open_steps.end(),
                                        [](const StepRecord* step) { return step->open(); });
  if (able_count == draining_count && step_is_open) {
    end_without_ranks();
    if (job_failure) {
      return;
    }
  }
  for (StepRecord* step : open_steps) {
    check_devices(*step);
    advance_planning(*step);
    serve(*step);
  }
}

/// Nobody is left to whom anything could be granted.
void Coordinator::State::end_without_ranks() {
  std::string why;
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    if (ranks[rank].status == RankStatus::kGone) {
      why = "rank " + std::to_string(rank) + " is gone for good (" + ranks[rank].loss_reason + ")";
    } else if (ranks[rank].draining && lease_count_of(rank) > 0) {
      return;
    } else if (ranks[rank].draining && why.empty()) {
      why = "rank " + std::to_string(rank) + " was drained (" + ranks[rank].loss_reason + ")";
    }
  }
  if (!why.empty()) {
    end_job(
        {.code = ErrorCode::kUnavailable, .text = "no rank is left to finish the step: " + why});
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
  if (blob != BlobHandle{} && !is_lost(host_with(blob, options.epoch))) {
    effects->push_back(Release{.blob = blob});
  }
}

}  // namespace pinion::protocol
