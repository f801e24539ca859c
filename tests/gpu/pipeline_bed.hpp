#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/page_pool.hpp>
#include <pinion/gpu/emulated_devices.hpp>
#include <pinion/gpu/pipeline.hpp>

namespace pinion::testing {

using Bytes = std::vector<std::byte>;

/// Each byte of the output is 2 b + a, b being the byte of the input there and a the argument.
inline Status map_twice_plus(const KernelCall& call) {
  for (std::size_t i = 0; i < call.buffers[1].size(); ++i) {
    const unsigned doubled = 2 * static_cast<unsigned>(call.buffers[0][i]);
    call.buffers[1][i] =
        static_cast<std::byte>((doubled + static_cast<unsigned>(call.arguments[0])) & 0xff);
  }
  return {};
}

/// What became of a piece of work.
struct Record {
  int calls = 0;
  ErrorCode code = ErrorCode::kOk;
  WorkPath path = WorkPath::kNowhere;
  Bytes result = {};
  Instant at = {};
};

/// Some work and what became of it. Inputs lie in one piece of memory, `records` are by shard. Work
/// that is alike has one argument, as the shards of a step have, and may be taken together.
struct Shards {
  Shards(std::size_t count, std::size_t shard_bytes, bool are_alike = false)
      : size_bytes(shard_bytes), alike(are_alike), input(count * shard_bytes), records(count) {
    for (std::size_t i = 0; i < input.size(); ++i) {
      input[i] = static_cast<std::byte>((i * 31 + (i >> 8)) & 0xff);
    }
  }

  [[nodiscard]] std::span<std::byte> input_of(std::size_t shard) {
    return std::span(input).subspan(shard * size_bytes, size_bytes);
  }

  [[nodiscard]] std::byte argument_of(std::size_t shard) const {
    return alike ? std::byte{0} : std::byte{static_cast<unsigned char>(shard)};
  }

  [[nodiscard]] Bytes expected(std::size_t shard) {
    Bytes result(size_bytes);
    const std::byte argument = argument_of(shard);
    const std::span<std::byte> buffers[] = {input_of(shard), result};
    EXPECT_TRUE(map_twice_plus({.arguments = std::span(&argument, 1), .buffers = buffers}).ok());
    return result;
  }

  std::size_t size_bytes;
  bool alike;
  Bytes input;
  std::vector<Record> records;
};

struct BedOptions {
  std::uint64_t staging_bytes = std::uint64_t{1} << 20;
  std::uint64_t memory_bytes = std::uint64_t{64} << 20;  ///< Of the ledger.
  PipelineOptions pipeline = {};
};

/// Emulated devices, each with a staging pool and a pipeline.
class PipelineBed {
 public:
  explicit PipelineBed(const std::string& spec, BedOptions options = {})
      : ledger_({.budget_bytes = options.memory_bytes}),
        pages_(ledger_, {}),
        kernels_(make_kernels()),
        devices_(EmulatedDevices::create(parse_emulation_spec(spec).value(), kernels_).value()) {
    for (IDevice* const device : devices_->devices()) {
      staging_.push_back(
          StagingPool::create(*device, pages_, device->info().near_memory, options.staging_bytes)
              .value());
      pipelines_.push_back(
          Pipeline::create(*staging_.back(), kernels_, devices_->timer(), options.pipeline)
              .value());
    }
  }

  EmulatedDevices& devices() { return *devices_; }
  IDevice& device(std::size_t index = 0) { return *devices_->devices()[index]; }
  Pipeline& pipeline(std::size_t index = 0) { return *pipelines_[index]; }
  StagingPool& staging(std::size_t index = 0) { return *staging_[index]; }
  MemoryLedger& ledger() { return ledger_; }
  Instant now() { return devices_->timer().clock().now(); }
  void end_pipelines() { pipelines_.clear(); }

  /// The shard's work, which notes in its record how it ended.
  DeviceWork work(Shards& shards, std::size_t shard) {
    return {.id = shard,
            .kernel = "map_twice_plus",
            .arguments = {shards.argument_of(shard)},
            .input = shards.input_of(shard),
            .output_bytes = shards.size_bytes,
            .takes_batches = shards.alike,
            .on_done = [this, &record = shards.records[shard]](const WorkOutcome& outcome) {
              ++record.calls;
              record.code = outcome.status.code();
              record.path = outcome.path;
              record.result.assign(outcome.result.begin(), outcome.result.end());
              record.at = now();
            }};
  }

  void submit(Shards& shards, std::size_t shard, std::size_t pipeline_index = 0) {
    EXPECT_TRUE(pipeline(pipeline_index).submit(work(shards, shard)).ok());
  }
  void submit_all(Shards& shards, std::size_t pipeline_index = 0) {
    for (std::size_t shard = 0; shard < shards.records.size(); ++shard) {
      submit(shards, shard, pipeline_index);
    }
  }

  /// Lets everything happen that is due, in virtual time.
  void run() { devices_->virtual_time()->run(); }

  /// If the first device has hung, that was told of, once, with shards of which none was done, and
  /// first of all with the one that was the first to begin. `hangs` is what was told.
  void expect_told(const std::vector<DeviceHang>& hangs, const Shards& shards) {
    ASSERT_EQ(hangs.size(), device().fault() == DeviceFault::kHang ? 1u : 0u);
    for (const DeviceHang& hang : hangs) {
      std::size_t first = 0;
      while (shards.records[first].code == ErrorCode::kOk) {
        ++first;
      }
      ASSERT_FALSE(hang.ids.empty());
      EXPECT_EQ(hang.ids.front(), first);
      for (std::size_t i = 0; i < hang.ids.size(); ++i) {
        EXPECT_EQ(hang.ids[i], first + i);
        EXPECT_NE(shards.records.at(hang.ids[i]).code, ErrorCode::kOk);
      }
    }
  }

  /// Each shard has ended once: done and right, or given back for `fault`. These are given to the
  /// second pipeline. How many they are.
  std::size_t submit_what_came_back(Shards& shards, DeviceFault fault) {
    std::size_t count = 0;
    for (std::size_t shard = 0; shard < shards.records.size(); ++shard) {
      Record& record = shards.records[shard];
      EXPECT_EQ(record.calls, 1) << "shard " << shard;
      if (record.code == ErrorCode::kOk) {
        EXPECT_EQ(record.result, shards.expected(shard)) << "shard " << shard;
        continue;
      }
      EXPECT_EQ(device_fault(record.code), fault) << "shard " << shard;
      EXPECT_EQ(record.path, WorkPath::kNowhere);
      EXPECT_TRUE(record.result.empty());
      record = {};
      ++count;
      submit(shards, shard, 1);
    }
    return count;
  }

  /// Gives the first pipeline so many works of the same input, whose bytes nobody looks at. When
  /// the last of them was done on the device, in nanoseconds.
  std::uint64_t time_of(std::size_t count, std::span<const std::byte> input, bool takes_batches) {
    std::size_t left = count;
    Instant last;
    for (std::size_t work = 0; work < count; ++work) {
      EXPECT_TRUE(pipeline()
                      .submit({.kernel = "map_twice_plus",
                               .arguments = {std::byte{0}},
                               .input = input,
                               .output_bytes = input.size(),
                               .takes_batches = takes_batches,
                               .on_done =
                                   [&](const WorkOutcome& outcome) {
                                     EXPECT_EQ(outcome.path, WorkPath::kDevice);
                                     --left;
                                     last = now();
                                   }})
                      .ok());
    }
    run();
    EXPECT_EQ(left, 0u);
    return static_cast<std::uint64_t>(last.time_since_epoch().count());
  }

  /// Every shard is done, once and right, by `path` where that is told.
  static void expect_done(Shards& shards, std::optional<WorkPath> path = WorkPath::kDevice) {
    for (std::size_t shard = 0; shard < shards.records.size(); ++shard) {
      const Record& record = shards.records[shard];
      EXPECT_EQ(record.calls, 1) << "shard " << shard;
      EXPECT_EQ(record.code, ErrorCode::kOk) << "shard " << shard;
      EXPECT_EQ(record.path, path.value_or(record.path)) << "shard " << shard;
      EXPECT_EQ(record.result, shards.expected(shard)) << "shard " << shard;
    }
  }

  /// Nothing of what the pipelines had is still taken.
  void expect_nothing_left() {
    end_pipelines();
    std::uint64_t staging_bytes = 0;
    for (std::size_t index = 0; index < staging_.size(); ++index) {
      EXPECT_EQ(staging(index).usage().used_bytes, 0u) << "device " << index;
      EXPECT_EQ(device(index).usage().allocated_bytes, 0u) << "device " << index;
      staging_bytes += staging(index).usage().size_bytes;
    }
    EXPECT_EQ(ledger_.usage().of(MemoryUse::kStaging).used_bytes, staging_bytes);
  }

 private:
  static KernelRegistry make_kernels() {
    KernelRegistry kernels;
    const KernelCost cost = {.bytes_per_second = 1'000'000'000};
    EXPECT_TRUE(
        kernels
            .add("map_twice_plus",
                 {.body = for_each_shard(map_twice_plus), .cost = cost, .takes_batches = true})
            .ok());
    EXPECT_TRUE(kernels
                    .add("fails", {.body =
                                       [](const KernelCall&) {
                                         return Status(ErrorCode::kUnavailable, "no such column");
                                       }})
                    .ok());
    return kernels;
  }

  MemoryLedger ledger_;
  PagePool pages_;
  const KernelRegistry kernels_{};
  const std::unique_ptr<EmulatedDevices> devices_;
  std::vector<std::unique_ptr<StagingPool>> staging_;
  std::vector<std::unique_ptr<Pipeline>> pipelines_;
};

/// One byte a nanosecond in each of the three stages.
inline constexpr const char* kEven = "emu:1,mem=1m,pinned=4m,h2d=1g,d2h=1g,pageable=500m";

}  // namespace pinion::testing
