#include "cuda/cuda_devices.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_cuda.hpp"

namespace pinion {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::FakeCuda;
using testing::FakeCudaFaults;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Opened = Result<std::vector<std::unique_ptr<IDevice>>>;

Opened open(std::vector<CudaProperties> devices, FakeCudaFaults faults, DeviceOptions options = {},
            std::span<const DriverDevice> managed = {}) {
  const Topology topology =
      Topology::from_xml(std::string(PINION_TEST_DATA) + "/topologies/nvidia-dgx2-16xV100.xml")
          .value();
  return open_cuda_devices(std::make_unique<FakeCuda>(std::move(devices), faults), managed,
                           topology, options);
}

Status refusal(FakeCudaFaults faults) {
  const Opened opened = open(testing::two_fake_devices(), faults);
  return opened ? Status() : opened.error();
}

TEST(CudaDevices, AreAsCudaAndTheTopologyTell) {
  std::vector<std::string> messages;
  const Opened opened =
      open(testing::two_fake_devices(), {},
           {.host = 7,
            .memory_share = 0.5,
            .registered_bytes_max = 12'345,
            .on_message = [&](const std::string& message) { messages.push_back(message); }});
  ASSERT_TRUE(opened.has_value());
  ASSERT_EQ(opened->size(), 2u);
  const DeviceInfo& info = (*opened)[1]->info();
  EXPECT_EQ(info.place, (Place{PlaceKind::kDevice, 1, 7}));
  EXPECT_EQ(info.name, "NVIDIA Fake 2");
  EXPECT_EQ(info.uuid, "GPU-22111111-0000-0000-0000-000000000000");
  EXPECT_EQ(info.pci_bus_id, "0000:5e:00.0");
  EXPECT_EQ(info.architecture, "sm_90");
  EXPECT_EQ(info.copy_engine_count, 3u);
  EXPECT_EQ(info.near_memory, (Place{PlaceKind::kNuma, 0, 7}));
  EXPECT_FALSE(info.near_cpus.empty());
  const DeviceUsage usage = (*opened)[1]->usage();
  EXPECT_EQ(usage.budget_bytes, std::uint64_t{1} << 29);
  EXPECT_EQ(usage.registered_budget_bytes, 12'345u);
  EXPECT_THAT(messages, IsEmpty());
}

// What the PCI bus tells is wrong where device and host share memory.
TEST(CudaDevices, AreNearWhereTheDriverSaysThatTheyAre) {
  std::vector<CudaProperties> properties = testing::two_fake_devices();
  properties[0].host_numa_id = 1;
  const Opened opened = open(properties, {});
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ((*opened)[0]->info().near_memory.index, 1u);
  EXPECT_EQ((*opened)[1]->info().near_memory.index, 0u);
}

TEST(CudaDevices, AreNotThereWithoutADriver) {
  const Status status = refusal({.driver_version = 0, .count_error = 35});
  EXPECT_EQ(status.code(), ErrorCode::kNotFound);
  EXPECT_THAT(status.to_string(), AllOf(HasSubstr("no NVIDIA driver"), HasSubstr("on CPUs")));
  // CUDA knows no version of the driver then, either.
  EXPECT_THAT(refusal({.driver_version = 0, .count_error = 34}).to_string(),
              HasSubstr("only serves to link programs"));
}

TEST(CudaDevices, AreNotThereWithAWordOnEachReason) {
  for (const auto& [native, words] : {std::pair(34, "only serves to link programs"),
                                      {35, "older than this program needs"},
                                      {100, "fake error 100"},
                                      {803, "must be mended"}}) {
    const Status status = refusal({.count_error = native});
    EXPECT_EQ(status.code(), ErrorCode::kNotFound) << native;
    EXPECT_THAT(status.to_string(), HasSubstr(words));
  }
  const Opened hidden = open({}, {});
  ASSERT_FALSE(hidden.has_value());
  EXPECT_EQ(hidden.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(hidden.error().to_string(), HasSubstr("CUDA_VISIBLE_DEVICES"));
}

TEST(CudaDevices, OfAnotherProcessAreLeftOut) {
  for (const FakeCudaFaults& faults :
       {FakeCudaFaults{.memory_error = 46}, FakeCudaFaults{.describe_error = 101}}) {
    std::vector<std::string> messages;
    const Opened opened =
        open(testing::two_fake_devices(), faults,
             {.on_message = [&](const std::string& message) { messages.push_back(message); }});
    ASSERT_TRUE(opened.has_value());
    ASSERT_EQ(opened->size(), 1u);
    EXPECT_EQ((*opened)[0]->info().name, "NVIDIA Fake 2");
    EXPECT_EQ((*opened)[0]->info().place.index, 1u);
    EXPECT_THAT(messages, ElementsAre(HasSubstr("left out: ")));
    EXPECT_THAT(messages, ElementsAre(HasSubstr("CUDA device 0")));
  }
}

// The first would answer 46 when its context is made.
TEST(CudaDevices, ThatAreNotWantedAreNotTouched) {
  const Opened opened =
      open(testing::two_fake_devices(), {.memory_error = 46},
           {.is_wanted = [](const DeviceInfo& info) { return info.name == "NVIDIA Fake 2"; },
            .on_message = [](const std::string& message) { ADD_FAILURE() << message; }});
  ASSERT_TRUE(opened.has_value());
  ASSERT_EQ(opened->size(), 1u);
  EXPECT_EQ((*opened)[0]->info().place.index, 1u);
  const Opened none =
      open(testing::two_fake_devices(), {}, {.is_wanted = [](const DeviceInfo&) { return false; }});
  ASSERT_TRUE(none.has_value());
  EXPECT_THAT(*none, IsEmpty());
}

// The messages of the others would come once from each rank of a host.
TEST(CudaDevices, AreSpokenOfByTheirOwnNumberAndOnlyWhereTheyAreWanted) {
  std::vector<CudaProperties> properties = testing::two_fake_devices();
  properties[1].pci_bus_id = "0000:fe:00.0";  // Which this machine does not tell about.
  for (const char* const wanted : {"NVIDIA Fake 1", "NVIDIA Fake 2"}) {
    std::vector<std::string> messages;
    const Opened opened =
        open(properties, {.describe_error = 101},
             {.is_wanted = [&](const DeviceInfo& info) { return info.name == wanted; },
              .on_message = [&](const std::string& message) { messages.push_back(message); }});
    ASSERT_FALSE(messages.empty());
    EXPECT_THAT(messages.front(), HasSubstr("a GPU is left out: "));
    messages.erase(messages.begin());
    if (wanted == properties[1].name) {
      EXPECT_THAT(messages, ElementsAre(HasSubstr("GPU 1 (0000:fe:00.0): the machine does not")));
    } else {
      EXPECT_THAT(messages, IsEmpty());
    }
  }
}

// The two devices as the management library lists them.
const std::vector<DriverDevice>& managed_devices() {
  static const std::vector<DriverDevice> devices = {
      {.uuid = "GPU-11111111-0000-0000-0000-000000000000"},
      {.uuid = "GPU-22111111-0000-0000-0000-000000000000"}};
  return devices;
}

TEST(CudaDevices, ThatTheVariablesLeaveToOthersAreNotThere) {
  for (const DeviceVariables& variables :
       {DeviceVariables{.slurm_job_gpus = "1"},
        {.nvidia_visible_devices = "GPU-22111111-0000-0000-0000-000000000000"}}) {
    // The first would answer 46 when its context is made.
    const Opened opened =
        open(testing::two_fake_devices(), {.memory_error = 46},
             {.variables = variables,
              .on_message = [](const std::string& message) { ADD_FAILURE() << message; }},
             managed_devices());
    ASSERT_TRUE(opened.has_value());
    ASSERT_EQ(opened->size(), 1u);
    EXPECT_EQ((*opened)[0]->info().name, "NVIDIA Fake 2");
    EXPECT_EQ((*opened)[0]->info().place.index, 0u);
  }
}

TEST(CudaDevices, ThatCudasVariableShowsAreThereWhateverOthersSay) {
  const Opened opened = open(testing::two_fake_devices(), {},
                             {.variables = {.cuda_visible_devices = "0",
                                            .slurm_job_gpus = "1",
                                            .nvidia_visible_devices = "none"}},
                             managed_devices());
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ(opened->size(), 2u);
}

TEST(CudaDevices, OfWhichTheManagementLibraryKnowsNothingAreThere) {
  const DeviceOptions options = {.variables = {.nvidia_visible_devices = "none"}};
  const Opened unknown = open(testing::two_fake_devices(), {}, options);
  ASSERT_TRUE(unknown.has_value());
  EXPECT_EQ(unknown->size(), 2u);
  const Opened one_known =
      open(testing::two_fake_devices(), {}, options, std::span(managed_devices()).first(1));
  ASSERT_TRUE(one_known.has_value());
  ASSERT_EQ(one_known->size(), 1u);
  EXPECT_EQ((*one_known)[0]->info().name, "NVIDIA Fake 2");
}

TEST(CudaDevices, AreNotThereWhenTheVariablesLeaveThemAllToOthers) {
  const Opened opened = open(testing::two_fake_devices(), {},
                             {.variables = {.nvidia_visible_devices = "none"}}, managed_devices());
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(opened.error().to_string(), HasSubstr("NVIDIA_VISIBLE_DEVICES"));
}

TEST(CudaDevices, TellWhatIsWrongWithTheVariables) {
  std::vector<std::string> messages;
  const Opened opened =
      open(testing::two_fake_devices(), {},
           {.variables = {.slurm_step_gpus = "h200"},
            .on_message = [&](const std::string& message) { messages.push_back(message); }},
           managed_devices());
  EXPECT_TRUE(opened.has_value());
  EXPECT_THAT(messages, ElementsAre(HasSubstr("SLURM_STEP_GPUS is 'h200'")));
}

TEST(CudaDevices, AreNotThereWhenAnotherProcessHasThemAll) {
  const Opened opened = open({testing::two_fake_devices()[0]}, {.memory_error = 46});
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(opened.error().to_string(), HasSubstr("another process has the device"));
}

TEST(CudaDevices, OfASliceHaveTheNameThatTheManagementLibraryGives) {
  const std::vector<DriverDevice> managed = {
      {.uuid = "GPU-aaaa"},
      {.uuid = "MIG-22111111-0000-0000-0000-000000000000", .mig_parent_uuid = "GPU-aaaa"}};
  const Opened opened = open(testing::two_fake_devices(), {}, {}, managed);
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ((*opened)[0]->info().uuid, "GPU-11111111-0000-0000-0000-000000000000");
  EXPECT_EQ((*opened)[0]->info().mig_parent_uuid, "");
  EXPECT_EQ((*opened)[1]->info().uuid, "MIG-22111111-0000-0000-0000-000000000000");
  EXPECT_EQ((*opened)[1]->info().mig_parent_uuid, "GPU-aaaa");
}

}  // namespace
}  // namespace pinion
