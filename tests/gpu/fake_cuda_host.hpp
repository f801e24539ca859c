#pragma once

#include <chrono>
#include <memory>

#include <pinion/core/timer.hpp>

#include "conformance/device_conformance.hpp"
#include "fake_cuda_bed.hpp"

namespace pinion::testing {

/// Devices of a FakeCuda for the conformance suite.
class FakeCudaHost : public FakeCudaBed {
 public:
  using FakeCudaBed::FakeCudaBed;

  static std::unique_ptr<FakeCudaHost> make(DeviceTrial trial) {
    switch (trial) {
      case DeviceTrial::kHealthy:
        return std::make_unique<FakeCudaHost>(FakeCudaFaults());
      case DeviceTrial::kOutOfMemoryOnce:
        return std::make_unique<FakeCudaHost>(
            FakeCudaFaults{.allocation_error = 2, .allocation_at = 2});
      case DeviceTrial::kRegistrationRefused:
        return std::make_unique<FakeCudaHost>(FakeCudaFaults{.register_error = 2});
      case DeviceTrial::kWrongArchitecture:
        return std::make_unique<FakeCudaHost>(FakeCudaFaults{.launch_error = 209});
      case DeviceTrial::kSticky:
        return std::make_unique<FakeCudaHost>(FakeCudaFaults{.work_error = 700, .work_at = 3});
      case DeviceTrial::kLost: {
        auto host = std::make_unique<FakeCudaHost>(FakeCudaFaults{.work_waits = true});
        ITimer& timer = host->timer();
        timer.call_at(timer.clock().now() + std::chrono::milliseconds(2),
                      [&fake = host->fake()] { fake.fail(214); });
        return host;
      }
      case DeviceTrial::kHang:
        return nullptr;  // Giving it up ends the process, as it must.
    }
    return nullptr;
  }

  ITimer& timer() { return *timer_; }

 private:
  // Ends before the fake, which what waits in it names.
  std::unique_ptr<SystemTimer> timer_ = SystemTimer::create().value();
};

}  // namespace pinion::testing
