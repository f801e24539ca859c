#include <pinion/gpu/emulation_spec.hpp>

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/gpu/emulated_devices.hpp>

#include "fuzz/mutate.hpp"

// Whatever the text: devices that can be made, or an error in words.

namespace pinion {
namespace {

using fuzz::for_each_trial;
using fuzz::Mutator;

TEST(FuzzEmulationSpec, GivesDevicesThatCanBeMadeOrAnError) {
  const std::vector<std::string> examples = {
      "emu:4,mem=2g,h2d=25g,d2h=25g,kern=1.5x,copy_engines=2,fault=sticky@120",
      "emu:auto,fault=1:lost@3ms,fault=oom@4,latency=20us",
      "emu:2,pageable=6000m,pinned=64k,arch=sm_90,effects=none,fault=0:slow@2x,fault=1:hang@9",
      "emu:1,time=virtual,fault=regfail,fault=wrongarch"};
  const Topology topology = Topology::from_xml(PINION_TEST_TOPOLOGY).value();
  const KernelRegistry kernels{};
  for_each_trial([&](Mutator& mutator, std::uint64_t) {
    const std::string mutated = mutator.mutate(examples);
    // A copy of its own size, so that a sanitizer sees each read beyond it.
    const std::vector<char> text(mutated.begin(), mutated.end());
    const std::string_view view(text.data(), text.size());
    for (Result<EmulationSpec>& spec : std::vector<Result<EmulationSpec>>{
             parse_emulation_spec(view), parse_emulation_spec(view, topology)}) {
      if (!spec) {
        EXPECT_EQ(spec.error().code(), ErrorCode::kInvalidArgument);
        EXPECT_FALSE(spec.error().message().empty());
        continue;
      }
      spec->time = EmulatedTime::kVirtual;  // A thread for each trial would be most of its time.
      EXPECT_LE(spec->devices.size(), kEmulatedDeviceCountMax);
      EXPECT_TRUE(EmulatedDevices::create(*spec, kernels).has_value()) << mutated;
    }
  });
}

}  // namespace
}  // namespace pinion
