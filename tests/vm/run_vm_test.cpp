// Runs inside a virtual machine of tests/vm/boot.sh: `pinion run` puts each rank onto a node of its
// own, the workers of a rank that has several nodes onto theirs, and blobs onto the node that they
// are for; under the limits of a control group it keeps to them. The kernel is asked while the job
// runs.

#include <poll.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/numa/cpu_list.hpp>
#include <pinion/numa/topology.hpp>

#include "mp/job_runner.hpp"
#include "vm/control_group.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr const char* kProgram = "02_word_count";
constexpr std::size_t kLineCount = 1'500'000;
constexpr std::chrono::seconds kPatience{80};

// The number behind `key` in a /proc/.../status file.
std::string field(const fs::path& status, const std::string& key) {
  std::ifstream file(status);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key + ":")) {
      return line.substr(line.find_first_not_of(" \t", key.size() + 1));
    }
  }
  return {};
}

// The CPUs that threads of a process were seen to be allowed, and how many threads at most at once.
using Lists = std::map<std::string, std::size_t>;

// Those of the rank processes, by process.
using Seen = std::map<std::string, Lists>;

// What is in a folder of /proc, as far as it stays while it is read.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    entries.push_back(entry->path());
  }
  return entries;
}

void look_at_ranks(Seen& seen, const std::string& program = kProgram) {
  for (const fs::path& process : entries_of("/proc")) {
    if (field(process / "status", "Name") != program) {
      continue;
    }
    Lists now;
    for (const fs::path& thread : entries_of(process / "task")) {
      if (const std::string cpus = field(thread / "status", "Cpus_allowed_list"); !cpus.empty()) {
        ++now[cpus];
      }
    }
    for (const auto& [cpus, thread_count] : now) {
      std::size_t& most = seen[process.filename()][cpus];
      most = std::max(most, thread_count);
    }
  }
}

bool lies_in(const std::string& list, const NumaNode& node) {
  const std::vector<unsigned> cpus = parse_cpu_list(list).value();
  return std::all_of(cpus.begin(), cpus.end(), [&node](unsigned cpu) {
    return std::find(node.cpus.begin(), node.cpus.end(), cpu) != node.cpus.end();
  });
}

std::vector<NumaNode> nodes_with_cpus() {
  const Topology topology = Topology::of_this_machine().value();
  std::vector<NumaNode> nodes;
  std::copy_if(topology.nodes().begin(), topology.nodes().end(), std::back_inserter(nodes),
               [](const NumaNode& node) { return !node.cpus.empty(); });
  return nodes;
}

// What was seen of the ranks of a job of some seconds, which must end well.
Seen watch_job(const std::vector<std::string>& options) {
  const TemporaryFolder folder;
  {
    std::ofstream input(folder / "input");
    for (std::size_t line = 0; line < kLineCount; ++line) {
      input << "where is it\n";
    }
  }
  std::vector<std::string> command = {"/test/pinion", "run", "--report-bindings", "-q"};
  command.insert(command.end(), options.begin(), options.end());
  command.insert(command.end(), {std::string("/test/") + kProgram, folder / "input"});
  RunningCommand job(folder, command);
  Seen seen;
  while (!job.wait_for(std::chrono::seconds(0)) && seen.size() < 1000) {
    look_at_ranks(seen);
    poll(nullptr, 0, 5);
  }
  EXPECT_EQ(job.wait_for(kPatience), 0) << job.errors();
  EXPECT_THAT(job.output(), HasSubstr(std::to_string(kLineCount) + " where\n"));
  EXPECT_THAT(job.output(), HasSubstr(" 3 different words\n"));
  return seen;
}

TEST(PinionRun, PutsEachRankOntoANodeOfItsOwn) {
  const std::vector<NumaNode> nodes = nodes_with_cpus();
  ASSERT_GE(nodes.size(), 2u);
  const Seen seen = watch_job({"-n", std::to_string(nodes.size())});

  ASSERT_EQ(seen.size(), nodes.size());
  std::set<unsigned> homes;
  for (const auto& process : seen) {
    const Lists& lists = process.second;
    SCOPED_TRACE("process " + process.first + " " + ::testing::PrintToString(lists));
    bool has_workers = false;
    for (const NumaNode& node : nodes) {
      const bool here = std::all_of(lists.begin(), lists.end(),
                                    [&](const auto& list) { return lies_in(list.first, node); });
      if (here) {
        EXPECT_TRUE(homes.insert(node.os_index).second) << "two ranks on one node";
        has_workers = std::any_of(node.cpus.begin(), node.cpus.end(), [&lists](unsigned cpu) {
          return lists.contains(std::to_string(cpu));
        });
      }
    }
    EXPECT_TRUE(has_workers) << "no thread that is bound to one CPU was seen";
  }
  EXPECT_EQ(homes.size(), nodes.size());
}

TEST(PinionRun, KeepsTheWorkersOfARankOverAllNodesToThoseOfTheirOwn) {
  const std::vector<NumaNode> nodes = nodes_with_cpus();
  ASSERT_GE(nodes.size(), 2u);
  const Seen seen = watch_job({"-n", "1", "--bind-to", "numa"});

  ASSERT_EQ(seen.size(), 1u);
  Lists lists = seen.begin()->second;
  SCOPED_TRACE(::testing::PrintToString(lists));
  std::vector<unsigned> all;
  for (const NumaNode& node : nodes) {
    EXPECT_GE(lists[format_cpu_list(node.cpus)], node.cpus.size()) << "of node " << node.os_index;
    lists.erase(format_cpu_list(node.cpus));
    all.insert(all.end(), node.cpus.begin(), node.cpus.end());
  }
  // Threads that are no workers keep to all that the rank has.
  lists.erase(format_cpu_list(all));
  EXPECT_TRUE(lists.empty());
}

// What placed_blobs_program prints where all pages lie as they should: a node that has no memory is
// served by the nearest that has.
std::vector<std::string> well_placed_blobs(const std::string& where_small_ones_lie) {
  const Topology topology = Topology::of_this_machine().value();
  std::vector<std::string> lines;
  for (const NumaNode& node : topology.nodes()) {
    const std::string begin = "node " + std::to_string(node.place.index) + ": ";
    const Place memory = topology.nearest_memory(node.place);
    const std::string end = ", on " + std::to_string(topology.nodes()[memory.index].os_index);
    const std::string small = begin + "20000 bytes, " + where_small_ones_lie + end;
    lines.insert(lines.end(), {begin + "8388608 bytes, own segment" + end, small, small});
  }
  return lines;
}

TEST(PinionRun, PutsBlobsOntoTheNodeThatTheyAreFor) {
  const TemporaryFolder folder;
  for (const std::string pages : {"huge-pages=1", "huge-pages=0"}) {
    const CommandResult result = run_command(
        folder,
        {"/test/pinion", "run", "-q", "-n", "1", "--set", pages, "/test/placed_blobs_program"});
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(lines_of(result.output), well_placed_blobs("slab")) << pages << result.errors;
  }
}

TEST(ProgramAlone, PutsBlobsOntoTheNodeThatTheyAreFor) {
  const TemporaryFolder folder;
  const CommandResult result = run_command(folder, {"/test/placed_blobs_program"});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(lines_of(result.output), well_placed_blobs("own segment")) << result.errors;
}

// Where as many ranks would run, or why they would not.
CommandResult plan(std::size_t rank_count, const std::vector<std::string>& options = {}) {
  const TemporaryFolder folder;
  std::vector<std::string> command = {"/test/pinion", "run", "--dry-run", "-n",
                                      std::to_string(rank_count)};
  command.insert(command.end(), options.begin(), options.end());
  command.emplace_back("true");
  return run_command(folder, command);
}

void expect_refused(const CommandResult& result, const std::string& words) {
  EXPECT_EQ(result.status, 71);
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(result.errors, ::testing::AllOf(HasSubstr(words), HasSubstr("--oversubscribe")));
}

testing::ControlGroupLimits limits_of(std::span<const NumaNode> nodes, double cpu_quota) {
  std::vector<unsigned> cpus;
  std::string memory_nodes;
  for (const NumaNode& node : nodes) {
    cpus.insert(cpus.end(), node.cpus.begin(), node.cpus.end());
    if (node.memory_bytes > 0) {
      memory_nodes += (memory_nodes.empty() ? "" : ",") + std::to_string(node.os_index);
    }
  }
  return {.cpus = format_cpu_list(cpus),
          .memory_nodes = memory_nodes,
          .cpu_quota = cpu_quota,
          .memory_bytes = std::uint64_t{400} << 20};
}

TEST(PinionRun, PlansWithTheCpusOfItsCpuset) {
  const NumaNode home = nodes_with_cpus().at(1);
  const std::size_t cpu_count = home.cpus.size();
  const testing::ControlGroup group(limits_of(std::span(&home, 1), static_cast<double>(cpu_count)));
  std::vector<std::string> expected;
  for (std::size_t rank = 0; rank <= cpu_count; ++rank) {
    expected.push_back("rank " + std::to_string(rank) + ": 1 worker on NUMA node " +
                       std::to_string(home.place.index) + ", CPUs " +
                       std::to_string(home.cpus[rank % cpu_count]));
  }
  EXPECT_EQ(lines_of(plan(cpu_count + 1, {"--oversubscribe"}).output), expected);
  expected.pop_back();
  EXPECT_EQ(lines_of(plan(cpu_count).output), expected);
  expect_refused(plan(cpu_count + 1),
                 "affinity mask and cpuset allow " + std::to_string(cpu_count));
}

TEST(PinionRun, RunsOnTheCpusOfItsCpuset) {
  const NumaNode home = nodes_with_cpus().at(1);
  const testing::ControlGroup group(
      limits_of(std::span(&home, 1), static_cast<double>(home.cpus.size())));
  const TemporaryFolder folder;
  RunningCommand job(folder, {"/test/pinion", "run", "-q", "-n", std::to_string(home.cpus.size()),
                              "/test/gated_program", folder / ""});
  for (std::size_t rank = 0; rank < home.cpus.size(); ++rank) {
    const std::string begun = folder / ("body." + std::to_string(rank) + ".1");
    ASSERT_TRUE(eventually([&] { return fs::exists(begun); })) << job.errors();
  }
  Seen seen;
  look_at_ranks(seen, "gated_program");
  write_file(folder / "gate", "open");
  EXPECT_EQ(job.wait_for(kPatience), 0) << job.errors();

  EXPECT_EQ(seen.size(), home.cpus.size());
  std::set<std::string> of_workers;
  for (const auto& process : seen) {
    for (const auto& list : process.second) {
      EXPECT_TRUE(lies_in(list.first, home)) << list.first;
      if (parse_cpu_list(list.first)->size() == 1) {
        of_workers.insert(list.first);
      }
    }
  }
  EXPECT_EQ(of_workers.size(), home.cpus.size()) << "workers share a CPU, or are bound to none";
}

TEST(PinionRun, PlansNoMoreWorkersThanItsQuotaIsWorth) {
  const Topology topology = Topology::of_this_machine().value();
  const testing::ControlGroup group(limits_of(topology.nodes(), 1.5));
  const CommandResult two = plan(2);
  EXPECT_EQ(two.status, 0) << two.errors;
  EXPECT_THAT(lines_of(two.output), ::testing::ElementsAre(HasSubstr("rank 0: 1 worker on NUMA"),
                                                           HasSubstr("rank 1: 1 worker on NUMA")));
  for (const CommandResult& refused : {plan(3), plan(1, {"--workers-per-rank", "3"})}) {
    expect_refused(refused, "the CPU quota is 1.5");
  }
  EXPECT_EQ(lines_of(plan(3, {"--oversubscribe"}).output).size(), 3u);
}

}  // namespace
}  // namespace pinion
