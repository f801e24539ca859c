#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <pinion/shard/protocol/coordinator.hpp>

#include "journal_play.hpp"

namespace pinion::protocol {
namespace {

const std::vector<PlayedStep> kSteps = {{.shard_count = 9, .partition_count = 3},
                                        {.shard_count = 0, .partition_count = 1},
                                        {.shard_count = 10, .ordered_batch_shard_count = 4},
                                        {.shard_count = 1}};

std::span<const Record> first(const std::vector<Record>& records, std::size_t count) {
  return std::span(records).first(count);
}

std::vector<Record> history_of(std::span<const Record> records) {
  RecordHistory history;
  for (const Record& record : records) {
    history.add(record);
  }
  return history.records();
}

// Goes on, in another epoch, from the first `count` records of an earlier play.
void check_resumes(const std::vector<Record>& records, std::size_t count, Outputs outputs,
                   std::uint64_t seed) {
  SCOPED_TRACE("of " + std::to_string(records.size()) + " records, " + std::to_string(count));
  Outputs same = outputs;
  Play resumed(Coordinator::restore(Play::options_of(2), first(records, count)), 2, seed, kSteps,
               outputs);
  resumed.run();
  Play from_history(Coordinator::restore(Play::options_of(2), history_of(first(records, count))), 2,
                    seed, kSteps, same);
  from_history.run();
  EXPECT_EQ(resumed.records(), from_history.records());
  for (std::size_t index = 0; index < count; ++index) {
    if (const auto* ended = std::get_if<StepEnded>(&records[index])) {
      EXPECT_EQ(resumed.results(ended->step), ended->results) << "a step was done twice";
    }
  }
}

RC_GTEST_PROP(CoordinatorRestore, EveryPrefixGoesOnToTheEnd, (std::uint64_t seed)) {
  Outputs outputs;
  Play whole(Coordinator(Play::options_of(1)), 1, seed, kSteps, outputs);
  whole.run();
  for (std::size_t count = 0; count <= whole.records().size(); ++count) {
    check_resumes(whole.records(), count, outputs, seed + count);
  }
  RC_ASSERT(!testing::Test::HasFailure());
}

RC_GTEST_PROP(CoordinatorRestore, WhatWasCutGoesOnAfterEachOfManyEpochs,
              (std::uint64_t seed, std::vector<std::uint16_t> cuts)) {
  Outputs outputs;
  std::vector<Record> records;
  std::uint32_t epoch = 1;
  for (const std::uint16_t cut : cuts) {
    Play play(Coordinator::restore(Play::options_of(epoch), records), epoch, seed + epoch, kSteps,
              outputs);
    play.run();
    const auto& more = play.records();
    const std::size_t kept = cut % (more.size() + 1);
    records.insert(records.end(), more.begin(), more.begin() + static_cast<std::ptrdiff_t>(kept));
    ++epoch;
  }
  Play last(Coordinator::restore(Play::options_of(epoch), records), epoch, seed, kSteps, outputs);
  last.run();
  RC_ASSERT(!testing::Test::HasFailure());
}

RC_GTEST_PROP(CoordinatorRestore, AcceptedUnitsAreNotRunAgain, (std::uint64_t seed)) {
  Outputs outputs;
  Play whole(Coordinator(Play::options_of(1)), 1, seed, kSteps, outputs);
  whole.run();
  Play resumed(Coordinator::restore(Play::options_of(2), whole.records()), 2, seed, kSteps,
               outputs);
  resumed.run();
  RC_ASSERT(resumed.accepted_count() == 0U);
  RC_ASSERT(resumed.records().empty());
}

// No prefix has these, but a record that was dropped for its lost output leaves such.
RC_GTEST_PROP(CoordinatorRestore, AnyRecordOfAcceptanceCanBeMissing, (std::uint64_t seed)) {
  Outputs outputs;
  Play whole(Coordinator(Play::options_of(1)), 1, seed, kSteps, outputs);
  whole.run();
  std::vector<Record> holed;
  std::uint64_t acceptance_count = 0;
  for (const Record& record : whole.records()) {
    const bool drop =
        std::holds_alternative<UnitsAccepted>(record) && (++acceptance_count + seed) % 3 == 0;
    if (!drop && !std::holds_alternative<StepEnded>(record)) {
      holed.push_back(record);
    }
  }
  Play resumed(Coordinator::restore(Play::options_of(2), holed), 2, seed, kSteps, outputs);
  resumed.run();
  RC_ASSERT(!testing::Test::HasFailure());
}

TEST(CoordinatorRestore, IgnoresWhatMakesNoSense) {
  const PlanReady plan = plan_of({.shard_count = 2}, 1);
  PlanReady too_wide = plan;
  too_wide.partition_count = kPartitionCountMax + 1;
  const BlobHandle output{.job = 1, .generation = 1};
  const std::vector<Record> records = {
      EpochBegun{1},
      StepPlanned{plan},
      UnitsAccepted{.step = 1, .output = output, .units = {0}},
      StepEnded{.step = 1},
      StepOpened{.step = 1, .fingerprint = 11},
      StepPlanned{too_wide},
      StepPlanned{plan},
      StepPlanned{too_wide},
      UnitsAccepted{.step = 1, .output = output, .units = {0, 2}},
      UnitsAccepted{.step = 1, .output = output, .units = {0, 0}},
      UnitsAccepted{.step = 1, .output = output, .units = {}},
      UnitsAccepted{.step = 1, .output = output, .input_bytes = 1, .units = {1}},
      UnitsAccepted{.step = 1, .output = {.job = 1, .generation = 7}, .units = {1, 0}},
      UnitsAccepted{.step = 1, .stage = Stage::kMerge, .output = output, .units = {1}},
  };
  Outputs outputs = {{1, {1}}};
  Play play(Coordinator::restore(Play::options_of(2), records), 2, 1, {{.shard_count = 2}},
            outputs);
  play.run();
  EXPECT_EQ(play.accepted_count(), 2U) << "the other shard, and the partition";
}

TEST(CoordinatorRestore, DoesNotBringBackWhatWasSkipped) {
  const UnitSkipped skipped{.step = 1, .unit = 0, .failure = {.code = ErrorCode::kUnknown}};
  std::vector<Record> records = {
      StepOpened{.step = 1, .fingerprint = 11},
      StepPlanned{plan_of({.shard_count = 2}, 1)},
      skipped,
      UnitsAccepted{.step = 1, .output = {.job = 1, .generation = 1}, .units = {1}},
      skipped,
  };
  for (const std::vector<Record>& from : {records, history_of(records)}) {
    Coordinator coordinator = Coordinator::restore(Play::options_of(2), from);
    Effects effects;
    const auto receive = [&](const Message& message) {
      coordinator.step(
          MessageReceived{.envelope = {.job = 1, .epoch = 2, .incarnation = 1}, .message = message},
          Instant(Duration(1)), effects);
    };
    coordinator.step(RankJoined{}, Instant(Duration(1)), effects);
    receive(EnterStep{.step = 1, .fingerprint = 11});
    receive(Claim{.step = 1, .unit_count = 4});
    EXPECT_EQ(coordinator.progress().skipped_shard_count, 1U);
    const auto& grant = std::get<Grant>(std::get<Send>(effects.back()).message);
    EXPECT_EQ(grant.stage, Stage::kMerge);
    EXPECT_EQ(grant.leases.size(), 1U);
  }
}

class FailedStep : public testing::Test {
 protected:
  std::vector<Record> records_ = {
      StepOpened{.step = 1, .fingerprint = 11}, StepPlanned{plan_of({.shard_count = 2}, 1)},
      UnitsAccepted{
          .step = 1, .output = {.job = 1, .generation = 1}, .input_bytes = 1, .units = {1}},
      StepEnded{.step = 1, .failure = {.code = ErrorCode::kNotFound, .text = "no such file"}}};
  Outputs outputs_ = {{1, {1}}};
};

TEST_F(FailedStep, GoesOnFromWhatItHasWhereItIsTheLast) {
  Play play(Coordinator::restore(Play::options_of(2), history_of(records_)), 2, 1,
            {{.shard_count = 2}}, outputs_);
  play.run();
  EXPECT_EQ(play.accepted_count(), 2U);
}

TEST_F(FailedStep, StaysSoWhereTheProgramWentOn) {
  records_.emplace_back(StepOpened{.step = 2, .fingerprint = 22});
  for (const std::vector<Record>& records : {records_, history_of(records_)}) {
    Coordinator coordinator = Coordinator::restore(Play::options_of(2), records);
    Effects effects;
    coordinator.step(RankJoined{}, Instant(Duration(1)), effects);
    coordinator.step(MessageReceived{.envelope = {.job = 1, .epoch = 2, .incarnation = 1},
                                     .message = EnterStep{.step = 1, .fingerprint = 11}},
                     Instant(Duration(1)), effects);
    ASSERT_EQ(effects.size(), 1U);
    const auto& failed = std::get<StepFailed>(std::get<Send>(effects[0]).message);
    EXPECT_EQ(failed.failure.text, "no such file");
  }
}

TEST(Coordinator, PersistsNothingWhereNobodyKeepsIt) {
  CoordinatorOptions options = Play::options_of(1);
  options.journaled = false;
  Coordinator coordinator(options);
  Effects effects;
  const auto receive = [&](const Message& message) {
    coordinator.step(
        MessageReceived{.envelope = {.job = 1, .epoch = 1, .incarnation = 1}, .message = message},
        Instant(Duration(1)), effects);
  };
  coordinator.step(RankJoined{}, Instant(Duration(1)), effects);
  receive(EnterStep{.step = 1, .fingerprint = 11});
  receive(plan_of({.shard_count = 0, .partition_count = 0}, 1));
  for (const Effect& effect : effects) {
    EXPECT_FALSE(std::holds_alternative<Persist>(effect));
  }
  const auto& last =
      std::get<Send>(*std::find_if(effects.begin(), effects.end(), [](const Effect& effect) {
        const auto* send = std::get_if<Send>(&effect);
        return send != nullptr && std::holds_alternative<StepDone>(send->message);
      }));
  EXPECT_EQ(last.rank, 0U);
}

}  // namespace
}  // namespace pinion::protocol
