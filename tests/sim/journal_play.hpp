#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shard/protocol/coordinator.hpp>

// A job of a few steps played by ranks that claim, report and die at random, to see what a journal
// of it says and what can be restored from that.

namespace pinion::protocol {

struct PlayedStep {
  std::uint64_t shard_count = 0;
  std::uint32_t partition_count = 1;
  std::uint32_t ordered_batch_shard_count = 0;
};

inline PlanReady plan_of(const PlayedStep& step, std::uint64_t number) {
  PlanReady ready{.step = number,
                  .plan = {.job = 1, .generation = 1'000'000 + number},
                  .partition_count = step.partition_count,
                  .streams = {{.job = 1, .generation = 2'000'000 + number}},
                  .ordered_batch_shard_count = step.ordered_batch_shard_count};
  for (std::uint64_t shard = 0; shard < step.shard_count; ++shard) {
    ready.shards.push_back({.weight = shard % 7, .place = {.index = 3, .host = 1}});
  }
  return ready;
}

/// What lies where it outlives coordinators: which units each output was made of, by the number of
/// its handle.
using Outputs = std::map<std::uint64_t, std::vector<std::uint64_t>>;

/// Plays one epoch of the job to its end. The same seed, and the same state of the coordinator,
/// make the same play.
class Play {
 public:
  static constexpr std::uint32_t kRankCount = 3;  // The last on a host of its own.

  static CoordinatorOptions options_of(std::uint32_t epoch) {
    return {.job = 1,
            .epoch = epoch,
            .rank_count = kRankCount,
            .rank_hosts = {0, 0, 1},
            .lease_duration = std::chrono::hours(1),
            .plan_patience = Duration::zero(),
            .attempt_count_max = 1000,
            .death_count_max = 1000,
            .journaled = true};
  }

  Play(Coordinator coordinator, std::uint32_t epoch, std::uint64_t seed,
       const std::vector<PlayedStep>& steps, Outputs& outputs)
      : coordinator_(std::move(coordinator)),
        epoch_(epoch),
        chance_(seed),
        steps_(steps),
        outputs_(outputs) {}

  void run() {
    for (std::uint32_t rank = 0; rank < kRankCount; ++rank) {
      step(RankJoined{.rank = rank, .incarnation = 1});
    }
    for (int turn = 0; turn < 100'000 && !all_done(); ++turn) {
      now_ += std::chrono::milliseconds(100);  // Retries wait for their time.
      act(static_cast<std::uint32_t>(below(kRankCount)));
    }
    EXPECT_TRUE(all_done()) << "the job does not come to its end";
    for (std::uint64_t number = 1; number <= steps_.size(); ++number) {
      check_results(number);
    }
  }

  /// All that this epoch has persisted.
  [[nodiscard]] const std::vector<Record>& records() const { return records_; }
  /// Of a step, as the ranks were told.
  [[nodiscard]] const std::vector<BlobHandle>& results(std::uint64_t number) const {
    return done_.at(number).partitions;
  }
  [[nodiscard]] std::uint64_t accepted_count() const { return accepted_count_; }

 private:
  struct Rank {
    std::uint32_t incarnation = 1;
    std::uint64_t step = 0;  // The one it is in, entered; 0 before the first.
    bool in_step = false;
    bool gone = false;
    std::uint64_t report_count = 0;
    std::map<Stage, std::vector<Lease>> held = {};
  };

  std::uint64_t below(std::uint64_t limit) { return chance_() % limit; }

  bool all_done() const {
    return std::all_of(ranks_.begin(), ranks_.end(), [this](const Rank& rank) {
      return rank.gone || (rank.step == steps_.size() && !rank.in_step);
    });
  }

  void act(std::uint32_t number) {
    Rank& rank = ranks_[number];
    if (rank.gone) {
      return;
    }
    if (number == kRankCount - 1 && below(60) == 0) {
      step(HostLost{.host = 1, .reason = "its power failed"});
      rank.gone = true;
    } else if (below(40) == 0) {
      step(RankLost{.rank = number, .incarnation = rank.incarnation, .returns = true});
      rank = Rank{.incarnation = rank.incarnation + 1};
      step(RankJoined{.rank = number, .incarnation = rank.incarnation});
    } else if (!rank.in_step) {
      if (rank.step < steps_.size()) {
        ++rank.step;
        rank.in_step = true;
        receive(number, EnterStep{.step = rank.step, .fingerprint = rank.step * 11});
      }
    } else if (!rank.held[Stage::kMap].empty()) {
      end_batch(number, Stage::kMap);
    } else if (!rank.held[Stage::kMerge].empty()) {
      end_batch(number, Stage::kMerge);
    } else {
      receive(number,
              Claim{.step = rank.step, .unit_count = static_cast<std::uint32_t>(1 + below(9))});
    }
  }

  void end_batch(std::uint32_t number, Stage stage) {
    Rank& rank = ranks_[number];
    std::vector<Lease>& held = rank.held[stage];
    const bool one_unit =
        stage == Stage::kMerge || steps_[rank.step - 1].ordered_batch_shard_count > 0;
    const std::size_t count = one_unit ? 1 : 1 + below(held.size());
    std::vector<Lease> batch(held.end() - static_cast<std::ptrdiff_t>(count), held.end());
    held.resize(held.size() - count);
    if (below(20) == 0) {
      receive(number, BatchFailed{.step = rank.step,
                                  .stage = stage,
                                  .bad_unit = batch.front().unit,
                                  .failure = {.code = ErrorCode::kUnavailable, .text = "again"},
                                  .batch = batch});
      return;
    }
    // A result lies on the host of the coordinator, so that no step that is done is lost.
    const std::uint32_t host = stage == Stage::kMap && number == kRankCount - 1 ? 1 : 0;
    const BlobHandle output{
        .job = 1, .generation = outputs_.size() + 1, .epoch = epoch_, .host = host};
    std::vector<std::uint64_t>& units = outputs_[output.generation];
    for (const Lease& lease : batch) {
      units.push_back(lease.unit);
    }
    receive(number, Report{.step = rank.step,
                           .stage = stage,
                           .report = ++rank.report_count,
                           .output = output,
                           .digest = output.generation * 3,
                           .input_bytes = count,
                           .batch = batch});
  }

  void receive(std::uint32_t rank, const Message& message) {
    step(MessageReceived{.envelope = {.job = 1,
                                      .epoch = epoch_,
                                      .rank = rank,
                                      .incarnation = ranks_[rank].incarnation},
                         .message = message});
  }

  void step(const Event& event) {
    Effects effects;
    coordinator_.step(event, now_, effects);
    bool persisted = false;
    for (const Effect& effect : effects) {
      if (const auto* persist = std::get_if<Persist>(&effect)) {
        persisted = persisted || std::holds_alternative<UnitsAccepted>(persist->record);
        records_.push_back(persist->record);
      } else if (const auto* keep = std::get_if<Keep>(&effect)) {
        EXPECT_FALSE(persisted) << "what a record names must be the job's before it is written";
        static_cast<void>(keep);
      } else if (const auto* send = std::get_if<Send>(&effect)) {
        if (const auto* verdict = std::get_if<Verdict>(&send->message)) {
          const bool accepted = verdict->failure.code == ErrorCode::kOk;
          EXPECT_EQ(accepted, persisted) << "a rank was told of what is not persisted";
          accepted_count_ += accepted ? 1 : 0;
        }
        sent_.emplace_back(*send);
      }
    }
    while (!sent_.empty()) {
      const Send send = sent_.front();
      sent_.erase(sent_.begin());
      std::visit([&](const auto& body) { take(send.rank, body); }, send.message);
    }
  }

  void take(std::uint32_t number, const MakePlan& make) {
    receive(number, plan_of(steps_[make.step - 1], make.step));
  }
  void take(std::uint32_t number, const Grant& grant) {
    if (grant.step == ranks_[number].step && ranks_[number].in_step) {
      std::vector<Lease>& held = ranks_[number].held[grant.stage];
      held.insert(held.end(), grant.leases.begin(), grant.leases.end());
    }
  }
  void take(std::uint32_t, const MergeInputs& inputs) { inputs_[inputs.step] = inputs.partials; }
  void take(std::uint32_t number, const StepDone& done) {
    Rank& rank = ranks_[number];
    if (rank.in_step && rank.step == done.step) {
      rank.in_step = false;
      rank.held.clear();
      const auto [known, is_new] = done_.emplace(done.step, done);
      EXPECT_TRUE(is_new || known->second == done) << "two ranks got two answers";
    }
  }
  void take(std::uint32_t, const StepFailed& failed) { ADD_FAILURE() << failed.failure.text; }
  void take(std::uint32_t, const JobFailed& failed) { ADD_FAILURE() << failed.failure.text; }
  template <class Body>
  void take(std::uint32_t, const Body&) {}

  /// Where this epoch merged the step: every unit is in exactly one partial, and every partition
  /// has its result.
  void check_results(std::uint64_t number) const {
    const PlayedStep& shape = steps_[number - 1];
    const std::vector<BlobHandle>& partitions = done_.at(number).partitions;
    ASSERT_EQ(partitions.size(), shape.partition_count);
    EXPECT_EQ(done_.at(number).shard_count, shape.shard_count);
    EXPECT_EQ(done_.at(number).input_bytes, unit_count(shape));
    for (std::uint64_t partition = 0; partition < partitions.size(); ++partition) {
      EXPECT_EQ(outputs_.at(partitions[partition].generation), std::vector{partition});
    }
    const auto inputs = inputs_.find(number);
    if (inputs == inputs_.end()) {
      return;
    }
    std::vector<std::uint64_t> merged;
    for (const BlobHandle& partial : inputs->second) {
      const std::vector<std::uint64_t>& units = outputs_.at(partial.generation);
      merged.insert(merged.end(), units.begin(), units.end());
    }
    std::sort(merged.begin(), merged.end());
    std::vector<std::uint64_t> all(unit_count(shape));
    for (std::uint64_t unit = 0; unit < all.size(); ++unit) {
      all[unit] = unit;
    }
    EXPECT_EQ(merged, all) << "a unit is lost or counts twice";
  }

  static std::uint64_t unit_count(const PlayedStep& shape) {
    return MapUnits{shape.shard_count, shape.ordered_batch_shard_count}.unit_count();
  }

  Coordinator coordinator_;
  Instant now_ = Instant(Duration(1));
  const std::uint32_t epoch_;
  std::mt19937_64 chance_;
  const std::vector<PlayedStep> steps_;
  Outputs& outputs_;
  std::vector<Rank> ranks_ = std::vector<Rank>(kRankCount);
  std::vector<Record> records_;
  std::vector<Send> sent_;
  std::map<std::uint64_t, std::vector<BlobHandle>> inputs_;
  std::map<std::uint64_t, StepDone> done_;
  std::uint64_t accepted_count_ = 0;
};

}  // namespace pinion::protocol
