// `pinion sim`: what it shows, that a seed replays, how it says that a guarantee is broken.

#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using Json = nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class SimCommand : public JobTest {
 protected:
  [[nodiscard]] CommandResult sim(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "sim");
    return run_pinion(folder_, std::move(arguments), environment({}));
  }

  [[nodiscard]] Json sim_json(std::vector<std::string> arguments) const {
    arguments.emplace_back("--json");
    const CommandResult result = sim(std::move(arguments));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.errors, "");
    return Json::parse(result.output, nullptr, false);
  }

  void expect_refused(const CommandResult& result, const std::string& words) const {
    EXPECT_EQ(result.status, 64) << result.errors;
    EXPECT_EQ(result.output, "");
    EXPECT_THAT(result.errors, AllOf(StartsWith("pinion: "), HasSubstr(words)));
  }
};

TEST_F(SimCommand, ShowsWhatAJobWouldTake) {
  const CommandResult result = sim({"--ranks", "100", "--shards", "5000", "--seed", "3"});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.errors, "");
  EXPECT_THAT(result.output, AllOf(HasSubstr("100 ranks, 1 steps of 5000 shards, seed 3"),
                                   HasSubstr("makespan"), HasSubstr("coordinator"),
                                   HasSubstr("faults           none"), HasSubstr("hash")));
}

TEST_F(SimCommand, NamesTheRarePathsThatARunNeverReached) {
  const std::vector<std::string> run = {"--ranks", "20", "--shards", "2000",
                                        "--steps", "2",  "--faults", "crash=0.5,fail=0.01",
                                        "--hosts", "2",  "--seed",   "4"};
  const Json json = sim_json(run);
  const auto names = json["never_reached"].get<std::vector<std::string>>();
  EXPECT_THAT(names,
              AllOf(Contains("a step was ordered"), Contains("a rank was drained"),
                    Not(Contains("a unit was granted again")), Not(Contains("a batch failed"))));
  const CommandResult text = sim(run);
  EXPECT_EQ(text.status, 0) << text.errors;
  std::vector<std::string> shown;
  std::istringstream lines(text.output.substr(text.output.find("never reached")));
  for (std::string line; std::getline(lines, line) && !line.starts_with("hash");) {
    shown.push_back(line.substr(17));
  }
  EXPECT_EQ(shown, names);
}

TEST_F(SimCommand, OnlyCountsRarePathsWhereNothingIsToGoWrong) {
  const Json json = sim_json({"--ranks", "5", "--shards", "500", "--ordered", "4"});
  EXPECT_THAT(json["never_reached"].get<std::vector<std::string>>(),
              AllOf(Contains("a unit was granted again"), Not(Contains("a step was ordered"))));
  const CommandResult text = sim({"--ranks", "5", "--shards", "500", "--ordered", "4"});
  EXPECT_THAT(text.output, AllOf(HasSubstr("never reached    " +
                                           std::to_string(json["never_reached"].size()) + " of "),
                                 Not(HasSubstr("a unit was granted again"))));
}

TEST_F(SimCommand, SaysInItsHelpFromWhichRangesTestsDraw) {
  const CommandResult help = sim({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.output, AllOf(HasSubstr("a rank is killed [a rank and second, 0 to 2]"),
                                 HasSubstr("[a message, 0 to 0.004]"),
                                 HasSubstr("the bound is 0.05 [share, 0 to 0.3]"),
                                 HasSubstr("  ranks                   1 to 8\n"),
                                 HasSubstr("100 to 500, in 50 % of the seeds\n"),
                                 HasSubstr("  devices                 in 40 % of the seeds\n")));
}

TEST_F(SimCommand, SaysWhatWentWrongAndWhatItCost) {
  const Json calm = sim_json({"--ranks", "50", "--shards", "20000"});
  const Json rough = sim_json({"--ranks", "50", "--shards", "20000", "--faults",
                               "crash=0.5,pause=0.5,drop=0.001,duplicate=0.01"});
  EXPECT_EQ(calm["units_granted_again"], 0);
  EXPECT_EQ(calm["faults"]["crash"], 0);
  EXPECT_GT(rough["faults"]["crash"], 0);
  EXPECT_GT(rough["faults"]["drop"], 0);
  EXPECT_GT(rough["units_granted_again"], 0);
  EXPECT_GT(rough["granted_again_after_death"]["p50_ms"], 0);
  EXPECT_GT(rough["makespan_s"], calm["makespan_s"]);
  EXPECT_TRUE(rough["violation"].is_null());
}

TEST_F(SimCommand, RepeatsARunByItsSeed) {
  const std::vector<std::string> run = {"--ranks", "20",      "--shards", "2000",  "--faults",
                                        "crash=1", "--steps", "2",        "--seed"};
  const auto hash_of = [&](const std::string& seed) {
    std::vector<std::string> arguments = run;
    arguments.push_back(seed);
    return sim_json(arguments)["hash"];
  };
  EXPECT_EQ(hash_of("5"), hash_of("5"));
  EXPECT_NE(hash_of("5"), hash_of("6"));
}

TEST_F(SimCommand, TriesShardsAgainWhoseBodiesHang) {
  const Json calm = sim_json({"--ranks", "10", "--shards", "2000", "--deadline-ms", "3000"});
  const Json stuck = sim_json(
      {"--ranks", "10", "--shards", "2000", "--deadline-ms", "3000", "--faults", "stuck=0.01"});
  EXPECT_EQ(calm["units_granted_again"], 0);
  EXPECT_GT(stuck["faults"]["stuck"], 0);
  EXPECT_GT(stuck["units_granted_again"], 0);
  EXPECT_TRUE(stuck["violation"].is_null());
}

TEST_F(SimCommand, GivesUpAShardWithWhichRanksDie) {
  // A rank holds one shard, so that it dies with that alone.
  const std::vector<std::string> run = {"--ranks",  "8",       "--workers", "1",
                                        "--leases", "1",       "--shards",  "2000",
                                        "--faults", "crash=3", "--body-us", "50000"};
  std::vector<std::string> strict = run;
  strict.insert(strict.end(), {"--deaths", "2"});
  const Json failed = sim_json(strict);
  EXPECT_TRUE(failed["violation"].is_null());
  EXPECT_THAT(failed["never_reached"].get<std::vector<std::string>>(),
              Not(Contains("a step failed as ranks died with a unit")));
  const Json whole = sim_json(run);
  EXPECT_THAT(whole["never_reached"].get<std::vector<std::string>>(),
              Contains("a step failed as ranks died with a unit"));
  EXPECT_LT(failed["accepted_reports"], whole["accepted_reports"]);
}

TEST_F(SimCommand, RefusesWhatItCannotSimulate) {
  expect_refused(sim({"--faults", "rain=1"}), "there is no fault 'rain'; there are drop, ");
  expect_refused(sim({"--faults", "crash"}), "'crash' must be NAME=NUMBER");
  expect_refused(sim({"--faults", "duplicate=2"}), "with a number of 0 to 1");
  expect_refused(sim({"--faults", "crash=-1"}), "with a number of 0 to 1000");
  expect_refused(sim({"--ranks", "0"}), "--ranks");
  expect_refused(sim({"--ranks", "2", "--steadfast", "2"}), "the ranks are 0 to 1");
  expect_refused(sim({"--skip-bad", "--deadline-ms", "500"}), "exclude each other");
  expect_refused(sim({"--skip-bad", "--deaths", "2"}), "exclude each other");
  expect_refused(sim({"--break", "silence"}), "there is no rule 'silence'");
}

TEST_F(SimCommand, ReplaysASmallerCaseOfABrokenGuarantee) {
  const CommandResult result =
      sim({"--ranks", "8", "--shards", "300", "--lease-ms", "200", "--heartbeat-ms", "60",
           "--faults", "pause=10,stall=0.05", "--break", "no-fence", "--quiet"});
  EXPECT_EQ(result.status, 70) << result.output;
  const std::string smaller = ": pinion sim ";
  const std::size_t at = result.errors.rfind(smaller);
  ASSERT_NE(at, std::string::npos) << result.errors;
  std::istringstream words(result.errors.substr(at + smaller.size()));
  std::vector<std::string> arguments;
  for (std::string word; words >> word;) {
    arguments.push_back(word);
  }
  const CommandResult again = sim(arguments);
  EXPECT_EQ(again.status, 70);
  EXPECT_THAT(again.errors, HasSubstr("is not the newest"));
}

}  // namespace
}  // namespace pinion
