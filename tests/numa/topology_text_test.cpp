#include <fstream>
#include <iterator>
#include <string>

#include <gmock/gmock.h>

#include <pinion/numa/topology.hpp>

#include "recorded_machines.hpp"

namespace pinion {
namespace {

using ::testing::HasSubstr;

// After a wanted change of the form, read the difference, then write the files anew with
// `pinion topo FILE.xml`.
std::string golden(const std::string& file) {
  std::ifstream in(std::string(PINION_NUMA_GOLDEN) + "/" + file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(TopologyText, DrawsGpusAndDistancesAsRecorded) {
  const Topology topology = testing::load("llnl-lassen-p9-4xV100.xml");
  EXPECT_EQ(topology.to_tree(), golden("llnl-lassen-p9-4xV100.tree"));
}

TEST(TopologyText, DrawsMemoryOnlyNodesAsRecorded) {
  const Topology topology = testing::load("knl-snc4-flat-mcdram-8numa.xml");
  EXPECT_EQ(topology.to_tree(), golden("knl-snc4-flat-mcdram-8numa.tree"));
}

TEST(TopologyText, WritesGpusAndDistancesAsJson) {
  const Topology topology = testing::load("llnl-lassen-p9-4xV100.xml");
  EXPECT_EQ(topology.to_json(), golden("llnl-lassen-p9-4xV100.json"));
}

TEST(TopologyText, WritesMemoryOnlyNodesAsJson) {
  const Topology topology = testing::load("knl-snc4-flat-mcdram-8numa.xml");
  EXPECT_EQ(topology.to_json(), golden("knl-snc4-flat-mcdram-8numa.json"));
}

TEST(TopologyText, SaysWhetherTheMachineIsThisOne) {
  const Topology topology = Topology::of_this_machine().value();
  EXPECT_THAT(topology.to_tree(), HasSubstr("this machine\n"));
  EXPECT_THAT(topology.to_json(), HasSubstr("\"planning_only\": false"));
}

}  // namespace
}  // namespace pinion
