#include <pinion/numa/placement.hpp>

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <string>

#include <gmock/gmock.h>

#include "place_within.hpp"
#include "recorded_machines.hpp"

namespace pinion {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::load;
using testing::RecordedMachine;

std::size_t worker_count(const RankPlacement& rank) {
  return std::accumulate(
      rank.groups.begin(), rank.groups.end(), std::size_t{0},
      [](std::size_t sum, const WorkerGroup& group) { return sum + group.worker_count; });
}

// Rank counts at which something may break: around 1, the nodes, the cores and the CPUs.
std::set<std::uint32_t> rank_counts(const Topology& topology) {
  std::set<std::uint32_t> counts;
  for (const std::size_t middle :
       {std::size_t{2}, topology.nodes().size(), topology.core_count(), topology.cpu_count()}) {
    for (std::size_t count = middle - 1; count <= middle + 1; ++count) {
      counts.insert(static_cast<std::uint32_t>(std::max<std::size_t>(1, count)));
    }
  }
  counts.insert({5, 7});
  return counts;
}

// All requests worth trying on one machine.
std::vector<PlacementRequest> requests(const Topology& topology) {
  std::vector<PlacementRequest> all;
  for (const std::uint32_t ranks : rank_counts(topology)) {
    for (const std::size_t workers : {std::size_t{0}, std::size_t{1}, std::size_t{2},
                                      std::size_t{3}, topology.cpu_count() / ranks}) {
      for (const MapBy map_by : {MapBy::kCore, MapBy::kNuma, MapBy::kPackage, MapBy::kGpu}) {
        if (map_by == MapBy::kGpu && topology.gpus().empty()) {
          continue;
        }
        all.push_back({.rank_count = ranks, .workers_per_rank = workers, .map_by = map_by});
      }
    }
  }
  return all;
}

std::string words_of(const PlacementRequest& request) {
  return std::to_string(request.rank_count) + " ranks of " +
         std::to_string(request.workers_per_rank) + " workers, mapped by way " +
         std::to_string(static_cast<int>(request.map_by));
}

bool fits(const PlacementRequest& request, std::size_t limit) {
  return request.rank_count * std::max<std::size_t>(1, request.workers_per_rank) <= limit;
}

// Whether every rank can lie inside one node.
bool fits_into_nodes(const Topology& topology, const PlacementRequest& request) {
  std::size_t room = 0;
  std::size_t nodes = 0;
  for (const NumaNode& node : topology.nodes()) {
    room += node.usable_cpus.size() / std::max<std::size_t>(1, request.workers_per_rank);
    nodes += node.usable_cpus.empty() ? 0 : 1;
  }
  return request.rank_count >= nodes && request.rank_count <= room;
}

// What holds for every bound placement that fits: returns the CPUs that are used.
std::set<unsigned> check_bound(const Topology& topology, const std::vector<RankPlacement>& ranks) {
  std::set<unsigned> used;
  for (const RankPlacement& rank : ranks) {
    EXPECT_GE(worker_count(rank), 1u);
    std::set<Place> places;
    for (const WorkerGroup& group : rank.groups) {
      EXPECT_TRUE(places.insert(group.place).second) << "a place twice in one rank";
      EXPECT_EQ(group.worker_count, group.cpus.size());
      const std::vector<unsigned>& usable = topology.nodes()[group.place.index].usable_cpus;
      for (const unsigned cpu : group.cpus) {
        EXPECT_TRUE(used.insert(cpu).second) << "CPU " << cpu << " twice";
        EXPECT_NE(std::find(usable.begin(), usable.end(), cpu), usable.end()) << cpu;
      }
    }
  }
  return used;
}

class RecordedPlacement : public ::testing::TestWithParam<RecordedMachine> {};

TEST_P(RecordedPlacement, GivesEveryRankItsOwnCpusOrSaysThatThereAreTooFew) {
  const Topology topology = load(GetParam().file);
  for (const PlacementRequest& request : requests(topology)) {
    SCOPED_TRACE(words_of(request));
    const auto ranks = place_ranks(topology, request);
    ASSERT_EQ(ranks.has_value(), fits(request, topology.cpu_count()));
    if (!ranks) {
      EXPECT_EQ(ranks.error().code(), ErrorCode::kResourceExhausted);
      continue;
    }
    ASSERT_EQ(ranks->size(), request.rank_count);
    const std::set<unsigned> used = check_bound(topology, *ranks);
    if (request.workers_per_rank == 0) {
      // Nodes that are near no GPU have no rank.
      EXPECT_TRUE(used.size() == topology.cpu_count() || request.map_by == MapBy::kGpu);
    } else {
      for (const RankPlacement& rank : *ranks) {
        EXPECT_EQ(worker_count(rank), request.workers_per_rank);
      }
    }
  }
}

TEST_P(RecordedPlacement, KeepsARankInsideANodeWherePossible) {
  const Topology topology = load(GetParam().file);
  for (const PlacementRequest& request : requests(topology)) {
    if (request.map_by == MapBy::kNuma && fits_into_nodes(topology, request)) {
      SCOPED_TRACE(words_of(request));
      const std::vector<RankPlacement> ranks = place_ranks(topology, request).value();
      for (const RankPlacement& rank : ranks) {
        EXPECT_EQ(rank.groups.size(), 1u);
      }
    }
  }
}

TEST_P(RecordedPlacement, DividesEvenlyByCores) {
  const Topology topology = load(GetParam().file);
  std::size_t core_size = 0;
  for (const NumaNode& node : topology.nodes()) {
    for (const unsigned cpu : node.cpus) {
      core_size = std::max<std::size_t>(
          core_size, static_cast<std::size_t>(
                         std::count_if(node.cpus.begin(), node.cpus.end(), [&](unsigned other) {
                           return topology.core_of(other) == topology.core_of(cpu);
                         })));
    }
  }
  for (const std::uint32_t count : rank_counts(topology)) {
    if (count > topology.cpu_count()) {
      continue;
    }
    SCOPED_TRACE(count);
    std::size_t least = topology.cpu_count();
    std::size_t most = 0;
    const std::vector<RankPlacement> ranks =
        place_ranks(topology, {.rank_count = count, .map_by = MapBy::kCore}).value();
    for (const RankPlacement& rank : ranks) {
      least = std::min(least, worker_count(rank));
      most = std::max(most, worker_count(rank));
    }
    EXPECT_LE(most - least, core_size);
  }
}

TEST_P(RecordedPlacement, NeverExceedsALimitOnWorkers) {
  const Topology topology = load(GetParam().file);
  const std::size_t limit = std::max<std::size_t>(1, topology.cpu_count() / 3);
  for (const PlacementRequest& request : requests(topology)) {
    SCOPED_TRACE(words_of(request));
    const auto ranks = place_ranks_within(topology, request, limit);
    ASSERT_EQ(ranks.has_value(), fits(request, limit));
    if (ranks) {
      EXPECT_LE(check_bound(topology, *ranks).size(), limit);
    }
  }
}

TEST_P(RecordedPlacement, SharesCpusInTurnWhenThatIsAllowed) {
  const Topology topology = load(GetParam().file);
  for (PlacementRequest request : requests(topology)) {
    SCOPED_TRACE(words_of(request));
    request.allow_oversubscription = true;
    const auto ranks = place_ranks(topology, request);
    ASSERT_TRUE(ranks) << ranks.error().to_string();
    ASSERT_EQ(ranks->size(), request.rank_count);
    for (const RankPlacement& rank : *ranks) {
      EXPECT_GE(worker_count(rank), std::max<std::size_t>(1, request.workers_per_rank));
      for (const WorkerGroup& group : rank.groups) {
        EXPECT_GE(group.worker_count, group.cpus.size());
        EXPECT_THAT(group.cpus, Not(IsEmpty()));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, RecordedPlacement, ::testing::ValuesIn(testing::kRecordedMachines),
                         testing::case_name);

TEST_P(RecordedPlacement, UsesOnlyTheCpusThatAreAskedFor) {
  const Topology topology = load(GetParam().file);
  std::vector<unsigned> some;  // Every third CPU, at least one.
  for (const unsigned cpu : topology.cpus()) {
    if (cpu % 3 == 0) {
      some.push_back(cpu);
    }
  }
  for (PlacementRequest request : requests(topology)) {
    SCOPED_TRACE(words_of(request));
    request.cpus = some;
    const auto ranks = place_ranks(topology, request);
    ASSERT_EQ(ranks.has_value(), fits(request, some.size()));
    if (!ranks) {
      EXPECT_EQ(ranks.error().code(), ErrorCode::kResourceExhausted);
      continue;
    }
    for (const unsigned cpu : check_bound(topology, *ranks)) {
      EXPECT_TRUE(std::binary_search(some.begin(), some.end(), cpu)) << cpu;
    }
  }
}

TEST(Placement, RefusesCpusThatAreNotThere) {
  const Topology topology = load("llnl-lassen-p9-4xV100.xml");
  const auto ranks = place_ranks(topology, {.cpus = {8, 7}});
  ASSERT_FALSE(ranks);
  EXPECT_EQ(ranks.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(ranks.error().to_string(), HasSubstr("no CPU 7; it has 8-87,96-175"));
}

TEST(Placement, GivesOneRankAGroupOnEveryNodeWithCpus) {
  const Topology topology = load("knl-snc4-flat-mcdram-8numa.xml");
  const auto ranks = place_ranks(topology, {.rank_count = 1, .host = 7}).value();
  ASSERT_EQ(ranks[0].groups.size(), 4u);
  for (std::uint16_t i = 0; i < 4; ++i) {
    const auto node = static_cast<std::uint16_t>(2 * i);
    EXPECT_EQ(ranks[0].groups[i].place, (Place{PlaceKind::kNuma, node, 7}));
    EXPECT_EQ(ranks[0].groups[i].cpus.size(), topology.nodes()[node].cpus.size());
  }
}

TEST(Placement, DealsRanksToNodesInTurn) {
  const Topology topology = load("aws-g4dn-metal-8xT4.xml");
  const auto ranks = place_ranks(topology, {.rank_count = 5}).value();
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    ASSERT_EQ(ranks[rank].groups.size(), 1u);
    EXPECT_EQ(ranks[rank].groups[0].place.index, rank % 2);
  }
  EXPECT_EQ(worker_count(ranks[0]), 16u);
  EXPECT_EQ(worker_count(ranks[1]), 24u);
}

TEST(Placement, DealsNodesToRanksWhenThereAreMoreNodes) {
  const Topology topology = load("generated-8xH200-snc2-4numa.xml");
  const auto ranks = place_ranks(topology, {.rank_count = 2}).value();
  ASSERT_EQ(ranks[1].groups.size(), 2u);
  EXPECT_EQ(ranks[1].groups[0].place.index, 2u);
  EXPECT_EQ(ranks[1].groups[1].place.index, 3u);
  EXPECT_EQ(worker_count(ranks[1]), 56u);
}

TEST(Placement, GivesNeighbouringCoresWhole) {
  const Topology topology = load("power8-4xP100.xml");
  const auto ranks = place_ranks(topology, {.rank_count = 4, .map_by = MapBy::kCore}).value();
  EXPECT_THAT(ranks[0].groups[0].cpus, ElementsAre(0, 8, 1, 9));
  EXPECT_THAT(ranks[1].groups[0].cpus, ElementsAre(16, 24, 17, 25));
  EXPECT_EQ(ranks[2].groups[0].place.index, 1u);
}

TEST(Placement, UsesEveryCoreBeforeAnyTwice) {
  const Topology topology = load("power8-4xP100.xml");
  const auto ranks = place_ranks(topology, {.rank_count = 2, .workers_per_rank = 5}).value();
  EXPECT_THAT(ranks[0].groups[0].cpus, ElementsAre(0, 8, 16, 24, 1));
}

TEST(Placement, CrossesNodesOnlyForARankThatIsTooBig) {
  const Topology topology = load("nvidia-dgx2-16xV100.xml");
  const auto ranks = place_ranks(topology, {.rank_count = 1, .workers_per_rank = 3}).value();
  ASSERT_EQ(ranks[0].groups.size(), 2u);
  EXPECT_THAT(ranks[0].groups[0].cpus, ElementsAre(0, 1));
  EXPECT_THAT(ranks[0].groups[1].cpus, ElementsAre(24));
}

TEST(Placement, NamesTheNumbersAndTheOptionWhenCpusAreTooFew) {
  const Topology topology = load("cxlmem-dax-qemu.xml");
  const auto ranks = place_ranks(topology, {.rank_count = 3, .workers_per_rank = 2});
  ASSERT_FALSE(ranks);
  EXPECT_THAT(std::string(ranks.error().message()),
              HasSubstr("3 ranks with 2 workers each need 6 CPUs; 4 are available"));
  EXPECT_THAT(std::string(ranks.error().message()), HasSubstr("--oversubscribe"));
}

TEST(Placement, RepeatsTheCpusForMoreRanksThanThereAre) {
  const Topology topology = load("nvidia-dgx2-16xV100.xml");
  const PlacementRequest request = {.rank_count = 6, .allow_oversubscription = true};
  const auto ranks = place_ranks(topology, request).value();
  std::vector<unsigned> cpus;
  for (const RankPlacement& rank : ranks) {
    cpus.push_back(rank.groups.at(0).cpus.at(0));
  }
  EXPECT_THAT(cpus, ElementsAre(0, 24, 1, 25, 0, 24));
}

TEST(Placement, LeavesWorkersFreeWhenTheyAreNotToBeBound) {
  const Topology topology = load("aws-g4dn-metal-8xT4.xml");
  const auto ranks = place_ranks(topology, {.rank_count = 2, .bind_to = BindTo::kNone}).value();
  EXPECT_THAT(ranks[1].groups[0].cpus, IsEmpty());
  EXPECT_EQ(ranks[1].groups[0].worker_count, 48u);
}

TEST(Placement, KeepsARankInsideAPackage) {
  const Topology topology = load("generated-8xH200-snc2-4numa.xml");
  const auto two = place_ranks(topology, {.rank_count = 2, .map_by = MapBy::kPackage}).value();
  ASSERT_EQ(two[1].groups.size(), 2u);
  EXPECT_EQ(two[1].groups[0].place.index, 2u);
  EXPECT_EQ(two[1].groups[1].place.index, 3u);
  const PlacementRequest request = {
      .rank_count = 4, .workers_per_rank = 28, .map_by = MapBy::kPackage};
  const auto four = place_ranks(topology, request).value();
  // In turn, where by NUMA node it would be 0, 1, 2 and 3.
  for (std::size_t rank = 0; rank < four.size(); ++rank) {
    ASSERT_EQ(four[rank].groups.size(), 1u) << rank;
    EXPECT_EQ(topology.nodes()[four[rank].groups[0].place.index].package, rank % 2) << rank;
  }
}

TEST(Placement, DealsRanksToPackagesInTurnWhenTheyShareCpus) {
  const Topology topology = load("power8-4xP100.xml");
  const auto ranks =
      place_ranks(topology,
                  {.rank_count = 17, .map_by = MapBy::kPackage, .allow_oversubscription = true})
          .value();
  for (std::size_t rank = 0; rank < 16; ++rank) {
    EXPECT_EQ(ranks[rank].groups.at(0).place.index, rank % 2) << rank;
  }
  EXPECT_EQ(ranks[16].groups.at(0).cpus, ranks[0].groups.at(0).cpus);
}

TEST(Placement, PutsRanksNearTheGpusInTurn) {
  const Topology topology = load("generated-8xH200-snc2-4numa.xml");
  for (const std::uint32_t count : {1u, 8u, 13u}) {
    const auto ranks =
        place_ranks(topology, {.rank_count = count, .map_by = MapBy::kGpu, .host = 3}).value();
    for (std::size_t rank = 0; rank < count; ++rank) {
      const GpuInfo& gpu = topology.gpus()[rank % 8];
      ASSERT_TRUE(gpu.near_node);
      EXPECT_EQ(ranks[rank].gpu, (Place{PlaceKind::kDevice, gpu.place.index, 3}));
      ASSERT_EQ(ranks[rank].groups.size(), 1u);
      EXPECT_EQ(ranks[rank].groups[0].place.index, gpu.near_node->index);
    }
    check_bound(topology, ranks);  // No CPU twice.
  }
}

TEST(Placement, PutsMoreRanksThanCpusNearTheirGpus) {
  const Topology topology = load("power8-4xP100.xml");
  const auto ranks =
      place_ranks(topology,
                  {.rank_count = 40, .map_by = MapBy::kGpu, .allow_oversubscription = true})
          .value();
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    EXPECT_EQ(ranks[rank].groups.at(0).place.index, topology.gpus()[rank % 4].near_node->index);
  }
}

TEST(Placement, RefusesToMapByGpuWhereNoneIs) {
  const Topology topology = load("cxlmem-dax-qemu.xml");
  const auto ranks = place_ranks(topology, {.map_by = MapBy::kGpu});
  ASSERT_FALSE(ranks);
  EXPECT_EQ(ranks.error().code(), ErrorCode::kFailedPrecondition);
  EXPECT_THAT(std::string(ranks.error().message()), HasSubstr("the topology shows none"));
}

TEST(Placement, BindsTheWorkersOfARankTogether) {
  const Topology topology = load("generated-8xH200-snc2-4numa.xml");
  const auto bound = [&topology](BindTo bind_to) {
    const auto ranks =
        place_ranks(topology, {.rank_count = 8, .workers_per_rank = 2, .bind_to = bind_to}).value();
    for (const RankPlacement& rank : ranks) {
      for (const WorkerGroup& group : rank.groups) {
        EXPECT_EQ(group.cpus.empty(), bind_to != BindTo::kCore);
      }
    }
    return ranks[1].cpus;
  };
  const auto sorted = [](std::vector<unsigned> cpus) {
    std::sort(cpus.begin(), cpus.end());
    return cpus;
  };
  EXPECT_THAT(bound(BindTo::kNone), IsEmpty());
  EXPECT_THAT(bound(BindTo::kCore), IsEmpty());
  const std::vector<unsigned> node = sorted(topology.nodes()[1].cpus);
  EXPECT_EQ(bound(BindTo::kNuma), node);
  std::vector<unsigned> package = topology.nodes()[0].cpus;
  package.insert(package.end(), node.begin(), node.end());
  EXPECT_EQ(bound(BindTo::kPackage), sorted(package));
  // Two ranks are on this node, so each has half of it.
  const std::vector<unsigned> share = bound(BindTo::kShare);
  EXPECT_EQ(share.size(), node.size() / 2);
  EXPECT_TRUE(std::includes(node.begin(), node.end(), share.begin(), share.end()));
}

// One rank over all four nodes of two packages: who works on a node keeps to it.
TEST(Placement, BindsTheWorkersOfEachNodeOfARankToWhatIsTheirs) {
  const Topology topology = load("generated-8xH200-snc2-4numa.xml");
  const auto groups = [&topology](BindTo bind_to) {
    return place_ranks(topology, {.rank_count = 1, .bind_to = bind_to}).value().front().groups;
  };
  const auto sorted = [](std::vector<unsigned> cpus) {
    std::sort(cpus.begin(), cpus.end());
    return cpus;
  };
  for (const BindTo bind_to : {BindTo::kNuma, BindTo::kShare}) {
    ASSERT_EQ(groups(bind_to).size(), 4u);
    for (const WorkerGroup& group : groups(bind_to)) {
      EXPECT_EQ(group.shared_cpus, sorted(topology.nodes()[group.place.index].cpus));
    }
  }
  for (const WorkerGroup& group : groups(BindTo::kPackage)) {
    const std::size_t first = group.place.index / 2 * 2u;
    std::vector<unsigned> package = topology.nodes()[first].cpus;
    const std::vector<unsigned>& second = topology.nodes()[first + 1].cpus;
    package.insert(package.end(), second.begin(), second.end());
    EXPECT_EQ(group.shared_cpus, sorted(package));
  }
  for (const BindTo bind_to : {BindTo::kNone, BindTo::kCore}) {
    for (const WorkerGroup& group : groups(bind_to)) {
      EXPECT_THAT(group.shared_cpus, IsEmpty());
    }
  }
}

TEST(Placement, TellsTheWorkersOfARankHowFarItsNodesAre) {
  const auto groups_on = [](const Topology& topology) {
    return place_ranks(topology, {.rank_count = 1}).value().front().groups;
  };
  const std::vector<WorkerGroup> known = groups_on(load("llnl-lassen-p9-4xV100.xml"));
  ASSERT_EQ(known.size(), 2u);
  EXPECT_THAT(known[0].distances, ElementsAre(10, 40));
  EXPECT_THAT(known[1].distances, ElementsAre(40, 10));
  const Topology many = load("fake-heteromem-tiers-7numa.xml");
  for (const WorkerGroup& group : groups_on(many)) {
    for (std::size_t i = 0; i < group.distances.size(); ++i) {
      EXPECT_EQ(group.distances[i],
                many.distance(group.place.index, groups_on(many)[i].place.index));
    }
    EXPECT_EQ(group.distances.size(), groups_on(many).size());
  }
  for (const WorkerGroup& group : groups_on(load("generated-8xH200-snc2-4numa.xml"))) {
    EXPECT_THAT(group.distances, IsEmpty());
  }
}

TEST(Placement, RefusesCountsOutsideTheirRange) {
  const Topology topology = load("cxlmem-dax-qemu.xml");
  const std::size_t huge = std::numeric_limits<std::size_t>::max();
  for (const PlacementRequest& request :
       {PlacementRequest{.rank_count = 0},
        PlacementRequest{.rank_count = 65537, .allow_oversubscription = true},
        PlacementRequest{.workers_per_rank = huge, .allow_oversubscription = true}}) {
    const auto ranks = place_ranks(topology, request);
    ASSERT_FALSE(ranks);
    EXPECT_EQ(ranks.error().code(), ErrorCode::kInvalidArgument);
  }
}

TEST(Placement, WorksOnThisMachine) {
  const Topology topology = Topology::of_this_machine().value();
  const auto ranks = place_ranks(topology, {.rank_count = 1}).value();
  EXPECT_EQ(worker_count(ranks[0]), topology.worker_count_max());
}

}  // namespace
}  // namespace pinion
