// Jobs of three ranks that are killed and paused while they work, 50 to 500 ms apart, and whose
// agents and launchers are killed.
//
//   PINION_KILL_LOOPS=100  that many jobs of each kind instead of 1
//   PINION_KILL_SEED=123   the seed of what is done to them

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kill_numbers.hpp"
#include "mp/job_test.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kSeed = 6'006;  // Of the text, and of the rest unless told.

/// Work that does not end under so many is never done.
constexpr int kDisturbanceCountMax = 100;

int loop_count() {
  return std::max(1, static_cast<int>(number_of_environment("PINION_KILL_LOOPS", 1)));
}

std::string make_text() {
  std::mt19937_64 random(kSeed);
  std::string text;
  for (int line = 0; line < 20'000; ++line) {
    text += std::to_string(random() % 100'000) + " word" + std::to_string(random() % 40) + "\n";
  }
  return text;
}

/// What disturbed_program does: some 1.5 s of it where nothing disturbs it.
struct Work {
  const char* kind = "words";
  const char* milliseconds = "60";
  std::uint64_t first_step = 1;
  std::uint64_t last_step = 1;
};

void PrintTo(const Work& work, std::ostream* to) {
  *to << work.kind;
}

/// A process of a rank: the rank and its incarnation.
using Life = std::pair<std::uint64_t, std::uint64_t>;

Life life_of(const json& line) {
  return {line.at("rank"), line.at("incarnation")};
}

/// The processes of the ranks that have joined and not ended, as far as the log tells.
std::map<Life, pid_t> living_ranks(const std::vector<json>& log) {
  std::map<Life, pid_t> ranks;
  for (const json& line : log) {
    const std::string event = line.at("event");
    if (event == "joined") {
      ranks[life_of(line)] = line.at("pid").get<pid_t>();
    } else if (event == "lost" || event == "left") {
      ranks.erase(life_of(line));
    }
  }
  return ranks;
}

/// Step, stage, unit.
using Unit = std::tuple<std::uint64_t, std::string, std::uint64_t>;

struct WorkInHand {
  /// What each living rank was granted and is not done with, nor anybody else.
  std::map<Life, std::set<Unit>> of;
  /// How many died that had some.
  std::size_t death_count = 0;
};

/// As far as the log tells, of the steps of the work.
WorkInHand work_in_hand(const std::vector<json>& log, const Work& work) {
  WorkInHand in_hand;
  for (const json& line : log) {
    const std::string event = line.at("event");
    if (event == "lost") {
      const auto lost = in_hand.of.extract(life_of(line));
      in_hand.death_count += lost.empty() || lost.mapped().empty() ? 0 : 1;
      continue;
    }
    if (event != "grant" && event != "accepted" && event != "refused") {
      continue;
    }
    const std::uint64_t step = line.at("step");
    if (step < work.first_step || step > work.last_step) {
      continue;
    }
    for (const json& number : line.at("units")) {
      const Unit unit{step, line.at("stage"), number};
      if (event == "grant") {
        in_hand.of[life_of(line)].insert(unit);
      } else if (event == "refused") {
        in_hand.of[life_of(line)].erase(unit);
      } else {
        for (auto& [life, units] : in_hand.of) {
          units.erase(unit);
        }
      }
    }
  }
  return in_hand;
}

class DisturbedJob : public JobTest {
 protected:
  void SetUp() override { write_file(path("text"), make_text()); }

  [[nodiscard]] std::vector<std::string> program(const Work& work) const {
    return {DISTURBED_PROGRAM, work.kind, work.milliseconds, path(""), path("text")};
  }

  // A job whose leases run out within a pause.
  [[nodiscard]] std::vector<std::string> command(const Work& work,
                                                 const std::string& fences_off = "0") const {
    std::vector<std::string> options = grant_log_option();
    options.insert(options.end(), {"--on-failure", "respawn:1000", "--set", "lease-seconds=0.2",
                                   "--set", "batch-shards=2", "--set", "deaths-max=1000", "--set",
                                   "test-no-fences=" + fences_off});
    return on_ranks(3, program(work), options);
  }

  void forget_last_job() const {
    for (const char* const name : {"gate", "grants", "hold", "hold.units", "late", "late.taken"}) {
      std::filesystem::remove(path(name));
    }
  }

  const std::uint64_t seed_ = kill_seed(kSeed);
  std::mt19937_64 random_{seed_};
};

class RanksAtWork : public DisturbedJob {
 protected:
  struct Story {
    std::optional<int> status;
    std::string output;
    std::string errors;
    std::vector<json> log;
    std::size_t kill_count = 0;
  };

  /// Waits; true while the job runs, as it does until the gate is open.
  bool pause(RunningCommand& running) {
    return !running.wait_for(milliseconds(50 + random_() % 451)).has_value();
  }

  void kill_rank(const std::pair<Life, pid_t>& victim, Story& story) const {
    kill(victim.second, SIGKILL);
    ++story.kill_count;
    EXPECT_TRUE(eventually([&] { return !living_ranks(grant_log()).contains(victim.first); }));
  }

  /// The rank that has stopped itself comes back with its report when all that it had in hand was
  /// done by others, as its leases had run out; but for what they hold back with shard 0.
  void let_a_report_come_late(RunningCommand& running, const Work& work) const {
    std::pair<Life, pid_t> late;
    ASSERT_TRUE(eventually([&] {
      for (const auto& rank : living_ranks(grant_log())) {
        if (is_stopped(rank.second)) {
          late = rank;
        }
      }
      return late.second != 0;
    })) << running.errors();
    EXPECT_TRUE(eventually([&] {
      std::set<Unit> units = work_in_hand(grant_log(), work).of[late.first];
      units.erase(Unit{work.first_step, "map", 0});
      for (const std::string& held : lines_of(read_file(path("hold.units")))) {
        units.erase(Unit{work.first_step, "map", std::strtoull(held.c_str(), nullptr, 10)});
      }
      return units.empty();
    })) << running.errors();
    kill(late.second, SIGCONT);
    EXPECT_TRUE(eventually([&] {
      const std::vector<json> log = grant_log();
      return std::any_of(log.begin(), log.end(), [&](const json& line) {
        const std::string event = line.at("event");
        return (event == "accepted" || event == "refused") && life_of(line) == late.first &&
               line.at("step") == work.first_step;
      });
    })) << running.errors();
  }

  /// The step does not end before that, as nobody hands in shard 0.
  void kill_who_has_shard_0(const Work& work, Story& story) const {
    std::pair<Life, pid_t> victim;
    ASSERT_TRUE(eventually([&] {
      const std::vector<json> log = grant_log();
      const WorkInHand in_hand = work_in_hand(log, work);
      for (const auto& rank : living_ranks(log)) {
        const auto units = in_hand.of.find(rank.first);
        if (units != in_hand.of.end() && units->second.contains({work.first_step, "map", 0})) {
          victim = rank;
          return true;
        }
      }
      return false;
    }));
    kill_rank(victim, story);
  }

  [[nodiscard]] bool is_over(const Work& work) const {
    const std::vector<json> log = grant_log();
    return std::any_of(log.begin(), log.end(), [&work](const json& line) {
      return line.at("event") == "done" && line.at("step") == work.last_step;
    });
  }

  void disturb_at_random(RunningCommand& running, Story& story) {
    std::map<Life, pid_t> ranks;
    EXPECT_TRUE(eventually([&] {
      ranks = living_ranks(grant_log());
      return !ranks.empty() || running.wait_for(milliseconds(0)).has_value();
    }));
    if (ranks.empty()) {
      return;
    }
    const auto victim =
        std::next(ranks.begin(), static_cast<std::ptrdiff_t>(random_() % ranks.size()));
    const std::uint64_t way = random_() % 3;  // A kill, a pause, a pause that ends in a kill.
    if (way > 0) {
      kill(victim->second, SIGSTOP);
      static_cast<void>(pause(running));
    }
    if (way == 1) {
      kill(victim->second, SIGCONT);
    } else {
      kill_rank(*victim, story);
    }
  }

  [[nodiscard]] Story tell(const Work& work, const std::string& fences_off) {
    forget_last_job();
    write_file(path("hold"), "");
    write_file(path("late"), "");
    RunningCommand running(folder_, command(work, fences_off), environment());
    Story story;
    let_a_report_come_late(running, work);
    kill_who_has_shard_0(work, story);
    std::filesystem::remove(path("hold"));
    int disturbance_count = 0;
    while (!HasFailure() && disturbance_count < kDisturbanceCountMax && pause(running) &&
           !is_over(work)) {
      disturb_at_random(running, story);
      ++disturbance_count;
    }
    EXPECT_LT(disturbance_count, kDisturbanceCountMax) << "the work does not end";
    write_file(path("gate"), "open");
    story.status = running.wait_for(std::chrono::seconds(60));
    story.output = running.output();
    story.errors = running.errors();
    story.log = grant_log();
    return story;
  }

  [[nodiscard]] std::string undisturbed_answer(Work work) {
    forget_last_job();
    write_file(path("gate"), "open");
    work.milliseconds = "0";
    const CommandResult undisturbed = run(program(work));
    EXPECT_EQ(undisturbed.status, 0) << undisturbed.errors;
    return undisturbed.output;
  }
};

class DisturbedRanks : public RanksAtWork, public testing::WithParamInterface<Work> {};

TEST_P(DisturbedRanks, LeaveTheAnswerAsItIsAndNothingBehind) {
  const Work work = GetParam();
  const std::string right_answer = undisturbed_answer(work);
  for (int loop = 0; loop < loop_count() && !HasFailure(); ++loop) {
    SCOPED_TRACE("PINION_KILL_SEED=" + std::to_string(seed_) + ", job " + std::to_string(loop));
    const Surroundings surroundings(token());
    const Story story = tell(work, "0");
    EXPECT_EQ(story.status, 0) << story.errors;
    EXPECT_EQ(story.output, right_answer);
    EXPECT_THAT(fence_violations(story.log), IsEmpty());
    for (std::uint64_t step = work.first_step; step <= work.last_step; ++step) {
      const std::vector<std::uint64_t> accepted = accepted_shards(story.log, step);
      EXPECT_FALSE(accepted.empty());
      EXPECT_EQ(accepted, each_once(accepted.size()));
    }
    EXPECT_GE(work_in_hand(story.log, work).death_count, 1u) << "nobody died at work";
    EXPECT_EQ(std::count_if(story.log.begin(), story.log.end(),
                            [](const json& line) { return line.at("event") == "lost"; }),
              static_cast<std::ptrdiff_t>(story.kill_count));
    EXPECT_THAT(surroundings.left_behind(), IsEmpty());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Work, DisturbedRanks,
    testing::Values(Work{}, Work{.kind = "groups", .milliseconds = "40"},
                    // The first step reads a sample.
                    Work{.kind = "sort", .milliseconds = "10", .first_step = 2, .last_step = 2},
                    Work{.kind = "k-means", .milliseconds = "40", .last_step = 4}),
    [](const auto& work) {
      const std::string kind = work.param.kind;
      return kind == "k-means" ? std::string("KMeans") : kind;
    });

using UnfencedRanks = RanksAtWork;

// Disturbed alike, with nothing but the sink's look at the fences switched off in the same program.
TEST_F(UnfencedRanks, CountShardsTwice) {
  const Work work;
  const std::string right_answer = undisturbed_answer(work);
  const Story story = tell(work, "1");
  EXPECT_NE(story.output, right_answer);
  EXPECT_THAT(fence_violations(story.log), Contains(HasSubstr(" was accepted before: ")));
}

using KilledAgent = DisturbedJob;

// The command, or its agent, at any moment.
TEST_F(KilledAgent, LeavesNothingBehind) {
  for (int loop = 0; loop < 4 * loop_count() && !HasFailure(); ++loop) {
    SCOPED_TRACE("PINION_KILL_SEED=" + std::to_string(seed_) + ", job " + std::to_string(loop));
    forget_last_job();
    const Surroundings surroundings(token());
    RunningCommand running(folder_, command({.milliseconds = "10"}), environment());
    const bool is_agent = random_() % 2 == 0;
    pid_t victim = running.pid();
    if (is_agent) {
      ASSERT_TRUE(eventually([&] { return !living_ranks(grant_log()).empty(); }));
      victim = parent_of(living_ranks(grant_log()).begin()->second);
    }
    EXPECT_EQ(running.wait_for(milliseconds(random_() % 300)), std::nullopt);
    kill(victim, SIGKILL);
    EXPECT_EQ(running.wait_for(std::chrono::seconds(120)), 137) << running.errors();
    EXPECT_TRUE(eventually([this] { return !something_runs(); }));
    EXPECT_THAT(surroundings.left_behind(), IsEmpty());
  }
}

}  // namespace
}  // namespace pinion
