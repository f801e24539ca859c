#include <pinion/numa/topology.hpp>

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <thread>

#include <gmock/gmock.h>

#include "recorded_machines.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::load;
using testing::RecordedMachine;

// Node 1 is memory only. The affinity of whoever recorded it allows the CPUs 1 to 3.
constexpr const char* kMachineWithABareNode = R"(<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
  <object type="Machine" os_index="0" cpuset="0xf" complete_cpuset="0xf" allowed_cpuset="0xe"
          nodeset="0x3" complete_nodeset="0x3" allowed_nodeset="0x1" gp_index="1">
    <object type="NUMANode" os_index="1" cpuset="0x0" complete_cpuset="0x0" nodeset="0x2"
            complete_nodeset="0x2" gp_index="2" local_memory="2147483648"/>
    <object type="Package" os_index="0" cpuset="0xf" complete_cpuset="0xf" nodeset="0x1"
            complete_nodeset="0x1" gp_index="3">
      <object type="NUMANode" os_index="0" cpuset="0xf" complete_cpuset="0xf" nodeset="0x1"
              complete_nodeset="0x1" gp_index="4" local_memory="1073741824"/>
      <object type="Core" os_index="0" cpuset="0x5" complete_cpuset="0x5" nodeset="0x1"
              complete_nodeset="0x1" gp_index="5">
        <object type="PU" os_index="0" cpuset="0x1" complete_cpuset="0x1" nodeset="0x1"
                complete_nodeset="0x1" gp_index="6"/>
        <object type="PU" os_index="2" cpuset="0x4" complete_cpuset="0x4" nodeset="0x1"
                complete_nodeset="0x1" gp_index="7"/>
      </object>
      <object type="Core" os_index="1" cpuset="0xa" complete_cpuset="0xa" nodeset="0x1"
              complete_nodeset="0x1" gp_index="8">
        <object type="PU" os_index="1" cpuset="0x2" complete_cpuset="0x2" nodeset="0x1"
                complete_nodeset="0x1" gp_index="9"/>
        <object type="PU" os_index="3" cpuset="0x8" complete_cpuset="0x8" nodeset="0x1"
                complete_nodeset="0x1" gp_index="10"/>
      </object>
    </object>
  </object>
</topology>
)";

class RecordedTopology : public ::testing::TestWithParam<RecordedMachine> {};

TEST_P(RecordedTopology, HasWhatItsReadmeSays) {
  const RecordedMachine& expected = GetParam();
  const Topology topology = load(expected.file);
  EXPECT_EQ(topology.package_count(), expected.package_count);
  EXPECT_EQ(topology.nodes().size(), expected.node_count);
  EXPECT_EQ(topology.core_count(), expected.core_count);
  EXPECT_EQ(topology.cpu_count(), expected.cpu_count);
  EXPECT_EQ(topology.gpus().size(), expected.gpu_count);
  EXPECT_EQ(std::count_if(topology.nodes().begin(), topology.nodes().end(),
                          [](const NumaNode& node) { return node.cpus.empty(); }),
            static_cast<std::ptrdiff_t>(expected.memory_only_count));
}

TEST_P(RecordedTopology, IsForPlanningOnlyAndWholeUsable) {
  const Topology topology = load(GetParam().file);
  EXPECT_FALSE(topology.is_this_machine());
  EXPECT_EQ(topology.usable_cpu_count(), topology.cpu_count());
  EXPECT_EQ(topology.worker_count_max(), topology.cpu_count());
  EXPECT_EQ(topology.cpu_quota(), std::nullopt);
}

TEST_P(RecordedTopology, GivesEveryCpuToOneNodeAndKeepsCoresTogether) {
  const Topology topology = load(GetParam().file);
  std::set<unsigned> seen;
  std::set<unsigned> cores;
  std::size_t index = 0;
  for (const NumaNode& node : topology.nodes()) {
    EXPECT_EQ(node.place, (Place{PlaceKind::kNuma, static_cast<std::uint16_t>(index++), 0}));
    std::set<unsigned> node_cores;
    unsigned previous = 0;
    for (const unsigned cpu : node.cpus) {
      EXPECT_TRUE(seen.insert(cpu).second) << "CPU " << cpu << " is in two nodes";
      const unsigned core = topology.core_of(cpu);
      EXPECT_TRUE(node_cores.insert(core).second || core == previous) << "core " << core;
      previous = core;
    }
    EXPECT_EQ(node.core_count, node_cores.size());
    cores.insert(node_cores.begin(), node_cores.end());
  }
  EXPECT_EQ(seen.size(), topology.cpu_count());
  EXPECT_EQ(cores.size(), topology.core_count());
}

TEST_P(RecordedTopology, ListsEveryGpuOnceNearANodeWithCpus) {
  const Topology topology = load(GetParam().file);
  std::set<std::string> bus_ids;
  for (const GpuInfo& gpu : topology.gpus()) {
    EXPECT_TRUE(bus_ids.insert(gpu.bus_id).second) << gpu.bus_id;
    EXPECT_EQ(gpu.place.kind, PlaceKind::kDevice);
    EXPECT_EQ(gpu.place.index, bus_ids.size() - 1);
    EXPECT_FALSE(gpu.name.empty());
    ASSERT_TRUE(gpu.near_node.has_value());
    EXPECT_FALSE(topology.nodes()[gpu.near_node->index].cpus.empty());
  }
}

INSTANTIATE_TEST_SUITE_P(All, RecordedTopology, ::testing::ValuesIn(testing::kRecordedMachines),
                         testing::case_name);

TEST(Topology, HasLogicalIndexesWhereTheSystemsNumbersHaveGaps) {
  const Topology topology = load("llnl-lassen-p9-4xV100.xml");
  EXPECT_EQ(topology.nodes()[0].os_index, 0u);
  EXPECT_EQ(topology.nodes()[1].os_index, 8u);
  EXPECT_EQ(topology.nodes()[1].place.index, 1u);
  EXPECT_EQ(topology.nodes()[1].package, 1u);
  EXPECT_EQ(topology.gpus()[2].near_node, topology.nodes()[1].place);
}

TEST(Topology, GivesTheCpusOfTwoNodesToTheDram) {
  const Topology topology = load("knl-snc4-flat-mcdram-8numa.xml");
  for (const NumaNode& node : topology.nodes()) {
    EXPECT_EQ(node.cpus.empty(), node.memory_kind == "MCDRAM") << node.place.index;
  }
}

TEST(Topology, TellsBigCoresFromSmallOnes) {
  const Topology topology = load("intel-hybrid-6P8E.xml");
  std::map<unsigned, int> cpus_of_core;
  for (const unsigned cpu : topology.nodes()[0].cpus) {
    ++cpus_of_core[topology.core_of(cpu)];
  }
  EXPECT_EQ(std::count_if(cpus_of_core.begin(), cpus_of_core.end(),
                          [](const auto& core) { return core.second == 2; }),
            6);
}

TEST_P(RecordedTopology, HasEveryCpuInOneKind) {
  const Topology topology = load(GetParam().file);
  std::vector<unsigned> cpus;
  for (const CpuKind& kind : topology.cpu_kinds()) {
    EXPECT_FALSE(kind.cpus.empty());
    cpus.insert(cpus.end(), kind.cpus.begin(), kind.cpus.end());
  }
  std::sort(cpus.begin(), cpus.end());
  EXPECT_EQ(cpus, topology.cpus());
}

TEST_P(RecordedTopology, ListsEveryNetworkAdapterOnceAndNoGpuAmongThem) {
  const Topology topology = load(GetParam().file);
  std::set<std::string> bus_ids;
  for (const GpuInfo& gpu : topology.gpus()) {
    bus_ids.insert(gpu.bus_id);
  }
  for (const NicInfo& nic : topology.nics()) {
    EXPECT_TRUE(bus_ids.insert(nic.bus_id).second) << nic.bus_id;
    EXPECT_FALSE(nic.name.empty());
  }
}

TEST(Topology, OrdersTheKindsOfCoresFromEfficientToFast) {
  const Topology topology = load("intel-hybrid-6P8E.xml");
  ASSERT_EQ(topology.cpu_kinds().size(), 2u);
  EXPECT_EQ(topology.cpu_kinds()[0].cpus.size(), 8u);
  EXPECT_EQ(topology.cpu_kinds()[0].efficiency, 0u);
  EXPECT_EQ(topology.cpu_kinds()[1].cpus.size(), 12u);
  EXPECT_EQ(topology.cpu_kinds()[1].efficiency, 1u);
}

TEST(Topology, JoinsTheFacesOfANetworkAdapter) {
  const Topology topology = load("llnl-lassen-p9-4xV100.xml");
  const NicInfo& nic = topology.nics().back();
  EXPECT_EQ(nic.bus_id, "0033:01:00.1");
  EXPECT_THAT(nic.interfaces, ElementsAre("hsi3", "mlx5_3"));
  EXPECT_EQ(nic.near_node, topology.nodes()[1].place);
}

TEST(Topology, FindsTheMemoryThatIsNearest) {
  const TemporaryFolder folder;
  const Topology bare = Topology::from_xml(folder.write("bare.xml", kMachineWithABareNode)).value();
  for (const NumaNode& node : bare.nodes()) {
    const Place memory = bare.nearest_memory({PlaceKind::kNuma, node.place.index, 5});
    EXPECT_EQ(bare.nodes()[memory.index].os_index, 0u);
    EXPECT_EQ(memory.host, 5u);
  }
  const Topology whole = load("fake-heteromem-tiers-7numa.xml");
  for (const NumaNode& node : whole.nodes()) {
    EXPECT_EQ(whole.nearest_memory(node.place), node.place);
  }
}

TEST(Topology, JoinsTheFacesOfAGpuByItsBusId) {
  const Topology topology = load("power8-4xP100.xml");
  const GpuInfo& gpu = topology.gpus()[2];
  EXPECT_EQ(gpu.bus_id, "000a:01:00.0");
  EXPECT_EQ(gpu.name, "Tesla P100-SXM2-16GB");
  EXPECT_THAT(gpu.uuid, HasSubstr("GPU-"));
  EXPECT_EQ(gpu.near_node, topology.nodes()[1].place);
}

// As under a job scheduler that gave us the cores of the other package.
TEST(Topology, KeepsAGpuNearItsNodeWhenTheCpusThereAreNotOurs) {
  std::ifstream whole(testing::path_of("power8-4xP100.xml"));
  std::string text(std::istreambuf_iterator<char>(whole), {});
  constexpr std::string_view kAllowed = "allowed_cpuset=\"";
  const std::size_t begin = text.find(kAllowed) + kAllowed.size();
  ASSERT_NE(text.find(kAllowed), std::string::npos);
  text.replace(begin, text.find('"', begin) - begin, "0x3");
  const TemporaryFolder folder;
  const Topology topology = Topology::from_xml(folder.write("part.xml", text)).value();
  EXPECT_THAT(topology.usable_cpus(), ElementsAre(0, 1));
  EXPECT_TRUE(topology.nodes()[1].usable_cpus.empty());
  EXPECT_FALSE(topology.nodes()[1].cpus.empty());
  EXPECT_EQ(topology.gpus()[0].near_node, topology.nodes()[0].place);
  EXPECT_EQ(topology.gpus()[2].near_node, topology.nodes()[1].place);
}

TEST(Topology, KnowsDistancesWhereTheMachineTellsThem) {
  const Topology known = load("llnl-lassen-p9-4xV100.xml");
  EXPECT_EQ(known.distance(0, 0), 10u);
  EXPECT_EQ(known.distance(0, 1), 40u);
  const Topology unknown = load("generated-8xH200-snc2-4numa.xml");
  EXPECT_EQ(unknown.distance(0, 1), std::nullopt);
}

TEST(Topology, HasNodesWithoutCpusAndCpusThatAreNotAllowed) {
  const TemporaryFolder folder;
  const Topology topology =
      Topology::from_xml(folder.write("bare.xml", kMachineWithABareNode)).value();
  ASSERT_EQ(topology.nodes().size(), 2u);
  EXPECT_EQ(topology.usable_cpu_count(), 3u);
  EXPECT_EQ(topology.worker_count_max(), 3u);

  const auto bare = std::find_if(topology.nodes().begin(), topology.nodes().end(),
                                 [](const NumaNode& node) { return node.os_index == 1; });
  ASSERT_NE(bare, topology.nodes().end());
  EXPECT_TRUE(bare->cpus.empty());
  EXPECT_EQ(bare->core_count, 0u);
  EXPECT_FALSE(bare->memory_usable);
  EXPECT_EQ(bare->package, std::nullopt);
  EXPECT_EQ(bare->memory_bytes, 2u << 30);

  const NumaNode& full = topology.nodes()[bare->place.index == 0 ? 1 : 0];
  EXPECT_THAT(full.cpus, ElementsAre(0, 2, 1, 3));
  EXPECT_THAT(full.usable_cpus, ElementsAre(2, 1, 3));
  EXPECT_TRUE(full.memory_usable);
}

TEST(Topology, RefusesAMissingFile) {
  const auto topology = Topology::from_xml("/nowhere/machine.xml");
  ASSERT_FALSE(topology);
  EXPECT_EQ(topology.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(topology.error().message()), HasSubstr("/nowhere/machine.xml"));
}

TEST(Topology, RefusesAFolder) {
  const TemporaryFolder folder;
  const auto topology = Topology::from_xml(folder.path());
  ASSERT_FALSE(topology);
  EXPECT_EQ(topology.error().code(), ErrorCode::kInvalidArgument);
}

TEST(Topology, RefusesAFileThatIsNotATopology) {
  const TemporaryFolder folder;
  for (const char* text : {"", "no XML at all\n", "<?xml version=\"1.0\"?><html/>\n"}) {
    const auto topology = Topology::from_xml(folder.write("file.xml", text));
    ASSERT_FALSE(topology) << text;
    EXPECT_EQ(topology.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(std::string(topology.error().message()), HasSubstr("no <topology> element"));
  }
}

TEST(Topology, RefusesAFileThatIsCutShort) {
  const TemporaryFolder folder;
  std::ifstream whole(testing::path_of("power8-4xP100.xml"));
  std::string text(std::istreambuf_iterator<char>(whole), {});
  ASSERT_GT(text.size(), 5000u);
  ::testing::internal::CaptureStderr();
  const auto topology = Topology::from_xml(folder.write("cut.xml", text.substr(0, 5000)));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  ASSERT_FALSE(topology);
  EXPECT_EQ(topology.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(std::string(topology.error().message()), HasSubstr("cut short"));
}

TEST(Topology, RefusesAFormatThatIsYoungerThanTheLibrary) {
  const TemporaryFolder folder;
  ::testing::internal::CaptureStderr();
  const auto topology =
      Topology::from_xml(folder.write("young.xml", "<topology version=\"99.1\"></topology>\n"));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  ASSERT_FALSE(topology);
  EXPECT_EQ(topology.error().code(), ErrorCode::kUnimplemented);
  EXPECT_THAT(std::string(topology.error().message()), HasSubstr("hwloc 99.1"));
}

TEST(Topology, OfThisMachineHasANodeAndAUsableCpu) {
  const Topology topology = Topology::of_this_machine().value();
  EXPECT_TRUE(topology.is_this_machine());
  EXPECT_GE(topology.nodes().size(), 1u);
  EXPECT_GE(topology.usable_cpu_count(), 1u);
  EXPECT_LE(topology.usable_cpu_count(), topology.cpu_count());
  EXPECT_GE(topology.worker_count_max(), 1u);
  EXPECT_LE(topology.worker_count_max(), topology.usable_cpu_count());
}

TEST(Topology, OfThisMachineIsTheSameWithoutItsDevices) {
  const Topology whole = Topology::of_this_machine().value();
  const Topology bare = Topology::of_this_machine(DeviceSearch::kNone).value();
  EXPECT_TRUE(bare.is_this_machine());
  EXPECT_TRUE(bare.gpus().empty());
  EXPECT_TRUE(bare.nics().empty());
  EXPECT_EQ(bare.usable_cpus(), whole.usable_cpus());
  EXPECT_EQ(bare.core_count(), whole.core_count());
  EXPECT_EQ(bare.package_count(), whole.package_count());
  ASSERT_EQ(bare.nodes().size(), whole.nodes().size());
  for (std::size_t i = 0; i < whole.nodes().size(); ++i) {
    EXPECT_EQ(bare.nodes()[i].place, whole.nodes()[i].place);
    EXPECT_EQ(bare.nodes()[i].cpus, whole.nodes()[i].cpus);
  }
}

TEST(Topology, OfThisMachineUsesOnlyWhatTheAffinityMaskHolds) {
  const Topology whole = Topology::of_this_machine().value();
  unsigned cpu = 0;
  for (const NumaNode& node : whole.nodes()) {
    if (!node.usable_cpus.empty()) {
      cpu = node.usable_cpus.back();
    }
  }
  std::vector<unsigned> usable;
  std::thread narrow([&] {
    cpu_set_t* mask = CPU_ALLOC(cpu + 1);
    CPU_ZERO_S(CPU_ALLOC_SIZE(cpu + 1), mask);
    CPU_SET_S(cpu, CPU_ALLOC_SIZE(cpu + 1), mask);
    ASSERT_EQ(sched_setaffinity(0, CPU_ALLOC_SIZE(cpu + 1), mask), 0);
    CPU_FREE(mask);
    const Topology topology = Topology::of_this_machine().value();
    EXPECT_EQ(topology.cpu_count(), whole.cpu_count());
    EXPECT_EQ(topology.worker_count_max(), 1u);
    for (const NumaNode& node : topology.nodes()) {
      usable.insert(usable.end(), node.usable_cpus.begin(), node.usable_cpus.end());
    }
  });
  narrow.join();
  EXPECT_THAT(usable, ElementsAre(cpu));
}

TEST(Topology, OfThisMachineRefusesAnotherOneFromTheEnvironment) {
  ASSERT_EQ(setenv("HWLOC_XMLFILE", testing::path_of("power8-4xP100.xml").c_str(), 1), 0);
  const auto topology = Topology::of_this_machine();
  ASSERT_EQ(unsetenv("HWLOC_XMLFILE"), 0);
  ASSERT_FALSE(topology);
  EXPECT_EQ(topology.error().code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(std::string(topology.error().message()), HasSubstr("HWLOC_XMLFILE"));
}

}  // namespace
}  // namespace pinion
