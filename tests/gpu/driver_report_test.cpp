#include <pinion/gpu/driver_report.hpp>

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(DriverReport, ListsDevicesWithTheirSlicesAndWhatIsLeftOut) {
  const Result<DriverReport> report = report_of_driver(PINION_FAKE_NVML);
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  ASSERT_EQ(report->devices.size(), 4u);
  const DriverDevice& whole = report->devices[1];
  EXPECT_EQ(whole.uuid, "GPU-1b");
  EXPECT_EQ(whole.mig_parent_uuid, "");
  EXPECT_EQ(whole.name, "NVIDIA H200");
  EXPECT_EQ(whole.pci_bus_id, "00000000:5E:00.0");
  EXPECT_EQ(whole.architecture, "sm_90");
  EXPECT_EQ(whole.memory_bytes, 150'000'000'000u);
  const DriverDevice& slice = report->devices[3];
  EXPECT_EQ(slice.uuid, "MIG-3d");
  EXPECT_EQ(slice.mig_parent_uuid, "GPU-1b");
  EXPECT_EQ(slice.name, "NVIDIA H200 MIG 2g.35gb");
  EXPECT_EQ(slice.pci_bus_id, "00000000:5E:00.0");
  EXPECT_EQ(slice.architecture, "sm_90");
  EXPECT_EQ(slice.memory_bytes, 35'000'000'000u);
  EXPECT_EQ(report->devices[2].uuid, "MIG-2c");
  EXPECT_THAT(report->messages, ElementsAre("GPU 2 of the driver: this process may not use it"));
}

// What NVML names joins with what hwloc recorded, and a slice is where its parent is.
TEST(DriverReport, JoinsWithTheTopology) {
  const Topology topology =
      Topology::from_xml(std::string(PINION_TEST_DATA) + "/topologies/nvidia-dgx2-16xV100.xml")
          .value();
  const Result<DriverReport> report = report_of_driver(PINION_FAKE_NVML);
  ASSERT_TRUE(report.has_value());
  const DeviceDiscovery discovery = join_devices(report->devices, topology, 0);
  ASSERT_EQ(discovery.devices.size(), 4u);
  for (const DeviceInfo& device : discovery.devices) {
    EXPECT_EQ(device.near_memory.index, 0u);
    EXPECT_FALSE(device.near_cpus.empty());
  }
  EXPECT_EQ(discovery.devices[0].pci_bus_id, "0000:3b:00.0");
  EXPECT_EQ(discovery.devices[2].mig_parent_uuid, "GPU-1b");
}

TEST(DriverReport, SaysThatThereIsNoDriver) {
  const Result<DriverReport> report = report_of_driver("libpinion-no-such-library.so.1");
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(report.error().to_string(), HasSubstr("libpinion-no-such-library.so.1"));
}

TEST(DriverReport, SaysWhichFunctionIsMissing) {
  const Result<DriverReport> report = report_of_driver(PINION_FAKE_NVML_OLD);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(report.error().to_string(), HasSubstr("nvmlDeviceGetUUID"));
}

TEST(DriverReport, SaysThatTheKernelHasNoDriver) {
  const Result<DriverReport> report = report_of_driver(PINION_FAKE_NVML_UNLOADED);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(report.error().to_string(), HasSubstr("no NVIDIA driver loaded"));
}

TEST(DriverReport, GivesTheDriversWordsWhenItDoesNotAnswer) {
  const Result<DriverReport> report = report_of_driver(PINION_FAKE_NVML_BROKEN);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(report.error().to_string(), HasSubstr("words of the driver (NVML error 999)"));
}

}  // namespace
}  // namespace pinion
