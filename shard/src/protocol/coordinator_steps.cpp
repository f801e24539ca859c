#include <algorithm>

#include "protocol/coordinator_state.hpp"

namespace pinion::protocol {
namespace {

std::string quoted(const std::string& text) {
  return "\"" + text + "\"";
}

Failure disagreement(const StepRecord& step, std::uint32_t rank, const EnterStep& enter) {
  return {.code = ErrorCode::kFailedPrecondition,
          .text = "the ranks disagree on step " + std::to_string(step.number) + ": rank " +
                  std::to_string(step.first_rank) + " came to " + quoted(step.description) +
                  ", rank " + std::to_string(rank) + " to " + quoted(enter.description) +
                  "; every rank must make the same calls with the same arguments in the same "
                  "order"};
}

}  // namespace

void Coordinator::State::receive(Holder from, const EnterStep& enter) {
  if (enter.step == 0) {
    send(from.rank, StepFailed{.step = 0,
                               .failure = {.code = ErrorCode::kInvalidArgument,
                                           .text = "step numbers start at 1, found 0"}});
    return;
  }
  note_that_has_come(from.rank);
  std::uint64_t& latest_step = ranks[from.rank].latest_step;
  const bool is_new_to_it = latest_step < enter.step;
  latest_step = std::max(latest_step, enter.step);
  auto found = steps.find(enter.step);
  if (found == steps.end()) {
    open_step(from, enter);
    return;
  }
  StepRecord& step = found->second;
  if (step.fingerprint != enter.fingerprint) {
    Failure failure = disagreement(step, from.rank, enter);
    if (step.open()) {
      step.participants[from.rank].incarnation = from.incarnation;
      fail_step(step, std::move(failure));
    } else {
      send(from.rank, StepFailed{.step = step.number, .failure = std::move(failure)});
    }
    return;
  }
  if (step.host_of_lost_result && is_new_to_it) {
    end_job(result_is_lost(step, from.rank));
    return;
  }
  const bool first_time = !entered(step, from.rank);
  if (step.phase == Phase::kDone && first_time && !options.fast_forward) {
    for (const BlobHandle& result : step.results) {
      release(result);
    }
    open_step(from, enter);
    return;
  }
  if (step.granting()) {
    advance_stage(step);  // Nothing may be left to accept of a step that was restored.
  }
  if (!step.open()) {
    announce_end(step, from.rank);
    return;
  }
  if (first_time) {
    step.participants[from.rank].incarnation = from.incarnation;
    count_in(step, from.rank);
  }
  if (step.granting() && !step.plan_is_lost) {
    announce_start(step, from.rank);
    name_skipped(step);
  }
  advance_planning(step);
  serve(step);
}

StepRecord& Coordinator::State::add_step(const StepOpened& opened) {
  StepRecord& step = steps.insert_or_assign(opened.step, StepRecord{}).first->second;
  step.number = opened.step;
  step.fingerprint = opened.fingerprint;
  step.description = opened.description;
  step.participants.resize(ranks.size());
  step.claims = ClaimList(static_cast<std::uint32_t>(ranks.size()));
  std::erase_if(open_steps,
                [&step](const StepRecord* other) { return other == &step || !other->open(); });
  open_steps.push_back(&step);
  return step;
}

void Coordinator::State::open_step(Holder from, const EnterStep& enter) {
  StepOpened opened{enter.step, enter.fingerprint, enter.description};
  StepRecord& step = add_step(opened);
  step.first_rank = from.rank;
  step.patience_end = now + options.plan_patience;
  arrivals_end = std::min(arrivals_end, step.patience_end);
  step.participants[from.rank].incarnation = from.incarnation;
  count_in(step, from.rank);
  persist<StepOpened>([&] { return opened; });
  advance_planning(step);
}

/// Asks the lowest rank that can plan, once every lower rank that may still enter had its chance.
void Coordinator::State::advance_planning(StepRecord& step) {
  if (!step.wants_plan() || step.planner.incarnation != 0 || awaits_ranks(step)) {
    return;
  }
  bool all_declined = true;
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    if (!live(rank) && !may_still_come(rank)) {
      continue;
    }
    if (entered(step, rank) && step.participants[rank].declined_to_plan) {
      continue;
    }
    all_declined = false;
    if (!entered(step, rank)) {
      if (now < step.patience_end) {
        return;
      }
    } else {
      ask_for_plan(step, rank);
      return;
    }
  }
  if (all_declined && step.first_decline.code != ErrorCode::kOk) {
    fail_step(step, step.first_decline);
  }
}

/// A plan is for the places of all ranks, and where these are, ranks say when they come. So the
/// first one of the job waits for them. No other does: who has not come by then may never come.
bool Coordinator::State::awaits_ranks(const StepRecord& step) const {
  return awaited_count > 0 && now < std::min(arrivals_end, step.patience_end);
}

/// Whoever plans again has to come to the same plan, whatever has become of ranks meanwhile.
void Coordinator::State::ask_for_plan(StepRecord& step, std::uint32_t rank) {
  step.planner = {.rank = rank, .incarnation = ranks[rank].incarnation};
  if (!step.planned_for) {
    step.planned_for = workers_of_job();
  }
  send(rank, MakePlan{.step = step.number,
                      .workers = options.mutations.plan_for_the_planner ? ranks[rank].workers
                                                                        : *step.planned_for});
}

void Coordinator::State::receive(Holder from, const PlanReady& ready) {
  const auto found = steps.find(ready.step);
  if (found == steps.end()) {
    return;
  }
  StepRecord& step = found->second;
  if (!step.wants_plan() || step.planner != from) {
    if (ready.plan != step.plan) {
      release_plan(ready.plan, ready.streams);
    }
    return;
  }
  if (ready.partition_count > kPartitionCountMax) {
    fail_step(step, {.code = ErrorCode::kInvalidArgument,
                     .text = "the plan has " + std::to_string(ready.partition_count) +
                             " partitions; a step may have at most " +
                             std::to_string(kPartitionCountMax)});
    release_plan(ready.plan, ready.streams);
    return;
  }
  if (step.plan_is_lost) {
    take_plan_again(step, ready);
    return;
  }
  keep(ready.plan);
  for (const BlobHandle& stream : ready.streams) {
    keep(stream);
  }
  persist<StepPlanned>([&] { return StepPlanned{ready}; });
  adopt_plan(step, ready);
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    if (entered(step, rank)) {
      announce_start(step, rank);
    }
  }
  check_devices(step);
  advance_stage(step);
  serve(step);
}

/// Precondition: it has no more partitions than a step may have.
void Coordinator::State::adopt_plan(StepRecord& step, const PlanReady& ready) {
  step.plan = ready.plan;
  step.streams = ready.streams;
  step.map_units = {.shard_count = ready.shards.size(),
                    .ordered_batch_shard_count = ready.ordered_batch_shard_count};
  step.shard_deadline = ready.shard_deadline;
  step.partition_count = ready.partition_count;
  step.combines = ready.combines;
  step.results.resize(ready.partition_count);
  begin_map(step, ready);
}

void Coordinator::State::begin_map(StepRecord& step, const PlanReady& ready) {
  const MapUnits& units = step.map_units;
  std::vector<UnitTraits> traits(units.unit_count());
  for (std::uint64_t number = 0; number < traits.size(); ++number) {
    const MapUnits::ShardSpan shards = units.shards_of(number);
    UnitTraits& unit = traits[number];
    unit.place = ready.shards[shards.begin].place;
    unit.priority = ready.shards[shards.begin].priority;
    for (std::uint64_t id = shards.begin; id < shards.end; ++id) {
      const ShardEntry& shard = ready.shards[id];
      unit.weight += shard.weight;
      unit.needs_device =
          unit.needs_device || (shard.place.kind == PlaceKind::kDevice && !shard.has_cpu_body);
    }
    step.weight += unit.weight;
  }
  const auto rank_count = static_cast<std::uint32_t>(ranks.size());
  step.shards = LeaseTable(traits, rank_count);
  if (!options.mutations.forget_deadlines) {
    step.shards.set_deadline(step.shard_deadline);
  }
  step.partitions = LeaseTable(std::vector<UnitTraits>(ready.partition_count), rank_count);
  step.phase = Phase::kMap;
  for (std::uint32_t rank = 0; rank < rank_count; ++rank) {
    place_rank(step, rank);
  }
  if (options.only_shard && *options.only_shard < units.shard_count) {
    const std::uint64_t unit = *options.only_shard / units.shards_per_unit();
    step.shards.give_up_all_but(unit);
    step.skipped_shard_count = units.shard_count - units.shards_of(unit).count();
    observe("step " + std::to_string(step.number) + " runs " + step.name_of(Stage::kMap, unit) +
            " only, of " + std::to_string(units.shard_count));
  }
}

void Coordinator::State::receive(Holder from, const PlanFailed& failed) {
  StepRecord* const step = find_open(failed.step);
  if (step == nullptr || !step->wants_plan() || step->planner != from) {
    return;
  }
  if (failed.failure.code != ErrorCode::kUnavailable) {
    Failure failure = failed.failure;
    if (failure.code == ErrorCode::kOk) {
      failure.code = ErrorCode::kUnknown;
    }
    fail_step(*step, std::move(failure));
    return;
  }
  if (step->first_decline.code == ErrorCode::kOk) {
    step->first_decline = failed.failure;
  }
  step->participants[from.rank].declined_to_plan = true;
  step->planner = {};
  advance_planning(*step);
}

void Coordinator::State::receive(Holder from, const CancelJob& cancel) {
  Failure failure = cancel.failure;
  if (failure.code == ErrorCode::kOk) {
    failure = {.code = ErrorCode::kCancelled,
               .text = "rank " + std::to_string(from.rank) + " cancelled the job"};
  }
  end_job(std::move(failure));
}

void Coordinator::State::announce_start(const StepRecord& step, std::uint32_t rank) {
  send(rank, StepStarted{.step = step.number,
                         .plan = step.plan,
                         .shard_count = step.map_units.shard_count,
                         .partition_count = step.partition_count,
                         .lease_duration = options.lease_duration,
                         .ordered_batch_shard_count = step.map_units.ordered_batch_shard_count});
}

void Coordinator::State::announce_end(const StepRecord& step, std::uint32_t rank) {
  if (step.phase == Phase::kFailed) {
    send(rank,
         StepFailed{.step = step.number, .failure = step.failure, .shard = step.failed_shard});
    return;
  }
  send(rank, StepDone{.step = step.number,
                      .partitions = step.results,
                      .shard_count = step.map_units.shard_count,
                      .input_bytes = step.input_bytes,
                      .skipped_shard_count = step.skipped_shard_count});
}

/// Goes on to the next stage, and to the end, when there is nothing left to accept.
void Coordinator::State::advance_stage(StepRecord& step) {
  if (step.phase == Phase::kMap && step.shards.all_settled()) {
    if (!options.mutations.merge_in_order_of_reports) {
      std::stable_sort(step.partials.begin(), step.partials.end(),
                       [](const PartialRecord& a, const PartialRecord& b) {
                         return a.smallest_shard < b.smallest_shard;
                       });
    }
    enter_phase(step, begin_combine(step) ? Phase::kCombine : Phase::kMerge);
  }
  if (step.phase == Phase::kCombine && step.combinations.all_settled()) {
    enter_phase(step, begin_level(step, step.combine_level + 1) ? Phase::kCombine : Phase::kMerge);
  }
  if (step.phase == Phase::kMerge && step.partitions.all_settled()) {
    finish_step(step);
  }
}

/// Precondition: the phase has leases to grant.
void Coordinator::State::enter_phase(StepRecord& step, Phase phase) {
  step.phase = phase;
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    step.participants[rank].has_merge_inputs = false;
    step.participants[rank].told_to_wait = false;
    place_rank(step, rank);
  }
  step.next_late_check = Instant::min();
  step.claims.wake_all();
}

void Coordinator::State::finish_step(StepRecord& step) {
  step.phase = Phase::kDone;
  persist<StepEnded>([&] { return end_of(step); });
  close_step(step);
}

void Coordinator::State::fail_step(StepRecord& step, Failure failure) {
  step.phase = Phase::kFailed;
  step.failure = std::move(failure);
  persist<StepEnded>([&] { return end_of(step); });
  close_step(step);
  for (const BlobHandle& result : step.results) {
    release(result);
  }
  step.results.clear();
}

/// Tells the ranks how the step ended and lets go of all but its results.
void Coordinator::State::close_step(StepRecord& step) {
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    if (entered(step, rank)) {
      announce_end(step, rank);
    }
  }
  release_plan(step.plan, step.streams);
  for (const PartialRecord& partial : step.partials) {
    release(partial.blob);
  }
  for (const CombinedGroup& group : step.combined) {
    for (const BlobHandle& output : group.outputs) {
      release(output);
    }
  }
  step.plan_is_lost = false;
  step.planner = {};
  if (!options.mutations.keep_ended_steps) {
    forget_work(step);
  }
}

/// Gives back the memory of a step that is over, as a job may have many; clear() would keep it.
void Coordinator::State::forget_work(StepRecord& step) const {
  step.planned_for.reset();
  step.partials = std::vector<PartialRecord>();
  step.far_partials = std::vector<FarPartial>();
  step.combined = std::vector<CombinedGroup>();
  step.shards = {};
  step.combinations = {};
  step.partitions = {};
  step.digests.clear();
  step.accepted_reports = {};
  step.unnamed = {};
  if (options.fast_forward) {
    step.participants = std::vector<Participant>();
    step.claims = {};
  }
}

void Coordinator::State::release_plan(const BlobHandle& plan,
                                      const std::vector<BlobHandle>& streams) {
  release(plan);
  for (const BlobHandle& stream : streams) {
    release(stream);
  }
}

std::string StepRecord::name_of(Stage stage_of_unit, std::uint64_t unit) const {
  if (stage_of_unit == Stage::kMerge) {
    return "partition " + std::to_string(unit);
  }
  if (stage_of_unit == Stage::kCombine) {
    return "partition " + std::to_string(unit % partition_count) + " of " +
           combined[unit / partition_count].in_words();
  }
  const MapUnits::ShardSpan span = map_units.shards_of(unit);
  const std::string first = std::to_string(span.begin);
  return span.count() > 1 ? "shards " + first + " to " + std::to_string(span.end - 1)
                          : "shard " + first;
}

bool Coordinator::State::entered(const StepRecord& step, std::uint32_t rank) const {
  return live(rank) && rank < step.participants.size() &&
         step.participants[rank].incarnation == ranks[rank].incarnation;
}

StepRecord* Coordinator::State::find_open(std::uint64_t number) {
  const auto found = steps.find(number);
  return found != steps.end() && found->second.open() ? &found->second : nullptr;
}

}  // namespace pinion::protocol
