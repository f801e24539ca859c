#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "device_mutants.hpp"
#include "emulated_host.hpp"

// The contract, run on the device that PINION_MUTANT names, which breaks it; ctest expects that the
// case which is for that fails. Chosen when it runs, as each instantiation takes long to compile.

namespace pinion {
namespace {

using MakeDevice = std::unique_ptr<IDevice> (*)(IDevice& inner);

template <class Device>
std::unique_ptr<IDevice> make(IDevice& inner) {
  return std::make_unique<Device>(inner);
}

template <class Stream>
std::unique_ptr<IDevice> make_with(IDevice& inner) {
  return make<testing::ForwardingDevice<Stream>>(inner);
}

MakeDevice chosen_device() {
  static const std::map<std::string, MakeDevice> devices = {
      {"None", make_with<testing::ForwardingStream>},
      {"DoesNotWait", make_with<testing::StreamThatDoesNotWait>},
      {"Swaps", make_with<testing::StreamThatSwaps>},
      {"SignalsEarly", make_with<testing::StreamThatSignalsEarly>},
      {"TakesAnyCopy", make_with<testing::StreamThatTakesAnyCopy>},
      {"KeepsArguments", make_with<testing::StreamThatKeepsArgumentsByReference>},
      {"ForgetsItsFault", make<testing::DeviceThatForgetsItsFault>},
      {"KeepsMemory", make<testing::DeviceThatKeepsMemory>},
      {"ExceedsItsBudget", make<testing::DeviceThatExceedsItsBudget>},
      {"FindsAllRegistered", make<testing::DeviceThatFindsAllMemoryRegistered>},
      {"SaysItIsLost", make<testing::DeviceThatSaysItIsLost>},
  };
  const char* const name = std::getenv("PINION_MUTANT");
  const auto found = devices.find(name == nullptr ? "" : name);
  if (found == devices.end()) {
    // Not as a case that fails, which is what ctest expects.
    std::fputs("PINION_MUTANT must name one of the devices in this file\n", stderr);
    std::abort();
  }
  return found->second;
}

struct MutantHost : testing::VirtualTimeHost {
  using testing::VirtualTimeHost::VirtualTimeHost;
  static std::unique_ptr<MutantHost> make(DeviceTrial trial) {
    return std::make_unique<MutantHost>(trial);
  }
  IDevice& device() { return *mutant_; }

 private:
  std::unique_ptr<IDevice> mutant_ = chosen_device()(testing::VirtualTimeHost::device());
};

INSTANTIATE_TYPED_TEST_SUITE_P(Mutant, DeviceConformance, MutantHost);

}  // namespace
}  // namespace pinion
