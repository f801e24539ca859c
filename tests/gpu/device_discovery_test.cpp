#include <pinion/gpu/device_discovery.hpp>

#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "temporary_folder.hpp"

namespace pinion {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string path_of(const std::string& file) {
  return std::string(PINION_TEST_DATA) + "/topologies/" + file;
}

Topology load(const std::string& file) {
  return Topology::from_xml(path_of(file)).value();
}

// The machine as it is for a process that may use only the CPUs of `mask`.
Topology load_with_cpus(const std::string& file, const std::string& mask) {
  std::ifstream whole(path_of(file));
  std::string text(std::istreambuf_iterator<char>(whole), {});
  constexpr std::string_view kAllowed = "allowed_cpuset=\"";
  const std::size_t begin = text.find(kAllowed) + kAllowed.size();
  text.replace(begin, text.find('"', begin) - begin, mask);
  const TemporaryFolder folder;
  return Topology::from_xml(folder.write("part.xml", text)).value();
}

struct Expected {
  const char* file;
  std::vector<std::string> bus_ids;
  std::vector<std::uint16_t> nodes;  // The node that each is near to.
  std::size_t near_cpu_count;
};

const Expected kExpected[] = {
    {"aws-g4dn-metal-8xT4.xml",
     {"0000:18:00.0", "0000:19:00.0", "0000:35:00.0", "0000:36:00.0", "0000:e7:00.0",
      "0000:e8:00.0", "0000:f4:00.0", "0000:f5:00.0"},
     {0, 0, 0, 0, 1, 1, 1, 1},
     48},
    {"cxlmem-dax-qemu.xml", {}, {}, 0},
    {"fake-heteromem-tiers-7numa.xml", {}, {}, 0},
    {"generated-8xH200-snc2-4numa.xml",
     {"0000:11:00.0", "0000:21:00.0", "0000:31:00.0", "0000:41:00.0", "0000:51:00.0",
      "0000:61:00.0", "0000:71:00.0", "0000:81:00.0"},
     {0, 0, 1, 1, 2, 2, 3, 3},
     28},
    {"intel-hybrid-6P8E.xml", {}, {}, 0},
    {"knl-snc4-flat-mcdram-8numa.xml", {}, {}, 0},
    {"llnl-lassen-p9-4xV100.xml",
     {"0004:04:00.0", "0004:05:00.0", "0035:03:00.0", "0035:04:00.0"},
     {0, 0, 1, 1},
     80},
    {"nvidia-dgx2-16xV100.xml",
     {"0000:34:00.0", "0000:36:00.0", "0000:39:00.0", "0000:3b:00.0", "0000:57:00.0",
      "0000:59:00.0", "0000:5c:00.0", "0000:5e:00.0", "0000:b7:00.0", "0000:b9:00.0",
      "0000:bc:00.0", "0000:be:00.0", "0000:e0:00.0", "0000:e2:00.0", "0000:e5:00.0",
      "0000:e7:00.0"},
     {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1},
     2},
    {"power8-4xP100.xml",
     {"0002:01:00.0", "0003:01:00.0", "000a:01:00.0", "000b:01:00.0"},
     {0, 0, 1, 1},
     8},
};

void expect_devices(const DeviceDiscovery& discovery, const Expected& expected) {
  EXPECT_THAT(discovery.messages, IsEmpty());
  ASSERT_EQ(discovery.devices.size(), expected.bus_ids.size());
  for (std::size_t index = 0; index < expected.bus_ids.size(); ++index) {
    const DeviceInfo& device = discovery.devices[index];
    EXPECT_EQ(device.place, (Place{PlaceKind::kDevice, static_cast<std::uint16_t>(index), 3}));
    EXPECT_EQ(device.pci_bus_id, expected.bus_ids[index]);
    EXPECT_EQ(device.near_memory, (Place{PlaceKind::kNuma, expected.nodes[index], 3}));
    EXPECT_EQ(device.near_cpus.size(), expected.near_cpu_count);
    EXPECT_TRUE(device.uuid.starts_with("GPU-"));
  }
}

TEST(DeviceDiscovery, FindsTheGpusOfEveryRecordedMachine) {
  for (const Expected& expected : kExpected) {
    SCOPED_TRACE(expected.file);
    expect_devices(discover_devices(load(expected.file), 3), expected);
  }
}

// The driver lists them backwards, writes bus ids its own way, and one of them twice.
TEST(DeviceDiscovery, JoinsWhatADriverTellsByBusId) {
  for (const Expected& expected : kExpected) {
    SCOPED_TRACE(expected.file);
    std::vector<DriverDevice> found;
    Expected backwards = {expected.file, {}, {}, expected.near_cpu_count};
    for (std::size_t left = expected.bus_ids.size(); left > 0; --left) {
      std::string bus_id = "0000" + expected.bus_ids[left - 1];
      std::transform(bus_id.begin(), bus_id.end(), bus_id.begin(),
                     [](char c) { return c >= 'a' && c <= 'f' ? static_cast<char>(c - 32) : c; });
      found.push_back({.uuid = "GPU-" + std::to_string(left),
                       .pci_bus_id = bus_id,
                       .architecture = "sm_90",
                       .memory_bytes = left,
                       .copy_engine_count = 3});
      backwards.bus_ids.push_back(expected.bus_ids[left - 1]);
      backwards.nodes.push_back(expected.nodes[left - 1]);
    }
    if (!found.empty()) {
      found.push_back(found.front());
    }
    const DeviceDiscovery discovery = join_devices(found, load(expected.file), 3);
    expect_devices(discovery, backwards);
    for (std::size_t index = 0; index < discovery.devices.size(); ++index) {
      EXPECT_EQ(discovery.devices[index].memory_bytes, found[index].memory_bytes);
      EXPECT_EQ(discovery.devices[index].architecture, "sm_90");
      EXPECT_EQ(discovery.devices[index].copy_engine_count, 3u);
    }
  }
}

TEST(DeviceDiscovery, NamesSlicesAndPutsThemWhereTheirParentIs) {
  const Topology topology = load("power8-4xP100.xml");
  const std::string parent = topology.gpus()[2].uuid;
  const DriverDevice slices[] = {
      {.uuid = "MIG-1", .mig_parent_uuid = parent, .pci_bus_id = "000A:01:00.0"},
      {.uuid = "MIG-2", .mig_parent_uuid = parent, .pci_bus_id = "000A:01:00.0"},
      {.uuid = "MIG-3", .mig_parent_uuid = parent},  // By the UUID of the parent.
      {.uuid = "MIG-2", .mig_parent_uuid = parent, .pci_bus_id = "000A:01:00.0"}};
  const DeviceDiscovery discovery = join_devices(slices, topology, 0);
  EXPECT_THAT(discovery.messages, IsEmpty());
  ASSERT_THAT(discovery.devices, SizeIs(3));
  for (const DeviceInfo& device : discovery.devices) {
    EXPECT_EQ(device.mig_parent_uuid, parent);
    EXPECT_EQ(device.near_memory, topology.nodes()[1].place);
  }
  EXPECT_EQ(discovery.devices[2].uuid, "MIG-3");
}

TEST(DeviceDiscovery, BelievesTheDriverWhereItKnowsTheNode) {
  const Topology topology = load("llnl-lassen-p9-4xV100.xml");
  // The system's number 8 is the second node.
  const DriverDevice device = {
      .uuid = "GPU-1", .pci_bus_id = "0004:04:00.0", .near_node_os_index = 8};
  const DeviceDiscovery discovery = join_devices(std::span(&device, 1), topology, 0);
  EXPECT_EQ(discovery.devices[0].near_memory, topology.nodes()[1].place);
  const DriverDevice mistaken = {
      .uuid = "GPU-1", .pci_bus_id = "0004:04:00.0", .near_node_os_index = 5};
  EXPECT_EQ(join_devices(std::span(&mistaken, 1), topology, 0).devices[0].near_memory,
            topology.nodes()[0].place);
}

TEST(DeviceDiscovery, SaysWhichDeviceTheMachineDoesNotTellAbout) {
  const Topology topology = load("power8-4xP100.xml");
  const DriverDevice device = {.uuid = "GPU-1", .pci_bus_id = "0009:01:00.0"};
  const DeviceDiscovery discovery = join_devices(std::span(&device, 1), topology, 0);
  ASSERT_THAT(discovery.devices, SizeIs(1));
  EXPECT_THAT(discovery.devices[0].near_cpus, IsEmpty());
  EXPECT_THAT(discovery.messages,
              ElementsAre(HasSubstr("GPU 0 (0009:01:00.0): the machine does not tell")));
}

// As under a job scheduler that gave us some cores of one package.
TEST(DeviceDiscovery, LeavesOutNearCpusThatMayNotBeUsedAndSaysSo) {
  const DeviceDiscovery discovery = discover_devices(load_with_cpus("power8-4xP100.xml", "0x3"), 0);
  ASSERT_THAT(discovery.devices, SizeIs(4));
  EXPECT_THAT(discovery.devices[0].near_cpus, ElementsAre(0, 1));
  EXPECT_THAT(discovery.devices[2].near_cpus, IsEmpty());
  ASSERT_THAT(discovery.messages, SizeIs(4));
  EXPECT_THAT(discovery.messages[0], HasSubstr("near it, this process may use only 0-1"));
  EXPECT_THAT(discovery.messages[2], HasSubstr("GPU 2 (000a:01:00.0): of the CPUs "));
  EXPECT_THAT(discovery.messages[2], HasSubstr("this process may use none"));
}

TEST(DeviceDiscovery, KnowsABusIdInEveryForm) {
  EXPECT_EQ(normal_bus_id("0000:3b:00.0"), "0000:3b:00.0");
  EXPECT_EQ(normal_bus_id("00000000:3B:00.0"), "0000:3b:00.0");
  EXPECT_EQ(normal_bus_id("0:3b:0.0"), "0000:3b:00.0");
  EXPECT_EQ(normal_bus_id("10000:e1:1f.7"), "10000:e1:1f.7");
  for (const char* const text :
       {"", "3b:00.0", "0000:3b:00", "0000:3b:00.8", "0000:100:00.0", "0000:3b:20.0",
        "0000:3b:00.0 ", "g000:3b:00.0", "0000:3b:00.0x", "100000000:3b:00.0", "-1:3b:00.0"}) {
    EXPECT_EQ(normal_bus_id(text), "") << text;
  }
}

class VisibleDevicesOf : public ::testing::Test {
 protected:
  // The second device is divided.
  const std::vector<DriverDevice> found_ = {{.uuid = "GPU-aa11"},
                                            {.uuid = "GPU-ab22"},
                                            {.uuid = "MIG-cc33", .mig_parent_uuid = "GPU-ab22"},
                                            {.uuid = "MIG-cd44", .mig_parent_uuid = "GPU-ab22"},
                                            {.uuid = "GPU-bb55"}};

  std::vector<std::size_t> seen(std::optional<std::string_view> setting, bool warns = false) {
    const VisibleDevices visible = visible_devices(setting, found_);
    EXPECT_EQ(visible.messages.empty(), !warns) << setting.value_or("not set");
    return visible.devices;
  }
};

TEST_F(VisibleDevicesOf, NoSettingAreAllAndOfAnEmptyOneNone) {
  EXPECT_THAT(seen(std::nullopt), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(seen(""), IsEmpty());
  EXPECT_THAT(seen("  "), IsEmpty());
}

TEST_F(VisibleDevicesOf, NumbersAreWholeDevicesInTheGivenOrder) {
  EXPECT_THAT(seen("0"), ElementsAre(0));
  EXPECT_THAT(seen("2,0"), ElementsAre(4, 0));
  EXPECT_THAT(seen(" 1 , 2 "), ElementsAre(1, 4));
}

TEST_F(VisibleDevicesOf, AListEndsBeforeWhatNamesNoDevice) {
  EXPECT_THAT(seen("-1"), IsEmpty());
  EXPECT_THAT(seen("0,-1,2"), ElementsAre(0));
  EXPECT_THAT(seen("0,3,2", true), ElementsAre(0));
  EXPECT_THAT(seen("0,x,2", true), ElementsAre(0));
  EXPECT_THAT(seen("0,,2", true), ElementsAre(0));
  EXPECT_THAT(seen("0,2x", true), ElementsAre(0));
  EXPECT_THAT(seen("0,0", true), ElementsAre(0));
  EXPECT_THAT(seen("0,GPU-aa11", true), ElementsAre(0));
  EXPECT_THAT(seen("NoDevFiles", true), IsEmpty());
  EXPECT_THAT(seen("18446744073709551616", true), IsEmpty());
}

TEST_F(VisibleDevicesOf, UuidsMayBeCutShortWhereOnlyOneBeginsSo) {
  EXPECT_THAT(seen("GPU-ab22,GPU-aa11"), ElementsAre(1, 0));
  EXPECT_THAT(seen("GPU-b,GPU-aa"), ElementsAre(4, 0));
  EXPECT_THAT(seen("GPU-b,GPU-a,0", true), ElementsAre(4));
  EXPECT_THAT(seen("GPU-", true), IsEmpty());
  EXPECT_THAT(seen("gpu-b", true), IsEmpty());
}

TEST_F(VisibleDevicesOf, SlicesAreNamed) {
  EXPECT_THAT(seen("MIG-cd44"), ElementsAre(3));
  EXPECT_THAT(seen("MIG-cc,0"), ElementsAre(2, 0));
  EXPECT_THAT(seen("MIG-c", true), IsEmpty());
}

TEST_F(VisibleDevicesOf, AMessageSaysWhatIsWrong) {
  const VisibleDevices visible = visible_devices("0,7", found_);
  EXPECT_THAT(visible.messages,
              ElementsAre(HasSubstr("CUDA_VISIBLE_DEVICES: '7' names no device, or several; only "
                                    "what comes before it is visible")));
  EXPECT_THAT(visible_devices("1,1", found_).messages, ElementsAre(HasSubstr("is there twice")));
}

// A whole device, one with two slices, two whole ones.
class UsableDevicesOf : public ::testing::Test {
 protected:
  std::vector<std::size_t> usable(const DeviceVariables& variables) {
    const VisibleDevices devices = usable_devices(variables, found_);
    messages_ = devices.messages;
    return devices.devices;
  }

  const std::vector<DriverDevice> found_ = {{.uuid = "GPU-0"},
                                            {.uuid = "GPU-1"},
                                            {.uuid = "MIG-2", .mig_parent_uuid = "GPU-1"},
                                            {.uuid = "MIG-3", .mig_parent_uuid = "GPU-1"},
                                            {.uuid = "GPU-4"},
                                            {.uuid = "GPU-5"}};
  std::vector<std::string> messages_;
};

TEST_F(UsableDevicesOf, NoVariableAreAll) {
  EXPECT_THAT(usable({}), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(usable({.slurm_job_gpus = ""}), SizeIs(6));
}

TEST_F(UsableDevicesOf, CudasVariableCountsBeforeAllOthers) {
  EXPECT_THAT(
      usable(
          {.cuda_visible_devices = "2", .slurm_job_gpus = "0", .nvidia_visible_devices = "none"}),
      ElementsAre(4));
  EXPECT_THAT(usable({.cuda_visible_devices = "", .slurm_job_gpus = "0"}), IsEmpty());
}

TEST_F(UsableDevicesOf, SlurmsVariableNamesWholeDevicesWithTheirSlices) {
  EXPECT_THAT(usable({.slurm_job_gpus = "1,3"}), ElementsAre(1, 2, 3, 5));
  EXPECT_THAT(usable({.slurm_job_gpus = "0-2"}), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(usable({.slurm_job_gpus = "3", .nvidia_visible_devices = "none"}), ElementsAre(5));
  EXPECT_THAT(messages_, IsEmpty());
  EXPECT_THAT(usable({.slurm_job_gpus = "0,9"}), ElementsAre(0));
  EXPECT_THAT(messages_, ElementsAre("SLURM_JOB_GPUS: there is no GPU 9"));
  EXPECT_THAT(usable({.slurm_job_gpus = "h200"}), SizeIs(6));
  EXPECT_THAT(messages_, ElementsAre(HasSubstr("is no list of numbers")));
}

TEST_F(UsableDevicesOf, AStepAreThoseOfTheStep) {
  EXPECT_THAT(usable({.slurm_step_gpus = "2", .slurm_job_gpus = "0,2"}), ElementsAre(4));
  EXPECT_THAT(usable({.slurm_step_gpus = "", .slurm_job_gpus = "0,2"}), ElementsAre(0, 4));
  EXPECT_THAT(usable({.slurm_step_gpus = "0,9"}), ElementsAre(0));
  EXPECT_THAT(messages_, ElementsAre("SLURM_STEP_GPUS: there is no GPU 9"));
}

// Numbers of the host, in a job that sees only its own.
TEST_F(UsableDevicesOf, SlurmsVariableAreAllThatAControlGroupLeft) {
  EXPECT_THAT(usable({.slurm_job_gpus = "4-7"}), SizeIs(6));
  EXPECT_THAT(messages_, IsEmpty());
}

TEST_F(UsableDevicesOf, AContainersVariableHidesWhatItDoesNotName) {
  EXPECT_THAT(usable({.nvidia_visible_devices = "none"}), IsEmpty());
  EXPECT_THAT(usable({.nvidia_visible_devices = "GPU-4, MIG-2"}), ElementsAre(4, 2));
  EXPECT_THAT(usable({.nvidia_visible_devices = "GPU-1"}), ElementsAre(1, 2, 3));
  for (const char* const other : {"all", "void", "", "0,1", "GPU-of-another-host"}) {
    EXPECT_THAT(usable({.nvidia_visible_devices = other}), SizeIs(6)) << other;
  }
}

}  // namespace
}  // namespace pinion
