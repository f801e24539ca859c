#include <iterator>
#include <set>
#include <utility>

#include "protocol/coordinator_state.hpp"

namespace pinion::protocol {

Coordinator Coordinator::restore(const CoordinatorOptions& options,
                                 std::span<const Record> records) {
  Coordinator restored(options);
  // What is decided again was carried out, or is told to ranks that are gone.
  Effects carried_out;
  restored.state_->effects = &carried_out;
  for (const Record& record : records) {
    std::visit([&](const auto& decided) { restored.state_->replay(decided); }, record);
    carried_out.clear();
  }
  restored.state_->settle_replay();
  restored.state_->effects = nullptr;
  return restored;
}

StepEnded Coordinator::State::end_of(const StepRecord& step) {
  const bool done = step.phase == Phase::kDone;
  return {.step = step.number,
          .failure = step.failure,
          .results = done ? step.results : std::vector<BlobHandle>(),
          .shard_count = step.map_units.shard_count,
          .input_bytes = step.input_bytes};
}

UnitsAccepted Coordinator::State::acceptance_of(Holder from, const Report& report) {
  return {.step = report.step,
          .stage = report.stage,
          .rank = from.rank,
          .incarnation = from.incarnation,
          .report = report.report,
          .output = report.output,
          .digest = report.digest,
          .input_bytes = report.input_bytes,
          .units = units_of(report)};
}

void Coordinator::State::replay(const EpochBegun&) {}

void Coordinator::State::replay(const StepOpened& opened) {
  add_step(opened);
}

void Coordinator::State::replay(const StepPlanned& planned) {
  const auto found = steps.find(planned.ready.step);
  if (found != steps.end() && found->second.phase == Phase::kPlanning &&
      planned.ready.partition_count <= kPartitionCountMax) {
    adopt_plan(found->second, planned.ready);
  }
}

/// Who reported it is of no matter: ranks count their lives and their reports anew in each epoch.
void Coordinator::State::replay(const UnitsAccepted& accepted) {
  const auto found = steps.find(accepted.step);
  if (found == steps.end() || !found->second.granting() || accepted.units.empty() ||
      accepted.stage == Stage::kCombine) {
    return;
  }
  StepRecord& step = found->second;
  const bool maps = accepted.stage == Stage::kMap;
  LeaseTable& table = maps ? step.shards : step.partitions;
  const std::uint64_t unit_count = maps ? step.map_units.unit_count() : step.partition_count;
  std::set<std::uint64_t> units;
  for (const std::uint64_t unit : accepted.units) {
    if (unit >= unit_count || !units.insert(unit).second ||
        table.standing({.unit = unit}, {}) == Standing::kAccepted) {
      return;
    }
  }
  Report report{
      .stage = accepted.stage, .output = accepted.output, .input_bytes = accepted.input_bytes};
  std::uint64_t weight = 0;
  for (const std::uint64_t unit : accepted.units) {
    report.batch.push_back({.unit = unit});
    weight += maps ? table.weight_of_unit(unit) : 0;
    table.accept_unit(unit);
  }
  count_accepted(step, report, weight);
}

void Coordinator::State::replay(const UnitSkipped& skipped) {
  const auto found = steps.find(skipped.step);
  if (found == steps.end() || found->second.phase != Phase::kMap ||
      skipped.unit >= found->second.map_units.unit_count()) {
    return;
  }
  StepRecord& step = found->second;
  const Trouble* const before = step.shards.trouble_of(skipped.unit);
  if (step.shards.standing({.unit = skipped.unit}, {}) != Standing::kAccepted &&
      (before == nullptr || !before->given_up)) {
    step.shards.give_up(skipped.unit);
    step.skipped_shard_count += step.map_units.shards_of(skipped.unit).count();
  }
}

void Coordinator::State::replay(const StepEnded& ended) {
  const auto found = steps.find(ended.step);
  if (found == steps.end()) {
    return;
  }
  StepRecord& step = found->second;
  if (ended.failure.code != ErrorCode::kOk) {
    step.failure = ended.failure;  // Whether it stays so is seen at the end.
    return;
  }
  step.phase = Phase::kDone;
  step.results = ended.results;
  step.map_units.shard_count = ended.shard_count;
  step.shard_accepted_count = ended.shard_count;
  step.input_bytes = ended.input_bytes;
  step.weight_accepted = step.weight;
  close_step(step);
}

/// Of plans and results the journal has copies, which are there again.
void Coordinator::State::replay(const BlobsLost& lost) {
  const auto found = steps.find(lost.step);
  if (found != steps.end() && found->second.granting()) {
    static_cast<void>(reopen_lost_units(found->second, lost.host, lost.epoch));
  }
}

void Coordinator::State::replay(const JobEnded&) {}

void Coordinator::State::settle_replay() {
  for (auto at = steps.begin(); at != steps.end();) {
    StepRecord& step = at->second;
    const bool is_last = std::next(at) == steps.end();
    if (step.failure.code != ErrorCode::kOk && !is_last) {
      step.phase = Phase::kFailed;
      close_step(step);
      step.results.clear();
    } else if (step.phase == Phase::kPlanning) {
      std::erase(open_steps, &step);
      at = steps.erase(at);  // Nothing was decided but that a rank has come.
      continue;
    } else {
      step.failure = {};
    }
    ++at;
  }
}

}  // namespace pinion::protocol
