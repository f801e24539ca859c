// Jobs under a real memory limit of the system, with partials that are larger than it.

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
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
constexpr std::uint64_t kLineBytes = 16 * kMiB;

// What the address sanitizer has of its own: shadow, and memory that was freed, which it would keep
// 256 MiB of in each process.
#ifdef __SANITIZE_ADDRESS__
constexpr std::uint64_t kSanitizerBytes = 512 * kMiB;
constexpr const char* kSanitizerKeepsLittle = ":quarantine_size_mb=16";
#else
constexpr std::uint64_t kSanitizerBytes = 0;
constexpr const char* kSanitizerKeepsLittle = "";
#endif

// Enough for a job that is given no budget, which then takes half of it.
constexpr std::uint64_t kLeastLimit = 256 * kMiB + kSanitizerBytes;

std::string expected_answer() {
  return std::to_string(kKeys) + " keys, sum " + std::to_string(kShards * kKeys * (kKeys + 1) / 2);
}

// A control group of version 1 or 2 with a memory limit, below the top one; goes with the object.
class MemoryGroup {
 public:
  explicit MemoryGroup(std::uint64_t limit_bytes) {
    const std::pair<const char*, const char*> versions[] = {
        {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"}};
    static int number = 0;
    const std::string name =
        "pinion-test-" + std::to_string(getpid()) + "-" + std::to_string(++number);
    for (const auto& [top, limit_file] : versions) {
      std::error_code error;
      const std::filesystem::path folder = std::filesystem::path(top) / name;
      if (!std::filesystem::create_directory(folder, error)) {
        continue;
      }
      // The kernel makes the file with the group, where groups can limit memory.
      if (std::filesystem::exists(folder / limit_file)) {
        std::ofstream(folder / limit_file) << limit_bytes << std::flush;
        std::uint64_t limit = 0;
        std::ifstream(folder / limit_file) >> limit;
        limits_ = limit == limit_bytes;
      }
      if (limits_) {
        folder_ = folder;
        return;
      }
      std::filesystem::remove(folder, error);
    }
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
      GTEST_SKIP() << "no memory control group of version 1 or 2 that we may make a group in";
    }
    const char* const options = std::getenv("ASAN_OPTIONS");
    const std::string all =
        (options == nullptr ? "" : options) + std::string(kSanitizerKeepsLittle);
    ASSERT_EQ(::setenv("ASAN_OPTIONS", all.c_str(), 1), 0);
  }

  [[nodiscard]] std::vector<std::string> program(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> command = {MANY_KEYS_PROGRAM, std::to_string(kShards),
                                        std::to_string(kKeys)};
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }

  // Lines of one word each. The file is mostly a hole, so it takes no room on the disk.
  void write_lines(std::uint64_t count) const {
    std::ofstream file(path("text"));
    for (std::uint64_t line = 0; line < count; ++line) {
      file.seekp(static_cast<std::streamoff>(line * kLineBytes));
      file << "needle\n";
    }
    file.close();
    std::filesystem::resize_file(path("text"), count * kLineBytes);
  }

  // Of word_program, which has counted the words.
  void expect_lines(const CommandResult& result, std::uint64_t count) const {
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(read_file(path("out")), "needle " + std::to_string(count) + "\n");
  }

  MemoryGroup group_{kLimit};
};

TEST_F(MemoryLimit, IsKeptByAJobWithMorePartialsThanMemory) {
  const CommandResult result =
      run_command(folder_, group_.inside(program({"--pinion-batch-shards=1"})), environment());
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(result.output, HasSubstr(expected_answer()));
  EXPECT_THAT(result.errors, HasSubstr("spilled"));
}

TEST_F(MemoryLimit, IsKeptByTheRanksOfAJob) {
  const CommandResult result = run_command(
      folder_, group_.inside(on_ranks(2, program(), {"--set", "batch-shards=1"})), environment());
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(result.output, HasSubstr(expected_answer()));
  EXPECT_THAT(result.errors, HasSubstr("spilled"));
}

// The system counts what a job really has, and would end it beyond the limit. Beside its budget are
// the program itself and the tables of the shards that are being worked on: a shard is not cut.
TEST_F(MemoryLimit, IsTheBudgetAndWhatLiesBeside) {
  constexpr std::uint64_t kBudget = 256 * kMiB;
  constexpr std::uint64_t kBeside = 192 * kMiB;
  const MemoryGroup group(kBudget + kBeside + kSanitizerBytes);
  ASSERT_TRUE(group.limits());
  const CommandResult result = run_command(
      folder_,
      group.inside(
          program({"--pinion-batch-shards=1", "--pinion-memory-bytes=" + std::to_string(kBudget)})),
      environment());
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(result.output, HasSubstr(expected_answer()));
}

TEST_F(MemoryLimit, IsLessThanTheFileThatAJobReads) {
  const MemoryGroup group(kLeastLimit);
  ASSERT_TRUE(group.limits());
  write_lines(2 * kLeastLimit / kLineBytes);
  const CommandResult result = run_command(
      folder_, group.inside({WORD_PROGRAM, "1000000", path("out"), path("text")}), environment());
  expect_lines(result, 2 * kLeastLimit / kLineBytes);
}

// What comes on standard input comes only once, so it is kept, and what does not fit is spilled.
TEST_F(MemoryLimit, IsLessThanTheStandardInputOfAJob) {
  constexpr std::uint64_t kLineCount = kLeastLimit / kLineBytes + 2;
  const MemoryGroup group(kLeastLimit);
  ASSERT_TRUE(group.limits());
  write_lines(kLineCount);
  const CommandResult result =
      run_command(folder_,
                  group.inside({"sh", "-c", "cat \"$0\" | \"$@\"", path("text"), WORD_PROGRAM,
                                "1000000", path("out"), "-"}),
                  environment());
  expect_lines(result, kLineCount);
  EXPECT_THAT(result.errors, HasSubstr("spilled"));
}

TEST_F(MemoryLimit, IsAClearErrorWhenNothingMayBeSpilled) {
  const CommandResult result = run_command(
      folder_, group_.inside(program({"--pinion-batch-shards=1", "--pinion-spill-bytes-max=0"})),
      environment());
  EXPECT_EQ(result.status, 71) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("memory-bytes"));
}

TEST_F(MemoryLimit, IsAClearErrorOfRanksThatHaveWaitedInVain) {
  const CommandResult result =
      run_command(folder_,
                  group_.inside(on_ranks(2, program(),
                                         {"--set", "batch-shards=1", "--set", "spill-bytes-max=0",
                                          "--set", "memory-wait-seconds=0.01"})),
                  environment());
  EXPECT_EQ(result.status, 71) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("memory-bytes"));
  EXPECT_THAT(result.errors, HasSubstr("memory-wait-seconds"));
}

TEST_F(MemoryLimit, IsAClearErrorWhenNoStepCouldRun) {
  const CommandResult result = run_command(
      folder_, group_.inside(program({"--pinion-memory-bytes=1000000"})), environment());
  EXPECT_EQ(result.status, 71) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("need at least"));
}

}  // namespace
}  // namespace pinion
