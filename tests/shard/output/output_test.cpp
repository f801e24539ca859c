#include <pinion/shard/output.hpp>

#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/collect.hpp>
#include <pinion/shard/sort.hpp>

#include "shard/engine/fake_job.hpp"
#include "small_disk.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::HasSubstr;
using testing::Key;
using testing::Pair;
using testing::UnorderedElementsAre;

// The files of a folder with their content, dot files too.
std::map<std::string, std::string> content_of(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ostringstream text;
    text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    files[entry.path().filename()] = text.str();
  }
  return files;
}

Status write_numbers(IJobContext& job, const std::string& directory, std::size_t bytes_each = 0) {
  return map_to_files(
      job, indices(4), by_index_range(1),
      [&](const Shard& shard, auto& out) {
        out.write("number " + std::to_string(shard.begin()) + "\n");
        out.write(std::string(bytes_each, 'x'));
      },
      directory);
}

TEST(MapToFiles, WritesAFileForEachShard) {
  for (const std::uint32_t rank_count : {1u, 3u}) {
    TemporaryFolder folder;
    FakeJob job({.rank_count = rank_count, .worker_count = 2, .batch_shard_count = 2});
    job.run([&](FakeRank& rank) {
      const Status status = write_numbers(rank, folder / "new/out");
      EXPECT_TRUE(status.ok()) << status.to_string();
    });
    const auto files = content_of(folder / "new/out");
    ASSERT_EQ(files.size(), 4u);
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(files.at("part-0000" + std::to_string(i)), "number " + std::to_string(i) + "\n");
    }
  }
}

TEST(MapToFiles, WritesEachFileOnceThoughShardsRunAgain) {
  TemporaryFolder folder;
  FakeJob job({.rank_count = 2, .worker_count = 2});
  std::atomic<int> failures = 0;
  job.run([&](FakeRank& rank) {
    const Status status = map_to_files(
        rank, indices(8), by_index_range(1),
        [&](const Shard& shard, auto& out) {
          out.write("begin ");
          if (shard.id() == 5 && shard.attempt() == 1) {
            ++failures;
            throw std::runtime_error("not today");
          }
          out.write(std::to_string(shard.id()));
        },
        folder / "out");
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
  EXPECT_GE(failures, 1);
  const auto files = content_of(folder / "out");
  ASSERT_EQ(files.size(), 8u);
  EXPECT_EQ(files.at("part-00005"), "begin 5");
}

TEST(MapToFiles, LeavesNothingHalfWrittenWhenABodyFails) {
  TemporaryFolder folder;
  FakeJob job({.rank_count = 1});
  job.run([&](FakeRank& rank) {
    const Status status = map_to_files(
        rank, indices(1), by_index_range(1),
        [](const Shard&, auto& out) {
          out.write(std::string(1 << 20, 'x'));
          throw std::runtime_error("never");
        },
        folder / "out");
    EXPECT_EQ(status.code(), ErrorCode::kUnknown);
  });
  EXPECT_TRUE(content_of(folder / "out").empty());
}

TEST(OutputFile, ShowsNothingBeforeItIsWhole) {
  TemporaryFolder folder;
  Result<OutputFile> file = OutputFile::create(folder.path(), 7);
  ASSERT_TRUE(file.has_value()) << file.error().to_string();
  file->write(std::string(1 << 20, 'x'));
  const auto before = content_of(folder.path());
  if (!before.empty()) {
    GTEST_SKIP() << "the file system has no files without a name (O_TMPFILE)";
  }
  EXPECT_TRUE(file->commit().ok());
  EXPECT_THAT(content_of(folder.path()), UnorderedElementsAre(Key("part-00007")));
}

TEST(OutputFile, TakesThePlaceOfAnEarlierOne) {
  TemporaryFolder folder;
  for (const char* const text : {"first", "second", "third"}) {
    Result<OutputFile> file = OutputFile::create(folder.path(), 7);
    ASSERT_TRUE(file.has_value()) << file.error().to_string();
    file->write(text);
    const Status status = file->commit();
    EXPECT_TRUE(status.ok()) << status.to_string();
    EXPECT_THAT(content_of(folder.path()), UnorderedElementsAre(Pair("part-00007", text)));
  }
}

TEST(MapToFiles, RefusesADirectoryThatHoldsSomethingOrIsNone) {
  TemporaryFolder folder;
  folder.write("full/precious", "keep me");
  folder.write("file", "");
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    const Status full = write_numbers(rank, folder / "full");
    EXPECT_EQ(full.code(), ErrorCode::kAlreadyExists) << full.to_string();
    EXPECT_THAT(full.to_string(), HasSubstr(folder / "full"));
    const Status file = write_numbers(rank, folder / "file");
    EXPECT_EQ(file.code(), ErrorCode::kFailedPrecondition) << file.to_string();
  });
  EXPECT_THAT(content_of(folder / "full"), UnorderedElementsAre(Key("precious")));
}

TEST(WriteFiles, WritesPartitionsThatAreTheAnswerOneAfterTheOther) {
  TemporaryFolder folder;
  folder.write("text", "pear\napple\nfig\n");
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    const auto sorted =
        sort(rank, files({folder / "text"}), by_bytes(4, align_to_line), line_records()).value();
    EXPECT_TRUE(write_files(rank, sorted, folder / "out").ok());
  });
  std::string all;
  for (const auto& [name, text] : content_of(folder / "out")) {
    all += text;
  }
  EXPECT_EQ(all, "apple\nfig\npear\n");
}

TEST(WriteFiles, WritesRecordsAsTheProgramFormatsThem) {
  TemporaryFolder folder;
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    const auto numbers = map_reduce(
        rank, indices(10), by_index_range(1),
        [](const Shard& shard, auto& emit) { emit(shard.begin()); }, collect<std::uint64_t>());
    const Status status = write_files(
        rank, numbers.value(), folder / "out", 3,
        [](std::uint64_t number, auto& out) { out.write(std::to_string(number) + ","); });
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
  const auto files = content_of(folder / "out");
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files.at("part-00000") + files.at("part-00001") + files.at("part-00002"),
            "0,1,2,3,4,5,6,7,8,9,");
}

// A job that writes to a small file system; whether it fails as expected and leaves whole files.
bool fails_cleanly(const std::string& path, std::size_t bytes_each, ErrorCode expected) {
  Status status;
  FakeJob job({.rank_count = 1});
  job.run([&](FakeRank& rank) { status = write_numbers(rank, path + "/out", bytes_each); });
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  bool is_clean = status.code() == expected;
  if (std::filesystem::exists(path + "/out")) {
    for (const auto& [name, text] : content_of(path + "/out")) {
      is_clean = is_clean && name.starts_with("part-") && text.size() > bytes_each;
    }
  }
  return is_clean;
}

// Ends the process, with status 0 when all is as it should be.
void write_and_exit(std::size_t bytes_each, unsigned long flags, ErrorCode expected) {
  bool is_clean = false;
  {
    const TemporaryFolder folder;
    is_clean = mount_small_disk(folder.path(), "1m", flags) &&
               fails_cleanly(folder.path(), bytes_each, expected);
    ::umount2(folder.path().c_str(), MNT_DETACH);
  }
  ::_exit(is_clean ? 0 : 1);
}

TEST(OutputDeathTest, TellsOfAFullDiskAndLeavesNothingHalfWritten) {
  if (const std::string obstacle = find_mount_obstacle(); !obstacle.empty()) {
    GTEST_SKIP() << "cannot mount a small file system here: " << obstacle;
  }
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(write_and_exit(400'000, 0, ErrorCode::kResourceExhausted), testing::ExitedWithCode(0),
              "writing .*part-0000");
}

TEST(OutputDeathTest, TellsOfAFileSystemThatCannotBeWritten) {
  if (const std::string obstacle = find_mount_obstacle(); !obstacle.empty()) {
    GTEST_SKIP() << "cannot mount a small file system here: " << obstacle;
  }
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const ErrorCode expected = Status::from_errno(EROFS, "").code();
  EXPECT_EXIT(write_and_exit(10, MS_RDONLY, expected), testing::ExitedWithCode(0),
              "output directory");
}

}  // namespace
}  // namespace pinion
