#include "journal/journal_folder.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/runtime/version.hpp>

#include "temporary_folder.hpp"

namespace pinion {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class FolderOfAJournal : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(folder_ / "program") << "#!/bin/sh\n";
    manifest_.spec.command = {"./program", "an argument", "\xff\x01"};
    manifest_.spec.working_directory = folder_.path();
    manifest_.spec.rank_count = 3;
    manifest_.program = *find_program("./program", folder_.path());
  }

  [[nodiscard]] std::string refusal(const LaunchSpec& spec) const {
    const Status same = check_same_job(manifest_, spec);
    EXPECT_EQ(same.code(), ErrorCode::kFailedPrecondition);
    return std::string(same.message());
  }

  TemporaryFolder folder_;
  Manifest manifest_{.job = ~0ULL, .seed = 42};
};

TEST_F(FolderOfAJournal, KeepsWhatTheJobIs) {
  { ASSERT_TRUE(JournalFolder::create(folder_ / "a/b", manifest_).has_value()); }
  const Result<JournalFolder> opened = JournalFolder::open(folder_ / "a/b");
  ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
  const Manifest& read = opened->manifest();
  EXPECT_EQ(read.job, manifest_.job);
  EXPECT_EQ(read.seed, 42U);
  EXPECT_EQ(read.program, manifest_.program);
  EXPECT_EQ(read.spec.command, manifest_.spec.command);
  EXPECT_EQ(read.spec.rank_count, 3U);
}

TEST_F(FolderOfAJournal, HasOneJobAtATime) {
  const Result<JournalFolder> held = JournalFolder::create(folder_ / "j", manifest_);
  ASSERT_TRUE(held.has_value());
  for (const Result<JournalFolder>& other :
       {JournalFolder::open(folder_ / "j"), JournalFolder::create(folder_ / "j", manifest_)}) {
    ASSERT_FALSE(other.has_value());
    EXPECT_EQ(other.error().code(), ErrorCode::kFailedPrecondition);
    EXPECT_THAT(std::string(other.error().message()),
                HasSubstr("is in use by process " + std::to_string(getpid()) + " of host "));
  }
}

TEST_F(FolderOfAJournal, IsNotBegunOver) {
  { ASSERT_TRUE(JournalFolder::create(folder_ / "j", manifest_).has_value()); }
  const Result<JournalFolder> again = JournalFolder::create(folder_ / "j", manifest_);
  ASSERT_FALSE(again.has_value());
  EXPECT_THAT(std::string(again.error().message()),
              HasSubstr("go on with it by pinion run --resume " + (folder_ / "j")));
}

TEST_F(FolderOfAJournal, ThatHasNoneIsSaid) {
  const Result<JournalFolder> none = JournalFolder::open(folder_.path());
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(none.error().message()), HasSubstr("has no journal of a job"));
}

TEST_F(FolderOfAJournal, WithADamagedManifestIsRefused) {
  const std::string whole = encode_manifest(manifest_);
  ASSERT_TRUE(decode_manifest(whole).has_value());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(decode_manifest(whole.substr(0, size)).error().code(), ErrorCode::kDataLoss);
  }
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(decode_manifest(damaged).error().code(), ErrorCode::kDataLoss);
  }
}

TEST_F(FolderOfAJournal, IsForTheSameProgramWithTheSameArguments) {
  EXPECT_TRUE(check_same_job(manifest_, manifest_.spec).ok());
  LaunchSpec spec = manifest_.spec;
  spec.rank_count = 1;
  EXPECT_TRUE(check_same_job(manifest_, spec).ok()) << "the answer does not depend on it";
  spec.command[1] = "another";
  EXPECT_THAT(refusal(spec), AllOf(HasSubstr("the program was './program' 'an argument'"),
                                   HasSubstr("and is './program' 'another'")));
  spec = manifest_.spec;
  spec.working_directory = "/";
  EXPECT_THAT(refusal(spec), HasSubstr("the working directory was "));
  std::ofstream(folder_ / "program") << "#!/bin/sh\necho\n";
  EXPECT_THAT(refusal(manifest_.spec),
              HasSubstr("the program's file was " + (folder_ / "program") + " of 10 bytes"));
  std::filesystem::remove(folder_ / "program");
  EXPECT_EQ(check_same_job(manifest_, manifest_.spec).code(), ErrorCode::kNotFound);
}

TEST_F(FolderOfAJournal, FindsProgramsAsTheyAreRun) {
  EXPECT_EQ(find_program(folder_ / "program", "/")->path, folder_ / "program");
  const Result<ProgramFile> shell = find_program("sh", "/");
  ASSERT_TRUE(shell.has_value());
  EXPECT_TRUE(std::filesystem::exists(shell->path));
  EXPECT_EQ(find_program("no-such-program", "/").error().code(), ErrorCode::kNotFound);
}

TEST(WeaknessOfAJournal, IsSaidOfMemory) {
  EXPECT_THAT(find_weakness("/dev/shm"), HasSubstr("is in memory"));
  EXPECT_EQ(find_weakness("/no/such/folder"), "");
}

}  // namespace
}  // namespace pinion
