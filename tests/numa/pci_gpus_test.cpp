#include "pci_gpus.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recorded_machines.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PciGpus : public ::testing::Test {
 protected:
  void add(const std::string& bus_id, const std::string& class_id, const std::string& vendor,
           const std::string& near_cpus = "", const std::string& node = "-1") {
    const std::string folder = "sys/bus/pci/devices/" + bus_id + "/";
    root_.write(folder + "class", class_id + "\n");
    root_.write(folder + "vendor", vendor + "\n");
    root_.write(folder + "device", "0x2335\n");
    root_.write(folder + "local_cpulist", near_cpus + "\n");
    root_.write(folder + "numa_node", node + "\n");
  }

  std::vector<std::string> bus_ids() {
    std::vector<std::string> ids;
    for (const GpuInfo& gpu : read_pci_gpus(root_.path(), topology_.nodes())) {
      ids.push_back(gpu.bus_id);
    }
    return ids;
  }

  // Of two nodes with the numbers 0 and 8.
  const Topology topology_ = testing::load("llnl-lassen-p9-4xV100.xml");
  const TemporaryFolder root_;
};

TEST_F(PciGpus, AreNoneWhereTheSystemListsNoDevices) {
  EXPECT_THAT(bus_ids(), IsEmpty());
}

TEST_F(PciGpus, AreThoseWithoutADisplayAndNvidias) {
  add("0000:00:02.0", "0x030000", "0x8086");
  add("0000:03:00.0", "0x020000", "0x10de");
  add("0000:3b:00.0", "0x030200", "0x10de");
  add("0000:5e:00.0", "0x030200", "0x1002");
  add("0000:af:00.0", "0x030000", "0x10de");
  EXPECT_THAT(bus_ids(), ElementsAre("0000:3b:00.0", "0000:5e:00.0", "0000:af:00.0"));
}

TEST_F(PciGpus, AreNumberedByTheBus) {
  add("10000:01:00.0", "0x030200", "0x10de");
  add("0001:01:00.0", "0x030200", "0x10de");
  add("0000:e1:00.0", "0x030200", "0x10de");
  const std::vector<GpuInfo> gpus = read_pci_gpus(root_.path(), topology_.nodes());
  ASSERT_EQ(gpus.size(), 3u);
  EXPECT_EQ(gpus[0].bus_id, "0000:e1:00.0");
  EXPECT_EQ(gpus[2].bus_id, "10000:01:00.0");
  EXPECT_EQ(gpus[2].place, (Place{PlaceKind::kDevice, 2, 0}));
  EXPECT_EQ(gpus[2].name, "PCI 10de:2335");
}

TEST_F(PciGpus, AreNearTheNodeThatHasTheirCpus) {
  ASSERT_EQ(topology_.nodes().size(), 2u);
  const unsigned first = topology_.nodes()[0].cpus.front();
  const unsigned second = topology_.nodes()[1].cpus.front();
  const std::string of_second = std::to_string(second);
  const std::string of_both = std::to_string(first) + "," + of_second;
  const std::string number = std::to_string(topology_.nodes()[1].os_index);
  add("0000:01:00.0", "0x030200", "0x10de", of_second);
  add("0000:02:00.0", "0x030200", "0x10de", of_both, number);
  add("0000:03:00.0", "0x030200", "0x10de", "", number);
  add("0000:04:00.0", "0x030200", "0x10de", of_both);
  add("0000:05:00.0", "0x030200", "0x10de", "none", "4095");
  const std::vector<GpuInfo> gpus = read_pci_gpus(root_.path(), topology_.nodes());
  ASSERT_EQ(gpus.size(), 5u);
  for (std::size_t gpu = 0; gpu < 3; ++gpu) {
    EXPECT_EQ(gpus[gpu].near_node, topology_.nodes()[1].place) << gpu;
  }
  EXPECT_EQ(gpus[3].near_node, std::nullopt);
  EXPECT_EQ(gpus[4].near_node, std::nullopt);
}

}  // namespace
}  // namespace pinion
