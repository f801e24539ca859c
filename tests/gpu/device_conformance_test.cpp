#include "emulated_host.hpp"
#include "fake_cuda_host.hpp"

// A back-end is one line here. That of CUDA runs on a runtime without a device; on a real one it is
// cuda_conformance_test.cpp.

namespace pinion {
namespace {

INSTANTIATE_TYPED_TEST_SUITE_P(VirtualTime, DeviceConformance, testing::VirtualTimeHost);
INSTANTIATE_TYPED_TEST_SUITE_P(RealTime, DeviceConformance, testing::RealTimeHost);
INSTANTIATE_TYPED_TEST_SUITE_P(FakeCuda, DeviceConformance, testing::FakeCudaHost);

}  // namespace
}  // namespace pinion
