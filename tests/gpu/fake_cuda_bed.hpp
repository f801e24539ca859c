#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "cuda/cuda_device.hpp"
#include "fake_cuda.hpp"
#include "test_kernels.hpp"

namespace pinion::testing {

/// twice_plus() as a kernel of a FakeCuda, whose addresses are those of the host.
inline int launch_twice_plus(void*, std::span<const std::byte> arguments,
                             std::span<const DeviceSpan> buffers) {
  const std::span<std::byte> bytes(reinterpret_cast<std::byte*>(buffers[0].address),
                                   static_cast<std::size_t>(buffers[0].size_bytes));
  return twice_plus({.arguments = arguments, .buffers = std::span(&bytes, 1)}).ok() ? 0 : 1;
}

/// Two devices of a FakeCuda under the CUDA back-end.
class FakeCudaBed {
 public:
  static constexpr std::uint64_t kBudgetBytes = std::uint64_t{1} << 20;
  static constexpr std::size_t kRegisteredBytesMax = std::size_t{64} << 10;

  explicit FakeCudaBed(FakeCudaFaults faults) {
    auto fake = std::make_unique<FakeCuda>(two_fake_devices(), faults);
    fake->add_kernel("twice_plus", launch_twice_plus);
    fake_ = fake.get();
    session_ = std::make_shared<CudaSession>(std::move(fake));
    const CudaBudget budget = {.memory_bytes = kBudgetBytes,
                               .registered_bytes = kRegisteredBytesMax};
    for (std::uint16_t index = 0; index < 2; ++index) {
      const CudaProperties properties = two_fake_devices()[index];
      const DeviceInfo info = {.place = {PlaceKind::kDevice, index, 0},
                               .name = properties.name,
                               .uuid = "GPU-" + std::to_string(index),
                               .architecture = "sm_90",
                               .memory_bytes = properties.memory_bytes};
      devices_[index] = std::make_unique<CudaDevice>(session_, index, info, budget);
    }
  }

  IDevice& device() { return *devices_[0]; }
  IDevice& other_device() { return *devices_[1]; }
  FakeCuda& fake() { return *fake_; }

  void wait(const Completion& completion) {
    fake_->let_work_fail();
    completion.wait();
  }

 private:
  FakeCuda* fake_ = nullptr;
  std::shared_ptr<CudaSession> session_;
  std::unique_ptr<CudaDevice> devices_[2];
};

}  // namespace pinion::testing
