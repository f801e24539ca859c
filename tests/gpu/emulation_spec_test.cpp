#include <pinion/gpu/emulation_spec.hpp>

#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

std::string machine(const std::string& name) {
  return std::string(PINION_TEST_DATA) + "/topologies/" + name;
}

TEST(EmulationSpec, SaysHowManyDevicesAndNoMore) {
  const EmulationSpec spec = parse_emulation_spec("emu:3").value();
  ASSERT_EQ(spec.devices.size(), 3u);
  EXPECT_EQ(spec.time, EmulatedTime::kVirtual);
  EXPECT_EQ(spec.effects, EmulatedEffects::kAll);
  const EmulatedDeviceSpec& device = spec.devices[2];
  EXPECT_EQ(device.info.place, (Place{PlaceKind::kDevice, 2, 0}));
  EXPECT_EQ(device.info.uuid, "EMU-2");
  EXPECT_EQ(device.info.memory_bytes, std::uint64_t{1} << 30);
  EXPECT_EQ(device.registered_bytes_max, std::uint64_t{1} << 30);
  EXPECT_EQ(device.copy_in_rate, 25'000'000'000u);
  EXPECT_EQ(device.pageable_rate, 6'000'000'000u);
  EXPECT_EQ(device.faults.sticky_at, std::nullopt);
}

TEST(EmulationSpec, SaysEverythingInAnyOrder) {
  const EmulationSpec spec =
      parse_emulation_spec(
          "emu:2,d2h=12500m,mem=512m,h2d=25g,pageable=4g,kern=1.5x,latency=8us,pinned=64k,"
          "copy_engines=1,arch=sm_100,time=real,effects=none,fault=slow@2x,fault=0:sticky@120,"
          "fault=1:lost@3ms,fault=1:oom@4,fault=1:hang@5,fault=0:regfail,fault=0:wrongarch,"
          "fault=1:stop@out,fault=1:noabandon")
          .value();
  ASSERT_EQ(spec.devices.size(), 2u);
  EXPECT_EQ(spec.time, EmulatedTime::kReal);
  EXPECT_EQ(spec.effects, EmulatedEffects::kNone);
  for (const EmulatedDeviceSpec& device : spec.devices) {
    EXPECT_EQ(device.info.memory_bytes, 512u << 20);
    EXPECT_EQ(device.registered_bytes_max, 64u << 10);
    EXPECT_EQ(device.copy_in_rate, 25'000'000'000u);
    EXPECT_EQ(device.copy_out_rate, 12'500'000'000u);
    EXPECT_EQ(device.pageable_rate, 4'000'000'000u);
    EXPECT_EQ(device.kernel_factor, 1.5);
    EXPECT_EQ(device.latency, microseconds(8));
    EXPECT_EQ(device.info.copy_engine_count, 1u);
    EXPECT_EQ(device.info.architecture, "sm_100");
    EXPECT_EQ(device.faults.slow_factor, 2.0);
  }
  const EmulatedFaults& first = spec.devices[0].faults;
  EXPECT_EQ(first.sticky_at, 120u);
  EXPECT_TRUE(first.registration_refused);
  EXPECT_TRUE(first.wrong_architecture);
  EXPECT_EQ(first.hang_at, std::nullopt);
  EXPECT_EQ(first.stop_amid, std::nullopt);
  EXPECT_FALSE(first.cannot_be_abandoned);
  const EmulatedFaults& second = spec.devices[1].faults;
  EXPECT_EQ(second.sticky_at, std::nullopt);
  EXPECT_EQ(second.lost_at, milliseconds(3));
  EXPECT_EQ(second.out_of_memory_at, 4u);
  EXPECT_EQ(second.hang_at, 5u);
  EXPECT_EQ(second.stop_amid, EmulatedOperation::kCopyOut);
  EXPECT_FALSE(second.registration_refused);
  EXPECT_TRUE(second.cannot_be_abandoned);
}

TEST(EmulationSpec, RefusesInWordsWhatItDoesNotUnderstand) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "does not begin with emu:"},
      {"cuda:1", "'cuda:1' does not begin with emu:"},
      {"emu:", "how many: '' is not a number from 1 to 256"},
      {"emu:0", "'0' is not a number from 1 to 256"},
      {"emu:257", "'257' is not"},
      {"emu:auto", "'auto' is not a number"},
      {"emu:1x", "'1x' is not a number"},
      {"emu:1,speed=3", "'speed=3': there is no such setting; there are mem"},
      {"emu:1,,mem=1g", "'': there is no such setting"},
      {"emu:1,mem", "'mem': '' is not a size"},
      {"emu:1,mem=0", "'0' is not a size of at least 1 byte"},
      {"emu:1,mem=2q", "'2q' is not a size"},
      {"emu:1,mem=-1", "'-1' is not a size"},
      {"emu:1,mem=99999999999t", "'99999999999t' is not a size"},
      {"emu:1,mem=1g,mem=2g", "'mem' is set twice"},
      {"emu:1,h2d=0g", "'0g' is not a rate"},
      {"emu:1,kern=1.5", "'1.5' is not a factor"},
      {"emu:1,kern=0x", "'0x' is not a factor"},
      {"emu:1,kern=nanx", "'nanx' is not a factor"},
      {"emu:1,latency=5", "'5' is not a time"},
      {"emu:1,copy_engines=0", "'0' is not a number from 1 to 16"},
      {"emu:1,arch=", "it needs a name"},
      {"emu:1,time=fast", "'fast' is neither virtual nor real"},
      {"emu:1,fault=boom", "'boom' is no fault; there are oom@N"},
      {"emu:1,fault=sticky@0", "'0' is not a number of at least 1"},
      {"emu:1,fault=sticky", "fault=sticky: '' is not a number"},
      {"emu:1,fault=stop@copy", "'copy' is no operation; there are in, kernel and out"},
      {"emu:1,fault=regfail@1", "'regfail@1' is no fault"},
      {"emu:2,fault=2:sticky@1", "'2' is not a number from 0 to 1"},
      {"emu:2,fault=lost@3", "'3' is not a time"}};
  for (const auto& [text, words] : cases) {
    const Result<EmulationSpec> spec = parse_emulation_spec(text);
    ASSERT_FALSE(spec.has_value()) << text;
    EXPECT_EQ(spec.error().code(), ErrorCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(spec.error().message()), HasSubstr(words)) << text;
    EXPECT_THAT(std::string(spec.error().message()), HasSubstr("emulated devices")) << text;
  }
}

TEST(EmulationSpec, TakesTheGpusOfARecordedMachine) {
  const Topology topology = Topology::from_xml(machine("power8-4xP100.xml")).value();
  const EmulationSpec spec = parse_emulation_spec("emu:auto,mem=16g", topology).value();
  ASSERT_EQ(spec.devices.size(), 4u);
  const DeviceInfo& info = spec.devices[2].info;
  EXPECT_EQ(info.pci_bus_id, "000a:01:00.0");
  EXPECT_EQ(info.name, "Tesla P100-SXM2-16GB");
  EXPECT_EQ(info.uuid, topology.gpus()[2].uuid);
  EXPECT_EQ(info.near_memory, topology.nodes()[1].place);
  EXPECT_EQ(info.near_cpus, topology.nodes()[1].usable_cpus);
  EXPECT_EQ(info.memory_bytes, std::uint64_t{16} << 30);

  EXPECT_EQ(parse_emulation_spec("emu:2", topology).value().devices.size(), 2u);
  const Result<EmulationSpec> more = parse_emulation_spec("emu:5", topology);
  ASSERT_FALSE(more.has_value());
  EXPECT_THAT(std::string(more.error().message()), HasSubstr("the machine has 4 GPUs; 5 are"));
}

TEST(EmulationSpec, RefusesAMachineWithoutGpus) {
  const Topology topology = Topology::from_xml(machine("intel-hybrid-6P8E.xml")).value();
  const Result<EmulationSpec> spec = parse_emulation_spec("emu:auto", topology);
  ASSERT_FALSE(spec.has_value());
  EXPECT_THAT(std::string(spec.error().message()), HasSubstr("the machine has 0 GPUs"));
}

}  // namespace
}  // namespace pinion
