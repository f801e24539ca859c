#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/device.hpp>
#include <pinion/core/executor.hpp>
#include <pinion/core/metrics.hpp>
#include <pinion/core/page_pool.hpp>
#include <pinion/core/shard_devices.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/core/timer.hpp>
#include <pinion/core/trace.hpp>
#include <pinion/gpu/emulated_devices.hpp>
#include <pinion/gpu/kernel_registry.hpp>
#include <pinion/gpu/pipeline.hpp>

#include "devices/device_choice.hpp"

namespace pinion {

struct RankDevicesOptions {
  std::string setting = {};  ///< "auto", or the text of an emulation.
  DeviceChoice choice = {};
  std::uint32_t host = 0;
  std::uint64_t staging_bytes = 0;        ///< Of each device.
  PipelineOptions pipeline = {};          ///< Of each device.
  std::vector<Place> worker_places = {};  ///< Of this rank's workers, at least one.

  // Borrowed.
  PagePool& pages;
  Trace& trace;
  const KernelRegistry& kernels;

  /// Told of a device that hangs, with the shards that it has, before it is given up, which ends
  /// the process where it is a GPU. On a thread of its timer; see PipelineOptions::on_hang.
  std::function<void(const DeviceInfo&, const Status&)> on_hang = {};

  /// Told, inside open(), what a person should know: why there is no GPU, which ones were left out.
  std::function<void(const std::string&)> on_message = {};

  /// Told once of a device that does nothing any more.
  std::function<void(const DeviceInfo&, const Status&)> on_lost = {};
};

/// Where host memory for copies of the device lies: at its own node if the rank has workers there,
/// so that the memory is the rank's to use; else where its first workers are.
[[nodiscard]] Place staging_place(const DeviceInfo& device, std::span<const Place> worker_places);

/// What a device has done for a rank. A snapshot.
struct DeviceAccount {
  DeviceInfo info = {};
  std::uint64_t shard_count = 0;
  std::uint64_t cancelled_count = 0;  ///< Shards that were taken back, as their step had ended.
  std::size_t flying_count = 0;       ///< Shards that it has at the moment.
  std::uint64_t input_bytes = 0;
  std::uint64_t output_bytes = 0;
  std::uint64_t peak_bytes = 0;  ///< Of its memory.
  Duration busy = {};            ///< While it had at least one shard.
};

/// Sets the gauges "device shards", "device nanoseconds", "device input bytes", "device output
/// bytes" and "device memory peak bytes" to the sums of the accounts.
void set_gauges(Metrics& metrics, std::span<const DeviceAccount> accounts);

/// The devices of a rank, each with a pipeline and a thread that feeds it.
class RankDevices final : public IShardDevices {
 public:
  /// Null when there is no device for this rank. One that fails while it is opened is told of by
  /// `on_lost` and left out.
  /// Errors: kInvalidArgument for a setting that is none; those of opening devices and of taking
  ///   memory for their staging.
  [[nodiscard]] static Result<std::unique_ptr<RankDevices>> open(RankDevicesOptions options);
  ~RankDevices() override;
  RankDevices(const RankDevices&) = delete;
  RankDevices& operator=(const RankDevices&) = delete;

  [[nodiscard]] std::span<IDevice* const> devices() const noexcept override { return devices_; }
  [[nodiscard]] Executor& feeders() noexcept override { return *feeders_; }
  [[nodiscard]] std::size_t depth() const noexcept override;
  [[nodiscard]] DeviceBatch batch() const noexcept override;
  [[nodiscard]] std::size_t trace_row(std::size_t device) const noexcept override;
  [[nodiscard]] std::unique_ptr<IShardPolicy> make_policy() override;
  [[nodiscard]] Status submit(std::size_t device, DeviceTask task) override;
  void lose(std::size_t device, const Status& error) override;

  [[nodiscard]] std::vector<DeviceAccount> accounts() const;

 private:
  struct Unit;
  struct Flight;

  explicit RankDevices(RankDevicesOptions options);
  [[nodiscard]] Status open_all();
  [[nodiscard]] Status open_emulation();
  [[nodiscard]] Status open_units();
  [[nodiscard]] Status open_unit(IDevice& device);
  void add_trace_rows(Unit& unit);
  void note_stage(const Unit& unit, const StageSpan& span);
  void tell_of_hang(const Unit& unit, const DeviceHang& hang) const;
  [[nodiscard]] Status start_feeders();
  [[nodiscard]] static DeviceWork work_of(const std::shared_ptr<Flight>& flight,
                                          std::uint64_t offset, std::uint64_t size_bytes);

  const RankDevicesOptions options_;

  // What the pipelines of devices are given, so that they run no CPU twin: the engine does what a
  // device cannot, by the body of the step.
  const KernelRegistry no_kernels_;

  // Members are destroyed from the last to the first: pipelines before their devices.
  std::unique_ptr<EmulatedDevices> emulation_;
  std::vector<std::unique_ptr<IDevice>> owned_;
  std::unique_ptr<ITimer> timer_;
  std::vector<IDevice*> devices_;
  std::vector<std::unique_ptr<Unit>> units_;
  std::unique_ptr<Executor> feeders_;
};

}  // namespace pinion
