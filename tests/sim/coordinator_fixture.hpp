#pragma once

#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/protocol/coordinator.hpp>

namespace pinion::protocol {

using namespace std::chrono_literals;

inline BlobHandle blob(std::uint64_t generation) {
  return {.job = 1, .generation = generation};
}

/// A coordinator whose effects are collected until they are asked for.
class CoordinatorTest : public testing::Test {
 protected:
  void make(CoordinatorOptions options) {
    options.job = 1;
    options.lease_duration = 6s;
    options.plan_patience = 2s;
    options.first_retry_delay_max = retry_delay_max_;
    rank_count_ = options.rank_count;
    coordinator_.emplace(options);
    incarnations_.assign(rank_count_, 0);
  }

  void step(const Event& event) { coordinator_->step(event, now_, effects_); }
  void join(std::uint32_t rank) {
    step(RankJoined{.rank = rank, .incarnation = ++incarnations_[rank]});
  }
  void lose(std::uint32_t rank, bool returns) {
    step(RankLost{.rank = rank,
                  .incarnation = incarnations_[rank],
                  .returns = returns,
                  .reason = "signal 9"});
  }
  void receive(std::uint32_t rank, const Message& message) {
    step(MessageReceived{
        .envelope = {.job = 1, .epoch = epoch_, .rank = rank, .incarnation = incarnations_[rank]},
        .message = message});
  }
  void pass(Duration time) {
    now_ += time;
    step(Tick{});
  }
  std::vector<Lease> claim_all(std::uint32_t rank) { return claim(rank, 1000); }
  Member member(std::uint32_t rank) const { return coordinator_->members()[rank]; }
  void enter(std::uint32_t rank) {
    receive(rank, EnterStep{.step = 1, .fingerprint = 5, .description = "word count"});
  }

  /// Every rank joins and enters, rank 0 plans.
  void start(const std::vector<std::uint64_t>& weights, std::uint32_t partition_count) {
    for (std::uint32_t rank = 0; rank < rank_count_; ++rank) {
      join(rank);
      enter(rank);
    }
    plan(0, weights, partition_count);
    effects_.clear();
  }
  void start_ordered(const std::vector<std::uint64_t>& weights, std::uint32_t batch_shard_count) {
    ordered_batch_shard_count_ = batch_shard_count;
    start(weights, 1);
  }
  void plan(std::uint32_t rank, const std::vector<std::uint64_t>& weights,
            std::uint32_t partition_count) {
    std::vector<ShardEntry> shards;
    for (const std::uint64_t weight : weights) {
      shards.push_back({.weight = weight});
    }
    plan(rank, shards, partition_count);
  }
  void plan(std::uint32_t rank, const std::vector<ShardEntry>& shards,
            std::uint32_t partition_count) {
    receive(rank, PlanReady{.step = 1,
                            .plan = blob(1000),
                            .partition_count = partition_count,
                            .shards = shards,
                            .ordered_batch_shard_count = ordered_batch_shard_count_,
                            .shard_deadline = shard_deadline_});
  }
  /// Every rank joins, says where it works, and enters; rank 0 plans.
  void start_placed(const std::vector<std::vector<Place>>& places,
                    const std::vector<ShardEntry>& shards) {
    for (std::uint32_t rank = 0; rank < rank_count_; ++rank) {
      join(rank);
      registers(rank, places[rank]);
      enter(rank);
    }
    plan(0, shards, 1);
    effects_.clear();
  }
  void registers(std::uint32_t rank, const std::vector<Place>& places,
                 const std::vector<std::uint32_t>& worker_counts = {}) {
    receive(rank, Register{.process = {.high = 1, .low = rank},
                           .protocol_version = 1,
                           .capacities = {.cpu_count = 1},
                           .places = places,
                           .worker_counts = worker_counts});
  }
  std::vector<Lease> claim(std::uint32_t rank, std::uint32_t unit_count) {
    effects_.clear();
    receive(rank, Claim{.step = 1, .unit_count = unit_count});
    return granted(rank);
  }
  std::vector<Lease> granted(std::uint32_t rank) const {
    std::vector<Lease> leases;
    for (const Grant& grant : sent<Grant>(rank)) {
      leases.insert(leases.end(), grant.leases.begin(), grant.leases.end());
    }
    return leases;
  }
  ErrorCode report(std::uint32_t rank, std::uint64_t number, const std::vector<Lease>& batch,
                   Stage stage = Stage::kMap, std::uint64_t digest = 0) {
    effects_.clear();
    receive(rank, Report{.step = 1,
                         .stage = stage,
                         .report = number,
                         .output = blob(number),
                         .digest = digest,
                         .batch = batch});
    const std::vector<Verdict> verdicts = sent<Verdict>(rank);
    EXPECT_EQ(verdicts.size(), 1U);
    return verdicts.empty() ? ErrorCode::kInternal : verdicts.front().failure.code;
  }
  void fail(std::uint32_t rank, const std::vector<Lease>& batch, std::uint64_t bad_unit,
            ErrorCode code) {
    effects_.clear();
    receive(rank, BatchFailed{.step = 1,
                              .stage = Stage::kMap,
                              .bad_unit = bad_unit,
                              .failure = {.code = code, .text = "boom"},
                              .batch = batch});
  }

  template <class Body>
  std::vector<Body> sent(std::uint32_t rank) const {
    std::vector<Body> bodies;
    for (const Effect& effect : effects_) {
      const auto* send = std::get_if<Send>(&effect);
      if (send != nullptr && send->rank == rank && std::holds_alternative<Body>(send->message)) {
        bodies.push_back(std::get<Body>(send->message));
      }
    }
    return bodies;
  }
  template <class Kind>
  std::vector<std::uint64_t> blobs() const {
    std::vector<std::uint64_t> generations;
    for (const Effect& effect : effects_) {
      if (const auto* one = std::get_if<Kind>(&effect)) {
        generations.push_back(one->blob.generation);
      }
    }
    return generations;
  }
  std::vector<std::string> observations() const {
    std::vector<std::string> texts;
    for (const Effect& effect : effects_) {
      if (const auto* seen = std::get_if<Observation>(&effect)) {
        texts.push_back(seen->text);
      }
    }
    return texts;
  }
  Failure step_failure(std::uint32_t rank) const {
    const std::vector<StepFailed> failed = sent<StepFailed>(rank);
    return failed.empty() ? Failure{} : failed.front().failure;
  }
  static std::vector<std::uint64_t> units(const std::vector<Lease>& leases) {
    std::vector<std::uint64_t> ids;
    for (const Lease& lease : leases) {
      ids.push_back(lease.unit);
    }
    return ids;
  }

  Duration retry_delay_max_ = Duration::zero();
  std::uint32_t epoch_ = 1;
  std::uint32_t rank_count_ = 0;
  std::uint32_t ordered_batch_shard_count_ = 0;
  Duration shard_deadline_ = {};
  std::optional<Coordinator> coordinator_;
  std::vector<std::uint32_t> incarnations_;
  Instant now_{1s};
  Effects effects_;
};

}  // namespace pinion::protocol
