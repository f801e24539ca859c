// Rank 0 is killed in the second of three steps of k-means, from outside, after one of its batches
// was accepted and while it holds leases. What must be true afterwards is a list of promises; the
// test keeps the whole list, and shows that each of the three mechanisms behind it is needed by
// switching it off.

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::size_t kShardCount = 16;

struct Story {
  int status = -1;
  std::string output;
  std::string errors;
  std::vector<json> log;
  std::vector<std::string> bodies;  // "step shard rank incarnation pid"
  pid_t launcher = 0;
  pid_t agent = 0;
  std::map<std::uint64_t, pid_t> first_pids;  // By rank.
  std::map<pid_t, pid_t> parents;             // As /proc had them while all ran.
  std::size_t leases_held_at_death = 0;
  std::vector<std::string> left_behind;
};

bool is(const json& line, const char* event, std::uint64_t step, std::uint64_t rank) {
  return line.at("event") == event && line.value("step", 0u) == step && line.at("rank") == rank &&
         line.value("stage", "") == "map";
}

// Units of step 2 that rank 0's first life was granted and that were not settled yet.
std::set<std::uint64_t> held_by_rank_0(const std::vector<json>& log) {
  std::set<std::uint64_t> held;
  for (const json& line : log) {
    if (is(line, "grant", 2, 0) && line.at("incarnation") == 1) {
      for (const json& unit : line.at("units")) {
        held.insert(unit.get<std::uint64_t>());
      }
    } else if (is(line, "accepted", 2, 0)) {
      for (const json& unit : line.at("units")) {
        held.erase(unit.get<std::uint64_t>());
      }
    }
  }
  return held;
}

// Both ranks have worked by then, however slow one of them is.
bool ready_to_kill(const std::vector<json>& log) {
  const auto any = [&log](const auto& wanted) {
    return std::any_of(log.begin(), log.end(), wanted);
  };
  return any([](const json& line) { return is(line, "accepted", 2, 0); }) &&
         any([](const json& line) {
           return is(line, "accepted", 1, 1) || is(line, "accepted", 2, 1);
         }) &&
         !held_by_rank_0(log).empty();
}

std::string answer_of_an_undisturbed_run(const TemporaryFolder& folder) {
  const CommandResult result = run_pinion(
      folder,
      {"run", "-n", "2", "--oversubscribe", "--quiet", "--workers-per-rank", "1", K_MEANS_PROGRAM},
      {{"PINION_TEST_BODIES", folder / "undisturbed"}});
  EXPECT_EQ(result.status, 0) << result.errors;
  return result.output;
}

void look_at_processes(Story& story) {
  for (const json& line : story.log) {
    if (line.at("event") == "joined" && line.at("incarnation") == 1) {
      story.first_pids[line.at("rank").get<std::uint64_t>()] = line.at("pid").get<pid_t>();
    }
  }
  for (const auto& [rank, pid] : story.first_pids) {
    story.parents[pid] = parent_of(pid);
    story.agent = story.parents[pid];
  }
  story.parents[story.agent] = parent_of(story.agent);
}

Story kill_rank_0_in_step_2(const std::string& test_switch) {
  TemporaryFolder folder;
  const std::string token = folder / "token";
  const Surroundings surroundings(token);
  RunningCommand::Environment environment = {{"PINION_TEST_GATE", folder / "gate"},
                                             {"PINION_TEST_BODIES", folder / "bodies"},
                                             {"PINION_TEST_TOKEN", token}};
  std::vector<std::string> command = {PINION_COMMAND,
                                      "run",
                                      "-n",
                                      "2",
                                      "--oversubscribe",
                                      "--workers-per-rank",
                                      "1",
                                      "--grant-log",
                                      folder / "log",
                                      "--set",
                                      "batch-shards=1",
                                      "--set",
                                      "late-seconds=3600"};  // Bodies are counted.
  if (!test_switch.empty()) {
    command.insert(command.end(), {"--set", test_switch + "=1"});
  }
  command.push_back(K_MEANS_PROGRAM);
  Story story;
  RunningCommand running(folder, command, environment);
  story.launcher = running.pid();
  for (int round = 0; round < 6000; ++round) {
    story.log = parse_log(read_file(folder / "log"));
    if (ready_to_kill(story.log) || running.wait_for(std::chrono::seconds(0))) {
      break;
    }
    poll(nullptr, 0, 10);
  }
  look_at_processes(story);
  story.leases_held_at_death = held_by_rank_0(story.log).size();
  if (const auto rank_0 = story.first_pids.find(0); rank_0 != story.first_pids.end()) {
    kill(rank_0->second, SIGKILL);
  }
  write_file(folder / "gate", "open");
  story.status = running.wait_for(std::chrono::seconds(60)).value_or(-1);
  story.output = running.output();
  story.errors = running.errors();
  story.log = parse_log(read_file(folder / "log"));
  story.bodies = lines_of(read_file(folder / "bodies"));
  story.left_behind = surroundings.left_behind();
  return story;
}

// What the dead life of rank 0 had made of step 2, and the job had accepted.
struct Legacy {
  std::set<std::uint64_t> segments;
  std::set<std::uint64_t> shards;
};

Legacy legacy_of_the_dead(const Story& story) {
  Legacy legacy;
  for (const json& line : story.log) {
    if (is(line, "accepted", 2, 0) && line.at("incarnation") == 1) {
      legacy.segments.insert(line.at("segment").get<std::uint64_t>());
      for (const json& shard : line.at("units")) {
        legacy.shards.insert(shard.get<std::uint64_t>());
      }
    }
  }
  return legacy;
}

// How often each shard of a step was begun.
std::map<std::uint64_t, int> bodies_of_step(const Story& story, int wanted) {
  std::map<std::uint64_t, int> counts;
  for (const std::string& line : story.bodies) {
    std::istringstream fields(line);
    int step = 0;
    std::uint64_t shard = 0;
    fields >> step >> shard;
    counts[shard] += step == wanted ? 1 : 0;
  }
  return counts;
}

// Whether its work counted: nobody did it again, and who merged the step had been given the memory
// in which it lies. The agent passes that on once to each process, maybe in an earlier step.
bool dead_memory_was_merged(const Story& story) {
  const Legacy legacy = legacy_of_the_dead(story);
  std::map<std::uint64_t, int> begun = bodies_of_step(story, 2);
  const auto lives_of = [&story](const auto& wanted) {
    std::set<std::pair<std::uint64_t, std::uint64_t>> lives;
    for (const json& line : story.log) {
      if (wanted(line)) {
        lives.emplace(line.at("rank"), line.at("incarnation"));
      }
    }
    return lives;
  };
  const auto mergers = lives_of([](const json& line) {
    return line.at("event") == "accepted" && line.value("step", 0u) == 2 &&
           line.value("stage", "") == "merge";
  });
  const auto readers = lives_of([&legacy](const json& line) {
    return line.at("event") == "descriptor" && line.at("made_by_rank") == 0 &&
           line.at("made_by_incarnation") == 1 &&
           legacy.segments.contains(line.at("segment").get<std::uint64_t>());
  });
  return !legacy.shards.empty() && !mergers.empty() && !mergers.contains({0, 1}) &&
         std::includes(readers.begin(), readers.end(), mergers.begin(), mergers.end()) &&
         std::all_of(legacy.shards.begin(), legacy.shards.end(),
                     [&begun](std::uint64_t shard) { return begun[shard] == 1; });
}

std::size_t accepted_shards(const Story& story, std::uint64_t step, std::uint64_t rank) {
  std::size_t count = 0;
  for (const json& line : story.log) {
    count += is(line, "accepted", step, rank) ? line.at("units").size() : 0;
  }
  return count;
}

// Every promise that the story breaks, in words; empty when all is well.
std::vector<std::string> broken_promises(const Story& story, const std::string& right_answer) {
  std::vector<std::string> broken;
  const auto promise = [&broken](bool kept, const std::string& words) {
    if (!kept) {
      broken.push_back(words);
    }
  };
  promise(story.status == 0, "the job ends well; status " + std::to_string(story.status));
  promise(story.output == right_answer, "the answer is the undisturbed one");
  std::set<pid_t> pids = {story.launcher, story.agent};
  for (const auto& [rank, pid] : story.first_pids) {
    pids.insert(pid);
    promise(story.parents.at(pid) == story.agent, "the agent is the parent of each rank");
  }
  promise(pids.size() == 4, "command, agent and ranks are distinct processes");
  promise(story.agent != 0 && story.parents.at(story.agent) == story.launcher,
          "the command is the parent of the agent");
  promise(std::any_of(story.log.begin(), story.log.end(),
                      [](const json& line) {
                        return line.at("event") == "joined" && line.at("rank") == 0 &&
                               line.at("incarnation") == 2;
                      }),
          "rank 0 came back");
  const std::map<std::uint64_t, int> step_1 = bodies_of_step(story, 1);
  promise(std::all_of(step_1.begin(), step_1.end(), [](const auto& it) { return it.second == 1; }),
          "no body of step 1 ran twice");
  promise(dead_memory_was_merged(story), "the dead rank's accepted batch was merged by another");
  for (const std::uint64_t rank : {0u, 1u}) {
    promise(accepted_shards(story, 1, rank) > 0 || accepted_shards(story, 2, rank) > 0,
            "rank " + std::to_string(rank) + " had shards accepted");
  }
  for (const std::uint64_t step : {1u, 2u, 3u}) {
    promise(accepted_shards(story, step, 0) + accepted_shards(story, step, 1) == kShardCount,
            "each shard of step " + std::to_string(step) + " was accepted once");
  }
  promise(story.left_behind.empty(),
          "nothing is left behind: " + testing::PrintToString(story.left_behind));
  return broken;
}

// What must hold for the story to have been told at all, whatever is switched off.
void expect_the_scene_was_set(const Story& story) {
  EXPECT_EQ(story.first_pids.size(), 2u) << "two ranks joined";
  EXPECT_GT(story.leases_held_at_death, 0u) << "rank 0 held leases when it was killed";
  EXPECT_EQ(legacy_of_the_dead(story).segments.size(), 1u) << "one of its batches was accepted";
}

std::string in_words(const Story& story) {
  std::string words = "standard error:\n" + story.errors + "log:\n";
  for (const json& line : story.log) {
    words += line.dump() + "\n";
  }
  return words;
}

class KilledRank : public testing::Test {
 protected:
  TemporaryFolder folder_;
  const std::string right_answer_ = answer_of_an_undisturbed_run(folder_);
};

TEST_F(KilledRank, ChangesNothingAboutTheAnswer) {
  const Story story = kill_rank_0_in_step_2("");
  expect_the_scene_was_set(story);
  EXPECT_THAT(broken_promises(story, right_answer_), IsEmpty()) << in_words(story);
}

TEST_F(KilledRank, RunsStep1AgainWithoutFastForward) {
  const Story story = kill_rank_0_in_step_2("test-no-fast-forward");
  expect_the_scene_was_set(story);
  EXPECT_THAT(broken_promises(story, right_answer_), Contains("no body of step 1 ran twice"))
      << in_words(story);
}

TEST_F(KilledRank, TakesItsWorkAlongWithoutAcceptance) {
  const Story story = kill_rank_0_in_step_2("test-no-acceptance");
  expect_the_scene_was_set(story);
  EXPECT_THAT(broken_promises(story, right_answer_),
              Contains("the dead rank's accepted batch was merged by another"))
      << in_words(story);
}

// Rank 1 cannot even read the plan that rank 0 made, so the job ends in step 1, for that reason.
TEST_F(KilledRank, IsNotEvenReachedWithoutDescriptors) {
  const Story story = kill_rank_0_in_step_2("test-no-descriptors");
  EXPECT_THAT(broken_promises(story, right_answer_), Contains(HasSubstr("the job ends well")))
      << in_words(story);
  EXPECT_THAT(story.errors, HasSubstr("passing descriptors is switched off"));
}

}  // namespace
}  // namespace pinion
