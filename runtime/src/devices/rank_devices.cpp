#include "devices/rank_devices.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include <pinion/core/clock.hpp>
#include <pinion/gpu/devices.hpp>
#include <pinion/gpu/staging_pool.hpp>

#include "devices/mapped_gpu.hpp"
#include "devices/shard_policy.hpp"

namespace pinion {
namespace {

// Of a shard that fits no device whole; a kernel that needs more than a device has for so small a
// piece needs it for every piece.
constexpr std::uint64_t kPieceCountMax = 64;

// By WorkStage.
constexpr std::array<const char*, 3> kStageNames = {"copy in", "kernel", "copy out"};

bool is_chosen(const DeviceChoice& choice, std::size_t number, const std::string& uuid) {
  const auto& left_out = choice.left_out;
  return number >= choice.first && (number - choice.first) % choice.stride == 0 &&
         std::find(left_out.begin(), left_out.end(), uuid) == left_out.end();
}

}  // namespace

Place staging_place(const DeviceInfo& device, std::span<const Place> worker_places) {
  const auto found = std::find(worker_places.begin(), worker_places.end(), device.near_memory);
  return found != worker_places.end() ? *found : worker_places.front();
}

// What belongs to one device.
struct RankDevices::Unit {
  explicit Unit(IDevice& its_device) : device(its_device) {}

  IDevice& device;
  std::unique_ptr<StagingPool> staging = {};
  std::unique_ptr<Pipeline> pipeline = {};
  std::size_t trace_row = 0;
  std::array<std::size_t, kStageNames.size()> stage_rows = {};

  SystemClock clock = {};
  mutable Mutex mutex = {};
  DeviceAccount account PINION_GUARDED_BY(mutex) = {};
  Instant busy_since PINION_GUARDED_BY(mutex) = {};
  bool is_lost PINION_GUARDED_BY(mutex) = false;
  const DescribeShards* describe PINION_GUARDED_BY(mutex) = nullptr;  // While there is a task.

  void begin(const DescribeShards* its_describe) PINION_EXCLUDES(mutex) {
    const MutexLock lock(mutex);
    describe = its_describe;
    if (account.flying_count++ == 0) {
      busy_since = clock.now();
    }
  }

  void note_memory() PINION_EXCLUDES(mutex) {
    const std::uint64_t bytes = device.usage().allocated_bytes;
    const MutexLock lock(mutex);
    account.peak_bytes = std::max(account.peak_bytes, bytes);
  }

  void end(const Status& status, std::uint64_t input_bytes, std::uint64_t output_bytes)
      PINION_EXCLUDES(mutex) {
    const MutexLock lock(mutex);
    if (--account.flying_count == 0) {
      account.busy += clock.now() - busy_since;
      describe = nullptr;
    }
    account.cancelled_count += status.code() == ErrorCode::kCancelled ? 1 : 0;
    if (status.ok()) {
      ++account.shard_count;
      account.input_bytes += input_bytes;
      account.output_bytes += output_bytes;
    }
  }

  // "with shard 3 (...) on it: ", or nothing where none of them is there any more. Under the lock,
  // as the last task takes the words along.
  [[nodiscard]] std::string words_of(std::span<const std::uint64_t> shards) const
      PINION_EXCLUDES(mutex) {
    const MutexLock lock(mutex);
    const bool are_there = describe != nullptr && *describe && !shards.empty();
    return are_there ? "with " + (*describe)(shards) + " on it: " : "";
  }
};

// A task and the pieces of it that are on the device. Shared by them.
struct RankDevices::Flight {
  Flight(Unit& its_unit, DeviceTask its_task) : unit(its_unit), task(std::move(its_task)) {}

  Unit& unit;
  const DeviceTask task;
  Mutex mutex = {};
  std::size_t open_count PINION_GUARDED_BY(mutex) = 1;
  std::uint64_t output_bytes PINION_GUARDED_BY(mutex) = 0;
  Status error PINION_GUARDED_BY(mutex) = {};

  void end_piece(std::uint64_t offset, std::uint64_t size_bytes, const WorkOutcome& outcome)
      PINION_EXCLUDES(mutex) {
    Status status;
    std::uint64_t written_bytes = 0;
    {
      const MutexLock lock(mutex);
      if (outcome.status.ok()) {
        output_bytes += outcome.result.size();
        task.on_piece({.offset = offset,
                       .input = task.input.subspan(static_cast<std::size_t>(offset),
                                                   static_cast<std::size_t>(size_bytes)),
                       .output = outcome.result});
      } else if (error.ok()) {
        error = outcome.status;
      }
      if (--open_count > 0) {
        return;
      }
      status = error;
      written_bytes = output_bytes;
    }
    unit.end(status, task.input.size(), written_bytes);
    task.on_done(status);
  }
};

RankDevices::RankDevices(RankDevicesOptions options) : options_(std::move(options)) {}

RankDevices::~RankDevices() = default;

Result<std::unique_ptr<RankDevices>> RankDevices::open(RankDevicesOptions options) {
  std::unique_ptr<RankDevices> devices(new RankDevices(std::move(options)));
  PINION_RETURN_IF_ERROR(devices->open_all());
  PINION_RETURN_IF_ERROR(devices->open_units());
  if (devices->devices_.empty()) {
    return std::unique_ptr<RankDevices>();
  }
  PINION_RETURN_IF_ERROR(devices->start_feeders());
  return devices;
}

Status RankDevices::open_all() {
  if (options_.setting != "auto") {
    return open_emulation();
  }
  DeviceOptions wanted{
      .host = options_.host, .variables = device_variables(), .on_message = options_.on_message};
  wanted.memory_share /= options_.choice.sharer_count;
  // The others are not opened at all: a context on each device for each rank costs time and memory.
  wanted.is_wanted = [this](const DeviceInfo& info) {
    return is_chosen(options_.choice, info.place.index, info.uuid);
  };
  Result<std::vector<std::unique_ptr<IDevice>>> found = open_devices(wanted);
  if (!found) {
    const ErrorCode code = found.error().code();
    if (code != ErrorCode::kUnimplemented && code != ErrorCode::kNotFound) {
      return std::move(found).error();
    }
    if (options_.on_message) {
      options_.on_message(std::string(found.error().message()));
    }
    return {};
  }
  Result<std::unique_ptr<SystemTimer>> timer = SystemTimer::create();
  if (!timer) {
    return std::move(timer).error();
  }
  timer_ = *std::move(timer);
  owned_ = *std::move(found);
  for (const std::unique_ptr<IDevice>& device : owned_) {
    devices_.push_back(device.get());
  }
  return {};
}

Status RankDevices::open_emulation() {
  Result<EmulationSpec> spec = emulation_of(options_.setting);
  if (!spec) {
    return std::move(spec).error().with_context("setting devices");
  }
  // Nobody is there to let virtual time pass.
  spec->time = EmulatedTime::kReal;
  std::size_t number = 0;
  std::erase_if(spec->devices, [&](const EmulatedDeviceSpec& device) {
    return !is_chosen(options_.choice, number++, device.info.uuid);
  });
  if (spec->devices.empty()) {
    return {};
  }
  for (EmulatedDeviceSpec& device : spec->devices) {
    device.info.place.host = options_.host;
    device.info.memory_bytes =
        std::max<std::uint64_t>(device.info.memory_bytes / options_.choice.sharer_count, 1);
  }
  Result<std::unique_ptr<EmulatedDevices>> created =
      EmulatedDevices::create(*spec, options_.kernels);
  if (!created) {
    return std::move(created).error();
  }
  emulation_ = *std::move(created);
  devices_.assign(emulation_->devices().begin(), emulation_->devices().end());
  return {};
}

// One that has failed by now does not keep the others from working.
Status RankDevices::open_units() {
  for (IDevice* const device : std::exchange(devices_, {})) {
    Status opened = open_unit(*device);
    if (opened.ok()) {
      devices_.push_back(device);
    } else if (!ends_device(device_fault(opened.code()))) {
      return opened;
    } else if (options_.on_lost) {
      options_.on_lost(device->info(), opened);
    }
  }
  return {};
}

Status RankDevices::open_unit(IDevice& device) {
  auto unit = std::make_unique<Unit>(device);
  Result<std::unique_ptr<StagingPool>> staging = StagingPool::create(
      device, options_.pages, staging_place(device.info(), options_.worker_places),
      options_.staging_bytes);
  if (!staging) {
    return std::move(staging).error();
  }
  unit->staging = *std::move(staging);
  if (options_.trace.enabled()) {
    add_trace_rows(*unit);
  }
  PipelineOptions pipeline_options = options_.pipeline;
  pipeline_options.on_hang = [this, &its = *unit](const DeviceHang& hang) {
    tell_of_hang(its, hang);
  };
  if (options_.trace.enabled()) {
    pipeline_options.on_stage = [this, &its = *unit](const StageSpan& span) {
      note_stage(its, span);
    };
  }
  ITimer& timer = emulation_ ? emulation_->timer() : *timer_;
  Result<std::unique_ptr<Pipeline>> pipeline =
      Pipeline::create(*unit->staging, no_kernels_, timer, std::move(pipeline_options));
  if (!pipeline) {
    return std::move(pipeline).error();
  }
  unit->pipeline = *std::move(pipeline);
  if (options_.trace.enabled()) {
    unit->trace_row = options_.trace.add_row("device " + std::to_string(device.info().place.index));
  }
  {
    const MutexLock lock(unit->mutex);
    unit->account.info = device.info();
  }
  units_.push_back(std::move(unit));
  return {};
}

void RankDevices::add_trace_rows(Unit& unit) {
  const std::string name = "device " + std::to_string(unit.device.info().place.index);
  unit.trace_row = options_.trace.add_row(name + ", shards");
  for (std::size_t stage = 0; stage < kStageNames.size(); ++stage) {
    unit.stage_rows[stage] = options_.trace.add_row(name + ", " + kStageNames[stage]);
  }
}

void RankDevices::note_stage(const Unit& unit, const StageSpan& span) {
  const auto stage = static_cast<std::size_t>(span.stage);
  options_.trace.record(unit.stage_rows[stage], {.name = kStageNames[stage],
                                                 .id = span.id,
                                                 .begin = span.begin,
                                                 .end = span.end,
                                                 .place = unit.device.info().place});
}

void RankDevices::tell_of_hang(const Unit& unit, const DeviceHang& hang) const {
  if (!options_.on_hang) {
    return;
  }
  // A shard may be there in pieces.
  std::vector<std::uint64_t> shards;
  for (const std::uint64_t id : hang.ids) {
    if (std::find(shards.begin(), shards.end(), id) == shards.end()) {
      shards.push_back(id);
    }
  }
  const std::string words =
      fmt::format("{}its work has not ended within {} s (setting {})", unit.words_of(shards),
                  std::chrono::duration<double>(hang.limit).count(),
                  hang.is_first ? "hang-first-seconds" : "hang-seconds or hang-factor");
  options_.on_hang(unit.device.info(), Status(ErrorCode::kDeadlineExceeded, words));
}

Status RankDevices::start_feeders() {
  ExecutorOptions feeders;
  for (IDevice* const device : devices_) {
    feeders.groups.push_back({.place = device->info().place,
                              .worker_count = 1,
                              .shared_cpus = device->info().near_cpus});
  }
  feeders.idle_policy = IdlePolicy::kPark;
  Result<std::unique_ptr<Executor>> created = Executor::create(feeders);
  if (!created) {
    return std::move(created).error();
  }
  feeders_ = *std::move(created);
  return {};
}

std::size_t RankDevices::depth() const noexcept {
  return options_.pipeline.depth;
}

DeviceBatch RankDevices::batch() const noexcept {
  return {.bytes_max = options_.pipeline.batch_bytes_max,
          .count_max = options_.pipeline.batch_count_max};
}

std::size_t RankDevices::trace_row(std::size_t device) const noexcept {
  return units_[device]->trace_row;
}

std::unique_ptr<IShardPolicy> RankDevices::make_policy() {
  std::vector<PolicyDevice> devices;
  for (IDevice* const device : devices_) {
    devices.push_back({.name = device->info().name,
                       .memory_bytes = device->usage().budget_bytes,
                       .near_memory = device->info().near_memory});
  }
  devices.push_back({.name = "workers", .near_memory = options_.worker_places.front()});
  return std::make_unique<ShardPolicy>(std::move(devices));
}

Status RankDevices::submit(std::size_t device, DeviceTask task) {
  Unit& unit = *units_[device];
  const std::uint64_t size_bytes = task.input.size();
  unit.begin(task.describe);
  const auto flight = std::make_shared<Flight>(unit, std::move(task));
  Status status = unit.pipeline->submit(work_of(flight, 0, size_bytes));
  if (!status.ok()) {
    unit.end(status, 0, 0);
  }
  unit.note_memory();
  return status;
}

DeviceWork RankDevices::work_of(const std::shared_ptr<Flight>& flight, std::uint64_t offset,
                                std::uint64_t size_bytes) {
  const DeviceKernel& kernel = *flight->task.kernel;
  const KernelSizes sizes = kernel.sizes(size_bytes);
  return {.id = flight->task.shard,
          .kernel = kernel.name,
          .arguments = kernel.arguments,
          .input = flight->task.input.subspan(static_cast<std::size_t>(offset),
                                              static_cast<std::size_t>(size_bytes)),
          .output_bytes = sizes.output_bytes,
          .scratch_bytes = sizes.scratch_bytes,
          .takes_batches = kernel.takes_batches,
          .cancel = flight->task.cancel,
          .on_done =
              [flight, offset, size_bytes](const WorkOutcome& outcome) {
                flight->end_piece(offset, size_bytes, outcome);
              },
          .split =
              [flight, offset, size_bytes, cut = kernel.cut_bytes] {
                std::vector<DeviceWork> halves;
                const std::uint64_t half = cut == 0 ? 0 : size_bytes / 2 / cut * cut;
                if (half * kPieceCountMax >= flight->task.input.size() && half > 0) {
                  {
                    const MutexLock lock(flight->mutex);
                    ++flight->open_count;
                  }
                  halves.push_back(work_of(flight, offset, half));
                  halves.push_back(work_of(flight, offset + half, size_bytes - half));
                }
                return halves;
              }};
}

void RankDevices::lose(std::size_t device, const Status& error) {
  Unit& unit = *units_[device];
  {
    const MutexLock lock(unit.mutex);
    if (std::exchange(unit.is_lost, true)) {
      return;
    }
  }
  if (options_.on_lost) {
    options_.on_lost(unit.device.info(), error);
  }
}

std::vector<DeviceAccount> RankDevices::accounts() const {
  std::vector<DeviceAccount> accounts;
  for (const std::unique_ptr<Unit>& unit : units_) {
    const MutexLock lock(unit->mutex);
    accounts.push_back(unit->account);
  }
  return accounts;
}

void set_gauges(Metrics& metrics, std::span<const DeviceAccount> accounts) {
  DeviceAccount sum;
  for (const DeviceAccount& account : accounts) {
    sum.shard_count += account.shard_count;
    sum.input_bytes += account.input_bytes;
    sum.output_bytes += account.output_bytes;
    sum.peak_bytes += account.peak_bytes;
    sum.busy += account.busy;
  }
  metrics.set(metrics.gauge("device shards"), sum.shard_count);
  metrics.set(metrics.gauge("device nanoseconds"), static_cast<std::uint64_t>(sum.busy.count()));
  metrics.set(metrics.gauge("device input bytes"), sum.input_bytes);
  metrics.set(metrics.gauge("device output bytes"), sum.output_bytes);
  metrics.set(metrics.gauge("device memory peak bytes"), sum.peak_bytes);
}

}  // namespace pinion
