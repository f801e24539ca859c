#include "devices/mapped_gpu.hpp"

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "temporary_folder.hpp"

namespace pinion {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kNoLibrary = "libpinion-no-such-library.so.1";
constexpr const char* kWithUuids = "nvidia-dgx2-16xV100.xml";
constexpr const char* kNobodysDevice = "GPU 2 of the driver: this process may not use it";

std::string path_of(const std::string& file) {
  return std::string(PINION_TEST_DATA) + "/topologies/" + file;
}

Topology load(const std::string& file) {
  return Topology::from_xml(path_of(file)).value();
}

std::string text_of(const std::string& file) {
  std::ifstream stream(path_of(file));
  return {std::istreambuf_iterator<char>(stream), {}};
}

Topology topology_of(const std::string& text) {
  const TemporaryFolder folder;
  return Topology::from_xml(folder.write("machine.xml", text)).value();
}

// The machine as it is for a process that may use only the CPUs of `mask`.
Topology load_with_cpus(const std::string& file, const std::string& mask) {
  std::string text = text_of(file);
  constexpr std::string_view kAllowed = "allowed_cpuset=\"";
  const std::size_t begin = text.find(kAllowed) + kAllowed.size();
  text.replace(begin, text.find('"', begin) - begin, mask);
  return topology_of(text);
}

Topology load_without_uuids(const std::string& file) {
  std::string text = text_of(file);
  constexpr std::string_view kUuid = "NVIDIAUUID";
  for (std::size_t at = 0; (at = text.find(kUuid, at)) != std::string::npos;) {
    text.replace(at, kUuid.size(), "Other");
  }
  return topology_of(text);
}

std::vector<std::string> names_of(const GpuMapping& mapping) {
  std::vector<std::string> names;
  for (const MappedGpu& gpu : mapping.gpus) {
    names.push_back(gpu.visible_as);
  }
  return names;
}

// The driver of these tests shows a whole GPU, one with two slices, and one of somebody else; the
// machine has GPUs at the same places on the bus.
class MappedGpus : public ::testing::Test {
 protected:
  GpuMapping map(const DeviceVariables& variables) {
    const Result<GpuMapping> mapping =
        gpus_to_map("auto", topology_, GpuSources{variables, PINION_FAKE_NVML});
    EXPECT_TRUE(mapping.has_value()) << mapping.error().to_string();
    return mapping ? *mapping : GpuMapping();
  }

  const Topology topology_ = load(kWithUuids);
};

TEST_F(MappedGpus, AreThoseThatTheDriverLeavesThisProcess) {
  const GpuMapping mapping = map({});
  // Of a device that is divided CUDA opens the slices.
  EXPECT_THAT(names_of(mapping), ElementsAre("GPU-0a", "MIG-2c", "MIG-3d"));
  EXPECT_THAT(mapping.messages, ElementsAre(kNobodysDevice));
  EXPECT_EQ(mapping.gpus[0].bus_id, "0000:3b:00.0");
  EXPECT_EQ(mapping.gpus[2].bus_id, "0000:5e:00.0");
  for (const MappedGpu& gpu : mapping.gpus) {
    EXPECT_EQ(gpu.gpu.near_node, (Place{PlaceKind::kNuma, 0, 0})) << gpu.visible_as;
  }
  EXPECT_NE(mapping.gpus[1].gpu.place, mapping.gpus[2].gpu.place);
}

// By number, by the beginning of a UUID and by the name of a slice, in the order of the value.
TEST_F(MappedGpus, AreThoseOfCudasVariable) {
  EXPECT_THAT(names_of(map({.cuda_visible_devices = "MIG-3d,0"})), ElementsAre("MIG-3d", "GPU-0a"));
  EXPECT_THAT(names_of(map({.cuda_visible_devices = "GPU-1,GPU-0"})),
              ElementsAre("GPU-1b", "GPU-0a"));
  EXPECT_THAT(names_of(map({.cuda_visible_devices = "1", .slurm_job_gpus = "0"})),
              ElementsAre("GPU-1b"));
  EXPECT_THAT(map({.cuda_visible_devices = "0,7"}).messages,
              Contains(HasSubstr("'7' names no device")));
}

TEST_F(MappedGpus, AreThoseOfSlurmsVariables) {
  EXPECT_THAT(names_of(map({.slurm_job_gpus = "1"})), ElementsAre("MIG-2c", "MIG-3d"));
  EXPECT_THAT(names_of(map({.slurm_step_gpus = "0", .slurm_job_gpus = "0-1"})),
              ElementsAre("GPU-0a"));
}

// Its numbers are those of the host, and a control group leaves no more than it has named.
TEST_F(MappedGpus, AreAllThatAControlGroupLeft) {
  EXPECT_THAT(names_of(map({.slurm_job_gpus = "4,6"})), ElementsAre("GPU-0a", "MIG-2c", "MIG-3d"));
}

TEST_F(MappedGpus, AreThoseOfAContainersVariable) {
  EXPECT_THAT(names_of(map({.nvidia_visible_devices = "MIG-2c"})), ElementsAre("MIG-2c"));
}

TEST_F(MappedGpus, AreRefusedWhereNoneIsLeft) {
  const Result<GpuMapping> mapping =
      gpus_to_map("auto", topology_, GpuSources{{.cuda_visible_devices = ""}, PINION_FAKE_NVML});
  ASSERT_FALSE(mapping.has_value());
  EXPECT_EQ(mapping.error().code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(std::string(mapping.error().message()),
              AllOf(HasSubstr("CUDA_VISIBLE_DEVICES"), HasSubstr(kNobodysDevice),
                    HasSubstr("map by numa")));
  // As a program that is no user of CUDA may be told.
  EXPECT_FALSE(
      gpus_to_map("auto", topology_, GpuSources{{.nvidia_visible_devices = "none"}, kNoLibrary})
          .has_value());
}

TEST_F(MappedGpus, HaveNoNodeWhoseCpusMayNotBeUsed) {
  const Topology part = load_with_cpus(kWithUuids, "0x03000000");
  const GpuMapping mapping = gpus_to_map("auto", part, GpuSources{{}, PINION_FAKE_NVML}).value();
  ASSERT_THAT(mapping.gpus, SizeIs(3));
  EXPECT_EQ(mapping.gpus[0].gpu.near_node, std::nullopt);
  EXPECT_THAT(mapping.messages, Contains(HasSubstr("near it, this process may use none")));
}

// They may be of another maker, or the library that tells of them is not in the container.
TEST(MappedGpusWithoutADriver, AreThoseOfTheTopologyThatTheVariablesLeave) {
  const Topology topology = load(kWithUuids);
  const GpuMapping mapping =
      gpus_to_map("auto", topology, GpuSources{{.cuda_visible_devices = "8,0"}, kNoLibrary})
          .value();
  EXPECT_THAT(mapping.messages, IsEmpty());
  EXPECT_THAT(names_of(mapping), ElementsAre(topology.gpus()[8].uuid, topology.gpus()[0].uuid));
  EXPECT_EQ(mapping.gpus[0].gpu.place.index, 8u);
  EXPECT_EQ(mapping.gpus[0].gpu.near_node, (Place{PlaceKind::kNuma, 1, 0}));
}

// Numbers of the topology need not be those of CUDA.
TEST(MappedGpusWithoutADriver, HaveNoNameWhereTheTopologyTellsNoUuid) {
  const Topology topology = load_without_uuids(kWithUuids);
  const GpuMapping mapping =
      gpus_to_map("auto", topology, GpuSources{{.cuda_visible_devices = "8,0"}, kNoLibrary})
          .value();
  EXPECT_THAT(names_of(mapping), ElementsAre("", ""));
  EXPECT_EQ(mapping.gpus[0].bus_id, topology.gpus()[8].bus_id);
}

TEST(MappedGpusWithoutADriver, ComeWithWhatIsWrongWithIt) {
  const GpuMapping mapping =
      gpus_to_map("auto", load(kWithUuids), GpuSources{{}, PINION_FAKE_NVML_BROKEN}).value();
  EXPECT_THAT(mapping.gpus, SizeIs(16));
  EXPECT_THAT(mapping.messages, ElementsAre(HasSubstr("words of the driver")));
}

TEST(MappedGpusOfARecordedMachine, AreAllOfIt) {
  const GpuMapping mapping = gpus_to_map("auto", load(kWithUuids), std::nullopt).value();
  EXPECT_THAT(mapping.gpus, SizeIs(16));
  EXPECT_THAT(mapping.messages, IsEmpty());
  EXPECT_THAT(gpus_to_map("auto", load("cxlmem-dax-qemu.xml"), std::nullopt)->gpus, IsEmpty());
}

TEST(MappedGpusOfAnEmulation, AreDealtToTheNodesInTurnUnlessTheMachineHasThem) {
  const Topology topology = load("generated-8xH200-snc2-4numa.xml");
  const GpuMapping dealt = gpus_to_map("emu:6", topology, std::nullopt).value();
  ASSERT_THAT(dealt.gpus, SizeIs(6));
  EXPECT_EQ(dealt.gpus[5].gpu.near_node->index, 1u);
  EXPECT_EQ(dealt.gpus[5].visible_as, "");
  const GpuMapping machines = gpus_to_map("emu:auto", topology, std::nullopt).value();
  ASSERT_THAT(machines.gpus, SizeIs(8));
  EXPECT_EQ(machines.gpus[5].gpu.near_node->index, 2u);
}

}  // namespace
}  // namespace pinion
