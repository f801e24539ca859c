#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <pinion/core/device.hpp>
#include <pinion/core/timer.hpp>

#include <pinion/gpu/emulation_spec.hpp>
#include <pinion/gpu/kernel_registry.hpp>
#include <pinion/gpu/virtual_time.hpp>

#include "emulated/device_memory.hpp"
#include "emulated/engines.hpp"

namespace pinion {

/// Where the time of emulated devices comes from.
struct EmulatedTimeLine {
  ITimer& timer;
  VirtualTime* virtual_time = nullptr;  ///< The same one when its time is virtual.

  /// Blocks: until `completion` is ready, or lets time pass until then.
  void wait(const Completion& completion) const;
};

/// One device of EmulatedDevices.
class EmulatedDevice final : public IDevice {
 public:
  EmulatedDevice(const EmulatedDeviceSpec& spec, EmulatedEffects effects,
                 const KernelRegistry& kernels, EmulatedTimeLine time);

  /// From here on the device may be lost.
  void start() { engines_.start(); }

  [[nodiscard]] const DeviceInfo& info() const noexcept override { return spec_.info; }
  [[nodiscard]] DeviceUsage usage() const override { return memory_.usage(); }
  [[nodiscard]] DeviceFault fault() const override;
  [[nodiscard]] Result<DeviceBuffer> allocate(std::uint64_t size_bytes) override;
  [[nodiscard]] Result<HostRegistration> register_host(std::span<std::byte> memory) override;
  [[nodiscard]] bool is_registered(std::span<const std::byte> memory) const override;
  [[nodiscard]] Result<std::unique_ptr<IDeviceStream>> create_stream() override;
  void abandon() override;

 private:
  friend class EmulatedStream;

  [[nodiscard]] Duration copy_time(std::span<const std::byte> memory, std::uint64_t rate) const;
  [[nodiscard]] Duration kernel_time(const KernelCost& cost, std::uint64_t size_bytes) const;

  const EmulatedDeviceSpec spec_;
  const EmulatedEffects effects_;
  const KernelRegistry& kernels_;
  const EmulatedTimeLine time_;
  DeviceMemory memory_;
  Engines engines_;
};

/// A stream of an EmulatedDevice.
class EmulatedStream final : public IDeviceStream {
 public:
  explicit EmulatedStream(EmulatedDevice& device);
  ~EmulatedStream() override;
  EmulatedStream(const EmulatedStream&) = delete;
  EmulatedStream& operator=(const EmulatedStream&) = delete;

  [[nodiscard]] Status copy_in(DeviceSpan target, std::span<const std::byte> source) override;
  [[nodiscard]] Status copy_out(std::span<std::byte> target, DeviceSpan source) override;
  [[nodiscard]] Status launch(std::string_view kernel, std::span<const std::byte> arguments,
                              std::span<const DeviceSpan> buffers) override;
  [[nodiscard]] Status wait_for(const IDeviceStream& other) override;
  [[nodiscard]] Completion reached() override;

 private:
  [[nodiscard]] Status check(DeviceSpan span, std::size_t size_bytes) const;

  EmulatedDevice& device_;
  const std::shared_ptr<StreamQueue> queue_;
};

}  // namespace pinion
