#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <pinion/gpu/emulated_devices.hpp>

#include "conformance/device_conformance.hpp"
#include "test_kernels.hpp"

namespace pinion::testing {

/// The kernel of the conformance suite.
inline KernelRegistry conformance_kernels() {
  KernelRegistry kernels;
  // Much slower than a copy, so that who does not wait for it comes first.
  const KernelCost cost = {.launch = std::chrono::microseconds(50),
                           .bytes_per_second = 100'000'000};
  PINION_ASSERT(kernels.add("twice_plus", {.body = twice_plus, .cost = cost}).ok());
  return kernels;
}

/// Emulated devices for the conformance suite.
class EmulatedHost {
 public:
  static constexpr std::uint64_t kBudgetBytes = std::uint64_t{1} << 20;
  static constexpr std::size_t kRegisteredBytesMax = std::size_t{64} << 10;

  EmulatedHost(DeviceTrial trial, const std::string& settings)
      : devices_(EmulatedDevices::create(
                     parse_emulation_spec("emu:2,mem=1m,pinned=64k,h2d=1g,d2h=1g,latency=10us," +
                                          settings + fault_of(trial))
                         .value(),
                     kernels_)
                     .value()) {}

  IDevice& device() { return *devices_->devices()[0]; }
  IDevice& other_device() { return *devices_->devices()[1]; }
  ITimer& timer() { return devices_->timer(); }
  void wait(const Completion& completion) { devices_->wait(completion); }

 private:
  static std::string fault_of(DeviceTrial trial) {
    switch (trial) {
      case DeviceTrial::kHealthy:
        return "";
      case DeviceTrial::kOutOfMemoryOnce:
        return ",fault=0:oom@2";
      case DeviceTrial::kRegistrationRefused:
        return ",fault=0:regfail";
      case DeviceTrial::kWrongArchitecture:
        return ",fault=0:wrongarch";
      case DeviceTrial::kSticky:
        return ",fault=0:sticky@3";
      case DeviceTrial::kLost:
        return ",fault=0:lost@2ms,fault=0:slow@1000x";
      case DeviceTrial::kHang:
        return ",fault=0:hang@3";
    }
    return "";
  }

  const KernelRegistry kernels_ = conformance_kernels();
  const std::unique_ptr<EmulatedDevices> devices_;
};

struct VirtualTimeHost : EmulatedHost {
  static constexpr bool kTimeStandsStill = true;

  explicit VirtualTimeHost(DeviceTrial trial) : EmulatedHost(trial, "time=virtual") {}
  static std::unique_ptr<VirtualTimeHost> make(DeviceTrial trial) {
    return std::make_unique<VirtualTimeHost>(trial);
  }
};

struct RealTimeHost : EmulatedHost {
  explicit RealTimeHost(DeviceTrial trial) : EmulatedHost(trial, "time=real") {}
  static std::unique_ptr<RealTimeHost> make(DeviceTrial trial) {
    return std::make_unique<RealTimeHost>(trial);
  }
};

}  // namespace pinion::testing
