#pragma once

#include <chrono>

#include "frames.hpp"

namespace pinion {

/// Every field differs from its default and from its neighbours.
inline Welcome example_welcome() {
  Welcome welcome;
  welcome.info = {.job = 0xfedcba9876543210,
                  .seed = 0xffffffffffffffff,
                  .epoch = 3,
                  .host = 4,
                  .rank = 5,
                  .rank_count = 6,
                  .incarnation = 7,
                  .batch_shard_count = 8,
                  .batch_duration = std::chrono::nanoseconds(1'234'567'891),
                  .batch_bytes = 10,
                  .has_standard_input = false};
  welcome.groups = {
      {{.kind = PlaceKind::kNuma, .index = 1, .host = 4}, {0, 2, 1023}, 2},
      {{.kind = PlaceKind::kDevice, .index = 65535, .host = 4'294'967'295},
       {},
       3,
       {5, 7},
       {0xffffffffffffffff, 10}},
  };
  welcome.first_segment = 4'000'000'000;
  welcome.segment_count = 65536;
  welcome.memory_bytes = 0x8000000000000000;
  welcome.spill_directory = "/a/disk";
  welcome.spill_bytes_max = 0xffffffffffffffff;
  welcome.memory_wait = std::chrono::milliseconds(1500);
  welcome.trace_directory = "a \"trace\"\n\xff";
  welcome.binds_memory = true;
  welcome.devices = "emu:2";
  welcome.device_choice = {
      .first = 11, .stride = 12, .sharer_count = 13, .left_out = {"GPU-14", "GPU-15"}};
  welcome.hang = {.factor = 1.6,
                  .least = std::chrono::nanoseconds(1'700'000'001),
                  .first = std::chrono::seconds(18)};
  return welcome;
}

}  // namespace pinion
