// Runs inside a virtual machine of tests/vm/boot.sh: `pinion run` puts each rank onto a node of its
// own. The kernel is asked while the job runs.

#include <poll.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/numa/cpu_list.hpp>
#include <pinion/numa/topology.hpp>

#include "mp/job_runner.hpp"

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

// The CPUs that each thread of the rank processes was seen to be allowed, by process.
using Seen = std::map<std::string, std::set<std::string>>;

void look_at_ranks(Seen& seen) {
  std::error_code error;
  for (const fs::directory_entry& process : fs::directory_iterator("/proc", error)) {
    if (field(process.path() / "status", "Name") != kProgram) {
      continue;
    }
    for (const fs::directory_entry& thread :
         fs::directory_iterator(process.path() / "task", error)) {
      if (const std::string cpus = field(thread.path() / "status", "Cpus_allowed_list");
          !cpus.empty()) {
        seen[process.path().filename()].insert(cpus);
      }
    }
  }
}

bool lies_in(const std::string& list, const NumaNode& node) {
  const std::vector<unsigned> cpus = parse_cpu_list(list).value();
  return std::all_of(cpus.begin(), cpus.end(), [&node](unsigned cpu) {
    return std::find(node.cpus.begin(), node.cpus.end(), cpu) != node.cpus.end();
  });
}

TEST(PinionRun, PutsEachRankOntoANodeOfItsOwn) {
  const Topology topology = Topology::of_this_machine().value();
  std::vector<NumaNode> nodes;
  std::copy_if(topology.nodes().begin(), topology.nodes().end(), std::back_inserter(nodes),
               [](const NumaNode& node) { return !node.cpus.empty(); });
  ASSERT_GE(nodes.size(), 2u);
  const TemporaryFolder folder;
  {
    std::ofstream input(folder / "input");
    for (std::size_t line = 0; line < kLineCount; ++line) {
      input << "where is it\n";
    }
  }
  RunningCommand job(
      folder, {"/test/pinion", "run", "-n", std::to_string(nodes.size()), "--report-bindings", "-q",
               std::string("/test/") + kProgram, folder / "input"});
  Seen seen;
  while (!job.wait_for(std::chrono::seconds(0)) && seen.size() < 1000) {
    look_at_ranks(seen);
    poll(nullptr, 0, 5);
  }
  EXPECT_EQ(job.wait_for(kPatience), 0) << job.errors();
  EXPECT_THAT(job.output(), HasSubstr(std::to_string(kLineCount) + " where\n"));
  EXPECT_THAT(job.output(), HasSubstr(" 3 different words\n"));

  ASSERT_EQ(seen.size(), nodes.size());
  std::set<unsigned> homes;
  for (const auto& process : seen) {
    const std::set<std::string>& lists = process.second;
    SCOPED_TRACE("process " + process.first + " " + ::testing::PrintToString(lists));
    bool has_workers = false;
    for (const NumaNode& node : nodes) {
      const bool here = std::all_of(lists.begin(), lists.end(),
                                    [&](const std::string& list) { return lies_in(list, node); });
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

}  // namespace
}  // namespace pinion
