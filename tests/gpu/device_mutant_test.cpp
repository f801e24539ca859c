#include "device_mutants.hpp"

#include "emulated_host.hpp"

// Each suite runs the contract on a device that breaks it; ctest expects that the case which is for
// that fails.

namespace pinion {
namespace {

template <class Mutant>
struct MutantHost : testing::VirtualTimeHost {
  using testing::VirtualTimeHost::VirtualTimeHost;
  static std::unique_ptr<MutantHost> make(DeviceTrial trial) {
    return std::make_unique<MutantHost>(trial);
  }
  IDevice& device() { return mutant_; }

 private:
  Mutant mutant_{testing::VirtualTimeHost::device()};
};

template <class Stream>
using StreamMutant = MutantHost<testing::ForwardingDevice<Stream>>;

INSTANTIATE_TYPED_TEST_SUITE_P(None, DeviceConformance, StreamMutant<testing::ForwardingStream>);
INSTANTIATE_TYPED_TEST_SUITE_P(DoesNotWait, DeviceConformance,
                               StreamMutant<testing::StreamThatDoesNotWait>);
INSTANTIATE_TYPED_TEST_SUITE_P(Swaps, DeviceConformance, StreamMutant<testing::StreamThatSwaps>);
INSTANTIATE_TYPED_TEST_SUITE_P(SignalsEarly, DeviceConformance,
                               StreamMutant<testing::StreamThatSignalsEarly>);
INSTANTIATE_TYPED_TEST_SUITE_P(TakesAnyCopy, DeviceConformance,
                               StreamMutant<testing::StreamThatTakesAnyCopy>);
INSTANTIATE_TYPED_TEST_SUITE_P(KeepsArguments, DeviceConformance,
                               StreamMutant<testing::StreamThatKeepsArgumentsByReference>);
INSTANTIATE_TYPED_TEST_SUITE_P(ForgetsItsFault, DeviceConformance,
                               MutantHost<testing::DeviceThatForgetsItsFault>);
INSTANTIATE_TYPED_TEST_SUITE_P(KeepsMemory, DeviceConformance,
                               MutantHost<testing::DeviceThatKeepsMemory>);
INSTANTIATE_TYPED_TEST_SUITE_P(ExceedsItsBudget, DeviceConformance,
                               MutantHost<testing::DeviceThatExceedsItsBudget>);
INSTANTIATE_TYPED_TEST_SUITE_P(FindsAllRegistered, DeviceConformance,
                               MutantHost<testing::DeviceThatFindsAllMemoryRegistered>);
INSTANTIATE_TYPED_TEST_SUITE_P(SaysItIsLost, DeviceConformance,
                               MutantHost<testing::DeviceThatSaysItIsLost>);

}  // namespace
}  // namespace pinion
