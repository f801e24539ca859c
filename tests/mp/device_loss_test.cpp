// Devices that fail under a job: the rank that had one ends and is started again, and the answer is
// that of the CPUs.

#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class DeviceLoss : public JobTest {
 protected:
  static constexpr std::size_t kShardCount = 96;

  DeviceLoss() {
    std::ofstream file(path("letters"), std::ios::binary);
    for (std::size_t i = 0; i < kShardCount * 1024; ++i) {
      file.put("abcde"[i * 7 % 5]);
    }
  }

  // 98304 letters, one in five of which is an a.
  void expect_answer(const CommandResult& result) {
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.output, "19661 letters\n") << result.errors;
    const std::vector<json> log = grant_log();
    EXPECT_EQ(accepted_shards(log, 1), each_once(kShardCount));
    EXPECT_THAT(fence_violations(log), testing::IsEmpty());
  }

  // The device of the rank `watched` gets a shard before others go on.
  [[nodiscard]] CommandResult run_with(std::size_t rank_count, const std::string& devices,
                                       std::vector<std::string> options = {},
                                       const std::string& watched = "0") const {
    for (const std::string& word : grant_log_option()) {
      options.push_back(word);
    }
    options.insert(options.end(), {"--set", "devices=" + devices, "--set", "batch-shards=1"});
    return run(on_ranks(rank_count, {DEVICE_PROGRAM, path(""), watched}, options));
  }
};

TEST_F(DeviceLoss, DoesNotHappenToDevicesThatWork) {
  const CommandResult result = run_with(2, "emu:2,mem=1m");
  expect_answer(result);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("rank 0, device 0 (emulated device): "),
                    HasSubstr("rank 1, device 1 (emulated device): "), Not(HasSubstr("failed"))));
}

TEST_F(DeviceLoss, EndsTheRankInMidCopyAndStartsItAgain) {
  // The first copy to the device of rank 0 fails in each of its lives.
  const CommandResult result = run_with(2, "emu:2,mem=1m,fault=0:sticky@1");
  expect_answer(result);
  EXPECT_THAT(
      result.errors,
      AllOf(HasSubstr("rank 0 ended with exit status 74, as device 0 (emulated device) failed: "),
            HasSubstr("starting it again (1 of 3 for this device)"),
            Not(HasSubstr("device 1 (emulated device) failed"))));
}

TEST_F(DeviceLoss, DrainsADeviceThatFailsAgainAndAgain) {
  const CommandResult result =
      run_with(1, "emu:1,mem=1m,fault=sticky@1", {"--on-failure", "respawn:2"});
  expect_answer(result);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("starting it again (1 of 2 for this device)"),
                    HasSubstr("starting it again (2 of 2 for this device)"),
                    HasSubstr("starting it again without the device, which has failed 3 times"),
                    Not(HasSubstr("failed 4 times"))));
}

TEST_F(DeviceLoss, LetsARankGoOnThatIsNotStartedAgain) {
  const CommandResult result =
      run_with(2, "emu:2,mem=1m,fault=0:sticky@1", {"--on-failure", "abort"});
  expect_answer(result);
  EXPECT_THAT(result.errors, HasSubstr("rank 0 goes on without device 0 (emulated device)"));
}

TEST_F(DeviceLoss, IsOfOneRankWhereEachIsMappedToAGpu) {
  const CommandResult result =
      run_with(2, "emu:2,mem=1m,fault=1:sticky@1", {"--map-by", "gpu", "--report-bindings"}, "1");
  expect_answer(result);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("near GPU 0"), HasSubstr("near GPU 1"),
                                   HasSubstr("rank 1 ended with exit status 74, as device 1"),
                                   HasSubstr("rank 0, device 0 (emulated device): "),
                                   Not(HasSubstr("rank 0 ended"))));
}

TEST_F(DeviceLoss, SaysThatRanksShareAGpu) {
  const CommandResult result = run_with(3, "emu:2,mem=3m", {"--map-by", "gpu"});
  expect_answer(result);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("GPU 0 is shared by 2 ranks; each may use one part in "
                                             "2 of its memory"),
                                   Not(HasSubstr("GPU 1 is shared"))));
}

// The one shard of the first step ends the device of each rank, which holds nothing else.
class DeadlyShard : public DeviceLoss {
 protected:
  DeadlyShard() { write_file(path("deadly"), "x" + std::string(1023, 'a')); }

  [[nodiscard]] CommandResult run_deadly(std::vector<std::string> options = {}) const {
    options.insert(options.end(), {"--set", "devices=emu:2,mem=1m"});
    return run(on_ranks(2, {DEADLY_SHARD_PROGRAM, path("")}, options));
  }

  // Each device has failed for it, and is there in the next life of its rank.
  void expect_two_ends(const CommandResult& result) {
    EXPECT_EQ(read_file(path("failed")), "..");
    EXPECT_THAT(
        result.errors,
        AllOf(
            ContainsRegex("rank 0 ended with exit status 74, as device 0 [^\n]*" + deadly_words() +
                          "[^\n]*starting it again \\(1 of 3 for this device\\)"),
            ContainsRegex("rank 1 ended with exit status 74, as device 1 [^\n]*" + deadly_words() +
                          "[^\n]*starting it again \\(1 of 3 for this device\\)"),
            Not(HasSubstr("2 of 3")), Not(HasSubstr("without the device"))));
  }

  [[nodiscard]] static std::string deadly_words() {
    return "with shard 0 \\(bytes 0-1024 of [^\n]*/deadly\\) on it: [^\n]*the kernel met an x";
  }
};

TEST_F(DeadlyShard, FailsItsStepOnceItHasEndedTwoRanks) {
  const CommandResult result = run_deadly();
  expect_two_ends(result);
  EXPECT_EQ(result.status, 67) << result.errors;
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(
      result.errors,
      ContainsRegex("UNKNOWN: [^\n]*shard 0 was held by 2 ranks when they died, the last of "
                    "them rank [01] [^\n]*" +
                    deadly_words()));
}

TEST_F(DeadlyShard, IsSkippedWhereThatIsAskedForAndTheDevicesGoOn) {
  const CommandResult result = run_deadly({"--skip-bad"});
  expect_two_ends(result);
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "0 and 19661 letters\n");
  EXPECT_THAT(
      result.errors,
      AllOf(ContainsRegex("step 1 goes on without shard 0: shard 0 was held by 2 ranks [^\n]*" +
                          deadly_words()),
            HasSubstr("1 skipped"), HasSubstr("rank 0, device 0 (emulated device): "),
            HasSubstr("rank 1, device 1 (emulated device): ")));
}

}  // namespace
}  // namespace pinion
