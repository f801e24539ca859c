#include "mp/job_test.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

namespace pinion {

using nlohmann::json;

std::vector<std::string> on_ranks(std::size_t rank_count, const std::vector<std::string>& program,
                                  const std::vector<std::string>& options,
                                  std::size_t workers_per_rank) {
  std::vector<std::string> command = {PINION_COMMAND,
                                      "run",
                                      "-n",
                                      std::to_string(rank_count),
                                      "--oversubscribe",
                                      "--workers-per-rank",
                                      std::to_string(workers_per_rank)};
  command.insert(command.end(), options.begin(), options.end());
  command.push_back("--");
  command.insert(command.end(), program.begin(), program.end());
  return command;
}

std::vector<json> parse_log(const std::string& text) {
  std::vector<json> log;
  std::size_t begin = 0;
  for (std::size_t end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    log.push_back(json::parse(text.substr(begin, end - begin)));
  }
  return log;
}

pid_t pid_of(const std::vector<json>& log, std::uint64_t rank, std::uint64_t incarnation) {
  for (const json& line : log) {
    if (line.at("event") == "joined" && line.at("rank") == rank &&
        line.at("incarnation") == incarnation) {
      return line.at("pid").get<pid_t>();
    }
  }
  return 0;
}

std::vector<std::uint64_t> accepted_shards(const std::vector<json>& log, std::uint64_t step) {
  std::vector<std::uint64_t> shards;
  for (const json& line : log) {
    if (line.at("event") == "accepted" && line.at("step") == step && line.at("stage") == "map") {
      for (const json& unit : line.at("units")) {
        shards.push_back(unit.get<std::uint64_t>());
      }
    }
  }
  std::sort(shards.begin(), shards.end());
  return shards;
}

std::vector<std::string> fence_violations(const std::vector<json>& log) {
  using Life = std::pair<std::uint64_t, std::uint64_t>;
  std::map<std::uint64_t, Life> holders;  // By fence, which is given once.
  std::set<Life> dead;
  std::set<std::tuple<std::uint64_t, std::string, std::uint64_t>> accepted;
  std::vector<std::string> violations;
  for (const json& line : log) {
    const std::string event = line.at("event");
    if (event == "host_lost") {
      continue;  // Its ranks have lines of their own.
    }
    const Life life{line.at("rank"), line.at("incarnation")};
    if (event == "lost") {
      dead.insert(life);
    }
    if (event != "grant" && event != "accepted") {
      continue;
    }
    for (std::size_t i = 0; i < line.at("units").size(); ++i) {
      const std::uint64_t unit = line.at("units")[i];
      const std::uint64_t fence = line.at("fences")[i];
      const auto violated = [&](const char* how) {
        violations.push_back("unit " + std::to_string(unit) + how + line.dump());
      };
      if (event == "grant") {
        if (!holders.emplace(fence, life).second) {
          violated(" has a fence that was given before: ");
        }
        continue;
      }
      if (!accepted.emplace(line.at("step"), line.at("stage"), unit).second) {
        violated(" was accepted before: ");
      }
      if (const auto holder = holders.find(fence);
          holder == holders.end() || holder->second != life || dead.contains(life)) {
        violated(" was not its to report: ");
      }
    }
  }
  return violations;
}

std::vector<std::uint64_t> each_once(std::uint64_t count) {
  std::vector<std::uint64_t> shards(count);
  std::iota(shards.begin(), shards.end(), 0u);
  return shards;
}

void JobTest::TearDown() {
  EXPECT_THAT(surroundings_.left_behind(), testing::IsEmpty());
}

RunningCommand::Environment JobTest::environment(RunningCommand::Environment additions) const {
  additions.emplace_back("PINION_TEST_TOKEN", token_);
  return additions;
}

bool JobTest::something_runs() const {
  return !processes_with("PINION_TEST_TOKEN=" + token_).empty();
}

bool JobTest::rank_runs(int rank) const {
  const std::vector<pid_t> ours = processes_with("PINION_TEST_TOKEN=" + token_);
  const std::vector<pid_t> of_rank = processes_with("PINION_RANK=" + std::to_string(rank));
  return std::find_first_of(ours.begin(), ours.end(), of_rank.begin(), of_rank.end()) != ours.end();
}

namespace {

pid_t stopped_child_of(pid_t parent) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const auto pid = static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
    if (pid > 0 && parent_of(pid) == parent && is_stopped(pid)) {
      return pid;
    }
  }
  return 0;
}

}  // namespace

// The agent is a child of its command. No log has to tell which process it is: when it stops, no
// rank of its own host may have joined yet.
pid_t JobTest::stopped_agent(RunningCommand& running) const {
  pid_t agent = 0;
  static_cast<void>(eventually([&] {
    agent = stopped_child_of(running.pid());
    return agent != 0 || running.wait_for(std::chrono::seconds(0)).has_value();
  }));
  return agent;
}

bool JobTest::bodies_have_begun() const {
  return eventually([this] {
    return access(path("body.0.1").c_str(), F_OK) == 0 &&
           access(path("body.1.1").c_str(), F_OK) == 0;
  });
}

namespace {

// The arguments of all processes, and the files that they have open, one after the other.
std::string what_processes_use() {
  std::string uses;
  std::error_code ignored;
  for (const auto& process : std::filesystem::directory_iterator("/proc", ignored)) {
    uses += read_file((process.path() / "cmdline").string()) + "\n";
    for (auto file = std::filesystem::directory_iterator(process.path() / "fd", ignored);
         file != std::filesystem::directory_iterator(); file.increment(ignored)) {
      uses += std::filesystem::read_symlink(file->path(), ignored).string() + "\n";
    }
  }
  return uses;
}

// Memory of Pinion that has no name, and so lives as long as a process has a descriptor of it or
// has it mapped: blobs, slabs, rows and rings. By its inode, with the label of which it was made.
std::set<std::string> memory_of(pid_t pid) {
  constexpr std::string_view kLabel = "/memfd:pinion-";
  const std::filesystem::path process = "/proc/" + std::to_string(pid);
  std::set<std::string> memory;
  std::error_code ignored;
  for (auto file = std::filesystem::directory_iterator(process / "fd", ignored);
       file != std::filesystem::directory_iterator(); file.increment(ignored)) {
    const std::string target = std::filesystem::read_symlink(file->path(), ignored).string();
    struct stat status = {};
    if (target.starts_with(kLabel) && stat(file->path().c_str(), &status) == 0) {
      memory.insert(std::to_string(status.st_ino) + " " + target);
    }
  }
  for (const std::string& line : lines_of(read_file((process / "maps").string()))) {
    // ADDRESSES RIGHTS OFFSET DEVICE INODE PATH, the last in a column of its own.
    if (const std::size_t path = line.find(kLabel); path != std::string::npos) {
      const std::size_t end = line.find_last_not_of(' ', path - 1) + 1;
      const std::size_t begin = line.rfind(' ', end - 1) + 1;
      memory.insert(line.substr(begin, end - begin) + " " + line.substr(path));
    }
  }
  return memory;
}

}  // namespace

Surroundings::Surroundings(std::string token)
    : token_(std::move(token)),
      before_(named_things(token_)),
      own_memory_before_(memory_of(getpid())) {}

std::vector<std::string> Surroundings::left_behind() const {
  std::vector<std::string> left;
  for (const pid_t pid : processes_with("PINION_TEST_TOKEN=" + token_)) {
    left.push_back("process " + std::to_string(pid));
    for (const std::string& memory : memory_of(pid)) {
      left.push_back("memory " + memory + " of process " + std::to_string(pid));
    }
  }
  for (const std::string& memory : memory_of(getpid())) {
    if (!own_memory_before_.contains(memory)) {
      left.push_back("memory " + memory + " of the test");
    }
  }
  std::vector<std::string> names = names_that_came();
  // What a job left would stay, and what comes later is not of it.
  static_cast<void>(eventually([&] {
    const std::vector<std::string> there = names_that_came();
    std::erase_if(names, [&there](const std::string& name) {
      return std::find(there.begin(), there.end(), name) == there.end();
    });
    return names.empty();
  }));
  left.insert(left.end(), names.begin(), names.end());
  return left;
}

std::vector<std::string> Surroundings::names_that_came() const {
  std::vector<std::string> names = named_things("pinion-test-");
  std::erase_if(names, [this](const std::string& name) {
    return std::binary_search(before_.begin(), before_.end(), name);
  });
  if (!names.empty()) {
    // What a living process has in use belongs to it, not to a job that is over.
    const std::string uses = what_processes_use();
    std::erase_if(
        names, [&uses](const std::string& name) { return uses.find(name) != std::string::npos; });
  }
  return names;
}

}  // namespace pinion
