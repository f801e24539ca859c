// Jobs under a real memory limit of the system, with partials that are larger than it.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kLimit = 768 * kMiB;
constexpr std::uint64_t kShards = 40;  // Their partials have about 24 MiB each.
constexpr std::uint64_t kKeys = 1'000'000;

std::string expected_answer() {
  return std::to_string(kKeys) + " keys, sum " + std::to_string(kShards * kKeys * (kKeys + 1) / 2);
}

// A control group of version 1 with a memory limit; goes with the object.
class MemoryGroup {
 public:
  MemoryGroup() : folder_("/sys/fs/cgroup/memory/pinion-test-" + std::to_string(getpid())) {
    std::error_code error;
    std::filesystem::create_directory(folder_, error);
    std::ofstream(folder_ / "memory.limit_in_bytes") << kLimit << std::flush;
    std::uint64_t limit = 0;
    std::ifstream(folder_ / "memory.limit_in_bytes") >> limit;
    limits_ = limit == kLimit;
  }
  ~MemoryGroup() {
    std::error_code error;
    std::filesystem::remove(folder_, error);
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  [[nodiscard]] bool limits() const { return limits_; }

  /// The command, and all it starts, inside the group.
  [[nodiscard]] std::vector<std::string> inside(const std::vector<std::string>& command) const {
    std::vector<std::string> all = {
        "/bin/sh", "-c", "echo $$ > " + (folder_ / "cgroup.procs").string() + " && exec \"$@\"",
        "sh"};
    all.insert(all.end(), command.begin(), command.end());
    return all;
  }

 private:
  std::filesystem::path folder_;
  bool limits_ = false;
};

class MemoryLimit : public JobTest {
 protected:
  void SetUp() override {
    if (!group_.limits()) {
      GTEST_SKIP() << "no memory control group of version 1 that we may make a group in";
    }
  }

  [[nodiscard]] std::vector<std::string> program(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> command = {MANY_KEYS_PROGRAM, std::to_string(kShards),
                                        std::to_string(kKeys)};
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }

  MemoryGroup group_;
};

TEST_F(MemoryLimit, IsKeptByAJobWithMorePartialsThanMemory) {
  const CommandResult result =
      run_command(folder_, group_.inside(program({"--pinion-batch-shards=1"})), environment());
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(result.output, HasSubstr(expected_answer()));
  EXPECT_THAT(result.errors, HasSubstr("spilled"));
}

TEST_F(MemoryLimit, IsKeptByTheRanksOfAJob) {
  const CommandResult result =
      run_command(folder_,
                  group_.inside({PINION_COMMAND, "run", "-n", "2", "--workers-per-rank", "1",
                                 "--set", "batch-shards=1", MANY_KEYS_PROGRAM,
                                 std::to_string(kShards), std::to_string(kKeys)}),
                  environment());
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(result.output, HasSubstr(expected_answer()));
  EXPECT_THAT(result.errors, HasSubstr("spilled"));
}

TEST_F(MemoryLimit, IsAClearErrorWhenNothingMayBeSpilled) {
  const CommandResult result = run_command(
      folder_, group_.inside(program({"--pinion-batch-shards=1", "--pinion-spill-bytes-max=0"})),
      environment());
  EXPECT_EQ(result.status, 71) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("memory-bytes"));
}

TEST_F(MemoryLimit, IsAClearErrorWhenNoStepCouldRun) {
  const CommandResult result = run_command(
      folder_, group_.inside(program({"--pinion-memory-bytes=1000000"})), environment());
  EXPECT_EQ(result.status, 71) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("need at least"));
}

}  // namespace
}  // namespace pinion
