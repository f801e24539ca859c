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

  // After its first shard a device that works is not taken for one that hangs.
  static constexpr const char* kNoLaterHang = "hang-seconds=60";

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

  // The device of the rank `watched` gets a shard before others go on; `watched` may have more
  // words for the program.
  [[nodiscard]] CommandResult run_with(std::size_t rank_count, const std::string& devices,
                                       std::vector<std::string> options = {},
                                       const std::vector<std::string>& watched = {"0"}) const {
    for (const std::string& word : grant_log_option()) {
      options.push_back(word);
    }
    options.insert(options.end(), {"--set", "devices=" + devices, "--set", "batch-shards=1",
                                   "--set", kNoLaterHang});
    std::vector<std::string> program = {DEVICE_PROGRAM, path("")};
    program.insert(program.end(), watched.begin(), watched.end());
    return run(on_ranks(rank_count, program, options));
  }
};

// One device, of rank 0, whose first copy never ends, and which only the end of its process ends,
// as with a GPU.
constexpr const char* kHangs = "emu:1,mem=1m,fault=hang@1,fault=noabandon";

// Nothing that works is measured by it.
constexpr const char* kHangTime = "hang-first-seconds=0.2";

// What the device had.
constexpr const char* kOfTheHang =
    "DEADLINE_EXCEEDED: with shard [0-9]+ \\(bytes [0-9]+-[0-9]+ of [^\n]*/letters\\)[^\n]* on "
    "it: its work has not ended within 0.2 s \\(setting hang-first-seconds\\)";

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
      run_with(2, "emu:2,mem=1m,fault=1:sticky@1", {"--map-by", "gpu", "--report-bindings"}, {"1"});
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

TEST_F(DeviceLoss, EndsTheRankOfADeviceThatHangsAndStartsItAgain) {
  const CommandResult result = run_with(2, kHangs, {"--set", kHangTime});
  expect_answer(result);
  EXPECT_THAT(result.errors,
              AllOf(ContainsRegex("rank 0 ended with exit status 75, as device 0 \\(emulated "
                                  "device\\) failed: " +
                                  std::string(kOfTheHang) +
                                  "; starting it again \\(1 of 3 for this device\\)"),
                    Not(HasSubstr("the job ends"))));
}

TEST_F(DeviceLoss, DrainsADeviceThatHangsAgainAndAgain) {
  const CommandResult result =
      run_with(1, kHangs, {"--on-failure", "respawn:2", "--set", kHangTime}, {"0", "each-life"});
  expect_answer(result);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("starting it again (1 of 2 for this device)"),
                    HasSubstr("starting it again (2 of 2 for this device)"),
                    ContainsRegex("status 75, as device 0 [^\n]*" + std::string(kOfTheHang) +
                                  "; starting it again without the device, which has failed 3 "
                                  "times"),
                    Not(HasSubstr("failed 4 times"))));
}

TEST_F(DeviceLoss, EndsARankThatIsNotStartedAgainWhereADeviceHangsThatNothingElseEnds) {
  const CommandResult result = run_with(2, kHangs, {"--on-failure", "abort", "--set", kHangTime});
  EXPECT_EQ(result.status, 75) << result.errors;
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(result.errors,
              AllOf(ContainsRegex("rank 0 gives up device 0 \\(emulated device\\), which hangs: " +
                                  std::string(kOfTheHang)),
                    HasSubstr("device 0 was abandoned"), HasSubstr("this process ends"),
                    ContainsRegex("rank 0 ended with exit status 75, after device 0 \\(emulated "
                                  "device\\) failed: " +
                                  std::string(kOfTheHang) + "; the job ends")));
}

TEST_F(DeviceLoss, LetsARankGoOnThatIsNotStartedAgainWhereADeviceThatHangsCanBeGivenUp) {
  const CommandResult result =
      run_with(2, "emu:1,mem=1m,fault=hang@1", {"--on-failure", "abort", "--set", kHangTime});
  expect_answer(result);
  EXPECT_THAT(
      result.errors,
      AllOf(ContainsRegex("rank 0 gives up device 0 [^\n]*" + std::string(kOfTheHang)),
            HasSubstr("rank 0 goes on without device 0 (emulated device), which has failed")));
}

TEST_F(DeviceLoss, EndsAJobOfOneProcessWhereADeviceHangsThatNothingElseEnds) {
  const CommandResult result =
      run({DEVICE_PROGRAM, path(""), "0", "--pinion-devices=" + std::string(kHangs),
           "--pinion-" + std::string(kHangTime)});
  EXPECT_EQ(result.status, 75) << result.errors;
  EXPECT_THAT(result.errors, AllOf(ContainsRegex(kOfTheHang), HasSubstr("this process ends")));
}

TEST_F(DeviceLoss, EndsTheRankOfADeviceThatIsGoneAndStartsItAgain) {
  // It is gone while the first shard is copied to it, or, where the step begins late, before.
  const CommandResult result =
      run_with(2, "emu:2,mem=1m,latency=1us,fault=0:lost@200ms,fault=0:slow@1000000x");
  expect_answer(result);
  EXPECT_THAT(result.errors,
              AllOf(ContainsRegex("rank 0 ended with exit status 69, as device 0 \\(emulated "
                                  "device\\) failed: UNAVAILABLE: [^\n]*device 0 is gone, as "
                                  "planted; starting it again \\(1 of 3 for this device\\)"),
                    Not(HasSubstr("device 1 (emulated device) failed"))));
}

TEST_F(DeviceLoss, DrainsADeviceThatIsGoneWheneverItIsOpened) {
  const CommandResult result = run_with(2, "emu:2,mem=1m,fault=0:lost@0s");
  expect_answer(result);
  EXPECT_THAT(
      result.errors,
      AllOf(HasSubstr("starting it again (3 of 3 for this device)"),
            HasSubstr("rank 0 ended with exit status 69, as device 0 (emulated device) failed: "
                      "UNAVAILABLE: device 0 is gone, as planted; starting it again without the "
                      "device, which has failed 4 times")));
}

// Each rank asks for the GPUs, and finds none.
TEST_F(DeviceLoss, IsNotThatThereIsNoGpuWhichIsSaidOnce) {
  for (const char* const quiet : {"0", "1"}) {
    const std::vector<std::string> options = {"--set", "quiet=" + std::string(quiet)};
    const CommandResult result =
        run_command(folder_, on_ranks(3, {DEVICE_PROGRAM, path(""), "0"}, options),
                    environment({{"CUDA_VISIBLE_DEVICES", ""}}));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.output, "19661 letters\n") << result.errors;
    EXPECT_EQ(count_of("no GPU", result.errors), *quiet == '1' ? 0u : 1u) << result.errors;
  }
}

// The one shard of the first step ends the device of each rank, which holds nothing else.
class DeadlyShard : public DeviceLoss {
 protected:
  // How the shard ends a device, by its first byte.
  struct Way {
    std::string first_byte;
    std::string status;
    std::string words;
    std::vector<std::string> options;
  };

  [[nodiscard]] static Way by_a_fault() {
    return {
        "x", "74", "the kernel met an x", {"--set", "devices=emu:2,mem=1m", "--set", kNoLaterHang}};
  }
  [[nodiscard]] static Way by_a_hang() {
    // In the second step devices work, within this time. Nobody else is to try meanwhile.
    return {"h",
            "75",
            "its work has not ended within 5 s",
            {"--set", "devices=emu:2,mem=1m,fault=noabandon", "--set", "hang-first-seconds=5",
             "--set", "hang-seconds=5", "--set", "late-seconds=3600"}};
  }

  [[nodiscard]] CommandResult run_deadly(const Way& way,
                                         std::vector<std::string> options = {}) const {
    write_file(path("deadly"), way.first_byte + std::string(1023, 'a'));
    options.insert(options.end(), way.options.begin(), way.options.end());
    return run(on_ranks(2, {DEADLY_SHARD_PROGRAM, path("")}, options));
  }

  // Each device has failed for it, and is there in the next life of its rank.
  void expect_two_ends(const CommandResult& result, const Way& way) {
    EXPECT_EQ(read_file(path("failed")), "..");
    for (const std::string rank : {"0", "1"}) {
      EXPECT_THAT(result.errors,
                  ContainsRegex("rank " + rank + " ended with exit status " + way.status +
                                ", as device " + rank + " [^\n]*" + words_of(way) +
                                "[^\n]*starting it again \\(1 of 3 for this device\\)"));
    }
    EXPECT_THAT(result.errors,
                AllOf(Not(HasSubstr("2 of 3")), Not(HasSubstr("without the device"))));
  }

  [[nodiscard]] static std::string words_of(const Way& way) {
    return "with shard 0 \\(bytes 0-1024 of [^\n]*/deadly\\) on it: [^\n]*" + way.words;
  }

  void expect_failed_step(const CommandResult& result, const Way& way) {
    expect_two_ends(result, way);
    EXPECT_EQ(result.status, 67) << result.errors;
    EXPECT_EQ(result.output, "");
    EXPECT_THAT(
        result.errors,
        ContainsRegex("UNKNOWN: [^\n]*shard 0 was held by 2 ranks when they died, the last of "
                      "them rank [01] [^\n]*" +
                      words_of(way)));
  }

  void expect_skipped(const CommandResult& result, const Way& way) {
    expect_two_ends(result, way);
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.output, "0 and 19661 letters\n");
    EXPECT_THAT(
        result.errors,
        AllOf(ContainsRegex("step 1 goes on without shard 0: shard 0 was held by 2 ranks [^\n]*" +
                            words_of(way)),
              HasSubstr("1 skipped"), HasSubstr("rank 0, device 0 (emulated device): "),
              HasSubstr("rank 1, device 1 (emulated device): ")));
  }
};

TEST_F(DeadlyShard, FailsItsStepOnceItHasEndedTwoRanks) {
  expect_failed_step(run_deadly(by_a_fault()), by_a_fault());
}

TEST_F(DeadlyShard, IsSkippedWhereThatIsAskedForAndTheDevicesGoOn) {
  expect_skipped(run_deadly(by_a_fault(), {"--skip-bad"}), by_a_fault());
}

TEST_F(DeadlyShard, FailsItsStepOnceTheDevicesOfTwoRanksHaveHungWithIt) {
  expect_failed_step(run_deadly(by_a_hang()), by_a_hang());
}

TEST_F(DeadlyShard, IsSkippedOnceTheDevicesOfTwoRanksHaveHungWithIt) {
  expect_skipped(run_deadly(by_a_hang(), {"--skip-bad"}), by_a_hang());
}

}  // namespace
}  // namespace pinion
