#include "emulated_host.hpp"

// A back-end is one line here.

namespace pinion {
namespace {

INSTANTIATE_TYPED_TEST_SUITE_P(VirtualTime, DeviceConformance, testing::VirtualTimeHost);
INSTANTIATE_TYPED_TEST_SUITE_P(RealTime, DeviceConformance, testing::RealTimeHost);

}  // namespace
}  // namespace pinion
