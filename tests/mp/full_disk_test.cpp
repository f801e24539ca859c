// Whole jobs, alone and on two ranks, whose disk is full: where they spill, where their files go,
// and where they print to. Nothing half-written stays, also when a rank is killed as it writes.

#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"
#include "small_disk.hpp"

namespace pinion {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSubsetOf;
using testing::Pair;

constexpr const char* kNoSpace = "No space left on device";

// The names in a folder, dot files too, each with the size of its file.
std::map<std::string, std::uintmax_t> sizes_in(const std::string& folder) {
  std::map<std::string, std::uintmax_t> sizes;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    sizes[entry.path().filename()] = entry.file_size();
  }
  return sizes;
}

// The parameter is the number of ranks; 0 is the program alone.
class FullDisk : public JobTest, public testing::WithParamInterface<std::size_t> {
 protected:
  // `program` with settings.
  [[nodiscard]] std::vector<std::string> command(
      std::vector<std::string> program, const std::vector<std::string>& settings = {}) const {
    if (GetParam() == 0) {
      for (const std::string& setting : settings) {
        program.push_back("--pinion-" + setting);
      }
      return program;
    }
    std::vector<std::string> options = {"--quiet"};
    for (const std::string& setting : settings) {
      options.insert(options.end(), {"--set", setting});
    }
    return on_ranks(GetParam(), program, options);
  }

  // Runs a command with these words of shell around it, in which "$@" is the command.
  [[nodiscard]] CommandResult run_in_shell(const std::string& words,
                                           const std::vector<std::string>& command,
                                           std::vector<std::string> before = {}) const {
    before.insert(before.end(), {"sh", "-c", words, path("disk")});
    before.insert(before.end(), command.begin(), command.end());
    return run(before);
  }

  // Runs a command that finds a disk of 2 MiB at path("disk"), seen by nobody else, and then prints
  // the files on it.
  [[nodiscard]] CommandResult run_on_small_disk(const std::vector<std::string>& command) const {
    std::filesystem::create_directory(path("disk"));
    return run_in_shell(
        "mount -t tmpfs -o size=2m none \"$0\" || exit 1; \"$@\"; status=$?; "
        "find \"$0\" -type f -printf '%P %s\\n'; exit $status",
        command, {"unshare", geteuid() == 0 ? "-m" : "-rm"});
  }
};

TEST_P(FullDisk, UnderFilesOfOutputIsAnErrorThatLeavesWholeFiles) {
  if (const std::string obstacle = find_mount_obstacle(); !obstacle.empty()) {
    GTEST_SKIP() << "cannot mount a small disk here: " << obstacle;
  }
  const CommandResult result =
      run_on_small_disk(command({OUTPUT_PROGRAM, "4", "900000", path("disk/out")}));
  EXPECT_EQ(result.status, 71);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("RESOURCE_EXHAUSTED"),
                    HasSubstr("writing " + path("disk/out/part-0000")), HasSubstr(kNoSpace)));
  EXPECT_THAT(lines_of(result.output),
              IsSubsetOf({"out/part-00000 900000", "out/part-00001 900000", "out/part-00002 900000",
                          "out/part-00003 900000"}));
}

TEST_P(FullDisk, UnderSpilledBlobsIsAnErrorThatLeavesNothing) {
  if (const std::string obstacle = find_mount_obstacle(); !obstacle.empty()) {
    GTEST_SKIP() << "cannot mount a small disk here: " << obstacle;
  }
  std::vector<std::string> settings = {"memory-bytes=30000000", "batch-shards=1",
                                       "spill-directory=" + path("disk")};
  if (GetParam() == 0) {
    settings.push_back("workers=1");
  }
  const CommandResult result =
      run_on_small_disk(command({MANY_KEYS_PROGRAM, "20", "200000"}, settings));
  EXPECT_EQ(result.status, 71);
  EXPECT_THAT(
      result.errors,
      AllOf(HasSubstr("RESOURCE_EXHAUSTED"), HasSubstr("spilling a blob to " + path("disk")),
            HasSubstr("make room there, or set spill-directory"), HasSubstr(kNoSpace)));
  EXPECT_THAT(result.output, IsEmpty());
}

TEST_P(FullDisk, UnderStandardOutputIsAnError) {
  const CommandResult result =
      run_in_shell("exec \"$@\" >/dev/full", command({MANY_KEYS_PROGRAM, "1", "1"}));
  EXPECT_EQ(result.status, 71);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("RESOURCE_EXHAUSTED: writing to standard output"),
                                   HasSubstr(kNoSpace)));
}

// Where a file may not grow the system sends a signal, which would end the process without a word.
TEST_P(FullDisk, LikeALimitOfTheSizeOfFilesIsAnErrorThatLeavesNothing) {
  const CommandResult result = run_in_shell("ulimit -f 500 && exec \"$@\"",
                                            command({OUTPUT_PROGRAM, "2", "900000", path("out")}));
  EXPECT_EQ(result.status, 71);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("RESOURCE_EXHAUSTED"), HasSubstr("writing " + path("out/part-0000")),
                    HasSubstr("File too large")));
  EXPECT_THAT(sizes_in(path("out")), IsEmpty());
}

TEST_P(FullDisk, IsNotWhatARankLeavesThatIsKilledAsItWrites) {
  const CommandResult result =
      run(command({OUTPUT_PROGRAM, "3", "900000", path("out"), path("marker")}));
  const auto left = sizes_in(path("out"));
  if (left.size() > 3) {
    GTEST_SKIP() << "the file system has no files without a name (O_TMPFILE)";
  }
  EXPECT_THAT(left, Each(Pair(testing::StartsWith("part-0000"), 900'000u)));
  EXPECT_EQ(result.status, GetParam() == 0 ? 137 : 0) << result.errors;
  EXPECT_EQ(left.size() == 3, GetParam() > 0);
}

INSTANTIATE_TEST_SUITE_P(OfAJob, FullDisk, testing::Values(0, 2), [](const auto& way) {
  return way.param == 0 ? std::string("Alone") : std::string("OnTwoRanks");
});

}  // namespace
}  // namespace pinion
