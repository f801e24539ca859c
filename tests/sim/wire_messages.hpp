#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shard/protocol/wire.hpp>

// Messages with every field set, for the tests of their wire form.

namespace pinion::protocol {

inline constexpr std::uint64_t kBig = std::numeric_limits<std::uint64_t>::max();

inline const Envelope kEnvelope{
    .job = 0x0102030405060708, .epoch = 9, .rank = 10, .incarnation = 11};
inline const BlobHandle kBlob{.job = kBig,
                              .generation = 2,
                              .length_bytes = 3,
                              .epoch = 4,
                              .host = 5,
                              .segment = 6,
                              .index = 7};
inline const Failure kFailure{.code = ErrorCode::kUnauthenticated, .text = "not \"you\" \n again"};
inline const std::vector<Lease> kLeases{
    {.unit = 1, .fence = {.epoch = 2, .counter = 3}, .attempt = 4},
    {.unit = kBig, .fence = {.epoch = 0xffffffff, .counter = kBig}, .attempt = 0xffffffff}};
inline const std::vector<Lease> kOneLease{kLeases.front()};

inline std::vector<Message> one_of_each_to_the_coordinator() {
  return {
      EnterStep{.step = 1, .fingerprint = kBig, .description = "map_reduce over 3 files"},
      PlanReady{.step = 1,
                .plan = kBlob,
                .partition_count = kPartitionCountMax,
                .shards = {{.weight = 1, .place = {}},
                           {.weight = kBig,
                            .place = {.kind = PlaceKind::kDevice, .index = 2, .host = 3},
                            .priority = Priority::kHigh,
                            .has_cpu_body = false}},
                .streams = {kBlob, kBlob},
                .ordered_batch_shard_count = 8,
                .shard_deadline = Duration(123'456'789'012),
                .combines = true},
      PlanFailed{.step = 1, .failure = kFailure},
      Claim{.step = 1, .unit_count = 16},
      Heartbeat{.step = 1,
                .sent_ns = -5,
                .held = kLeases,
                .unit_count_done = 6,
                .input_bytes = kBig,
                .observations = {"the disk is slow", ""}},
      Report{.step = 1,
             .stage = Stage::kMap,
             .report = 2,
             .output = kBlob,
             .digest = 3,
             .input_bytes = 4,
             .batch = kLeases},
      BatchFailed{.step = 1,
                  .stage = Stage::kMerge,
                  .bad_unit = 1,
                  .failure = kFailure,
                  .batch = kOneLease},
      GiveBack{.step = 1, .stage = Stage::kMap, .leases = kLeases},
      CancelJob{.failure = kFailure},
  };
}

inline std::vector<Message> one_of_each_to_a_rank() {
  return {
      MakePlan{.step = 1,
               .workers = {{.place = {}, .worker_count = 1},
                           {.place = {.kind = PlaceKind::kDevice}, .worker_count = 2},
                           {.place = {.index = 0xffff, .host = 7}, .worker_count = 0xfffffff0}}},
      StepStarted{.step = 1,
                  .plan = kBlob,
                  .shard_count = 2,
                  .partition_count = 3,
                  .lease_duration = std::chrono::seconds(6),
                  .ordered_batch_shard_count = 0xffffffff},
      Grant{.step = 1,
            .stage = Stage::kMerge,
            .unit_count_left = 2,
            .lease_duration = Duration::max(),
            .leases = kLeases,
            .second_attempt = true},
      MergeInputs{
          .step = 1,
          .partials = {kBlob, {}},
          .combined = {{.members = {1}, .outputs = {{}, kBlob}}, {.members = {0}, .outputs = {}}}},
      HeartbeatAck{.step = 1, .sent_ns = std::numeric_limits<std::int64_t>::max(), .lost = {}},
      Verdict{.step = 1, .stage = Stage::kMerge, .report = 7, .failure = {}},
      StepDone{.step = 1,
               .partitions = {kBlob},
               .shard_count = 2,
               .input_bytes = 3,
               .skipped_shard_count = 1},
      StepFailed{.step = 1, .failure = kFailure, .shard = 0},
      JobFailed{.failure = kFailure},
  };
}

inline std::vector<Message> one_of_each_about_membership() {
  return {
      Register{.process = {.high = kBig, .low = 2},
               .protocol_version = 3,
               .topology_digest = 4,
               .capacities = {.cpu_count = 5, .gpu_count = 6, .memory_bytes = kBig},
               .places = {{.kind = PlaceKind::kDevice, .index = 0xffff, .host = 7}, {}},
               .worker_counts = {1, kPlaceWorkerCountMax}},
      Drain{.reason = "the node is wanted"},
      Leave{.reason = ""},
      Registered{.failure = kFailure, .lease_duration = std::chrono::seconds(6)},
      Drained{},
  };
}

inline std::vector<Message> one_of_each_that_came_later() {
  return {ShardSkipped{.step = 1, .shard = kBig, .failure = kFailure}};
}

/// In the order of the variant.
inline std::vector<Message> one_of_each() {
  std::vector<Message> messages = one_of_each_to_the_coordinator();
  for (const std::vector<Message>& more :
       {one_of_each_to_a_rank(), one_of_each_about_membership(), one_of_each_that_came_later()}) {
    messages.insert(messages.end(), more.begin(), more.end());
  }
  EXPECT_EQ(messages.size(), std::variant_size_v<Message>);
  for (std::size_t index = 0; index < messages.size(); ++index) {
    EXPECT_EQ(messages[index].index(), index);
  }
  return messages;
}

}  // namespace pinion::protocol
