#include <pinion/shard/output.hpp>

#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/collect.hpp>
#include <pinion/shard/fold_by_key.hpp>
#include <pinion/shard/sort.hpp>

#include "shard/engine/fake_job.hpp"
#include "small_disk.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::_;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Key;
using testing::Not;
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

constexpr std::uint64_t kWordCount = 1000;

std::string word_of(std::uint64_t number) {
  return "word" + std::to_string(number);
}

// Word i comes i % 3 + 1 times.
Result<KeyedResult<std::string_view, Count>> count_words(IJobContext& job) {
  return map_reduce(
      job, indices(kWordCount), by_index_range(30),
      [](const Shard& shard, auto& emit) {
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          for (std::uint64_t again = 0; again <= i % 3; ++again) {
            emit(word_of(i));
          }
        }
      },
      count_by_key<std::string_view>());
}

std::string part_of(std::uint64_t index) {
  std::string digits = std::to_string(index);
  return "part-" + digits.insert(0, 5 - digits.size(), '0');
}

// What becomes of the words of a partition.
std::map<std::string, std::string> files_of_words() {
  constexpr std::uint32_t kParts = 32;
  std::map<std::string, std::set<std::string>> lines;
  for (std::uint64_t i = 0; i < kWordCount; ++i) {
    const std::string word = word_of(i);
    const std::uint32_t part = partition_of_hash(hash_key<std::string_view>(word), kParts);
    lines[part_of(part)].insert(word + " " + std::to_string(i % 3 + 1) + "\n");
  }
  std::map<std::string, std::string> files;
  for (std::uint32_t part = 0; part < kParts; ++part) {
    for (const std::string& line : lines[part_of(part)]) {
      files[part_of(part)] += line;
    }
  }
  return files;
}

std::string in_order(const std::string& text) {
  std::set<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    EXPECT_TRUE(lines.insert(line + "\n").second) << line << " is there twice";
  }
  std::string all;
  for (const std::string& line : lines) {
    all += line;
  }
  return all;
}

void write_word(const KeyValue<std::string_view, std::uint64_t>& record, OutputFile& out) {
  out.write(record.key);
  out.write(" " + std::to_string(record.value) + "\n");
}

TEST(WriteFiles, WritesAFileForEachPartitionAsTheProgramFormatsIt) {
  for (const std::uint32_t rank_count : {1u, 2u}) {
    TemporaryFolder folder;
    FakeJob job({.rank_count = rank_count, .worker_count = 2});
    job.run([&](FakeRank& rank) {
      const auto counts = count_words(rank);
      const Status status = write_files(rank, *counts, folder / "out", write_word);
      EXPECT_TRUE(status.ok()) << status.to_string();
    });
    auto files = content_of(folder / "out");
    for (auto& [name, text] : files) {
      text = in_order(text);
    }
    EXPECT_EQ(files, files_of_words());
  }
}

TEST(WriteFiles, WritesTheBytesOfRecordsUnlessToldHow) {
  TemporaryFolder folder;
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    const auto sums = map_reduce(
        rank, indices(100), by_index_range(10),
        [](const Shard& shard, auto& emit) {
          emit(static_cast<std::uint32_t>(shard.begin()), 0.5);
        },
        sum_by_key<std::uint32_t, double>());
    EXPECT_TRUE(write_files(rank, *sums, folder / "keyed").ok());
    const auto numbers = map_reduce(
        rank, indices(100), by_index_range(10),
        [](const Shard& shard, auto& emit) { emit(static_cast<std::uint16_t>(shard.end())); },
        collect<std::uint16_t>());
    EXPECT_TRUE(write_files(rank, *numbers, folder / "plain").ok());
    const auto texts = map_reduce(
        rank, indices(100), by_index_range(10),
        [](const Shard& shard, auto& emit) { emit(std::to_string(shard.id()) + "\n"); },
        collect<std::string_view>());
    EXPECT_TRUE(write_files(rank, *texts, folder / "text").ok());
  });
  std::map<std::uint32_t, double> sums;
  for (const auto& [name, bytes] : content_of(folder / "keyed")) {
    ASSERT_EQ(bytes.size() % 12, 0u);
    for (std::size_t at = 0; at < bytes.size(); at += 12) {
      std::uint32_t key = 0;
      std::memcpy(&key, bytes.data() + at, sizeof(key));
      std::memcpy(&sums[key], bytes.data() + at + sizeof(key), sizeof(double));
    }
  }
  EXPECT_EQ(sums.size(), 10u);
  EXPECT_THAT(sums, Each(Pair(_, 0.5)));
  std::set<std::uint16_t> numbers;
  std::string texts;
  for (const auto& [name, bytes] : content_of(folder / "plain")) {
    ASSERT_EQ(bytes.size() % sizeof(std::uint16_t), 0u);
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint16_t)) {
      std::uint16_t number = 0;
      std::memcpy(&number, bytes.data() + at, sizeof(number));
      numbers.insert(number);
    }
  }
  EXPECT_THAT(numbers, ElementsAre(10, 20, 30, 40, 50, 60, 70, 80, 90, 100));
  for (const auto& [name, bytes] : content_of(folder / "text")) {
    texts += bytes;
  }
  EXPECT_EQ(in_order(texts), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
}

TEST(WriteFiles, LeavesNothingHalfWrittenWhenAPartitionFails) {
  for (const std::uint32_t rank_count : {1u, 2u}) {
    TemporaryFolder folder;
    FakeJob job({.rank_count = rank_count});
    job.run([&](FakeRank& rank) {
      const auto counts = count_words(rank);
      const Status status =
          write_files(rank, *counts, folder / "out", [](const auto& record, auto& out) {
            write_word(record, out);
            if (record.key == "word77") {
              throw ShardError(Status(ErrorCode::kDataLoss, "no such word"));
            }
          });
      EXPECT_EQ(status.code(), ErrorCode::kDataLoss) << status.to_string();
      EXPECT_THAT(status.to_string(), HasSubstr("no such word"));
    });
    const auto expected = files_of_words();
    for (const auto& [name, text] : content_of(folder / "out")) {
      EXPECT_EQ(in_order(text), expected.at(name)) << name;
      EXPECT_THAT(text, Not(HasSubstr("word77 "))) << name;
    }
  }
}

TEST(WriteFiles, WritesNoFileOfAnAnswerWithoutPartitions) {
  TemporaryFolder folder;
  FakeJob job({.rank_count = 1});
  job.run([&](FakeRank& rank) {
    const KeyedResult<std::string_view, Count> nothing;
    EXPECT_TRUE(write_files(rank, nothing, folder / "out", write_word).ok());
  });
  EXPECT_TRUE(content_of(folder / "out").empty());
}

TEST(WriteFiles, WritesPiecesOfEqualSizeInTheOrderOfTheAnswer) {
  TemporaryFolder folder;
  FakeJob job({.rank_count = 2});
  const auto write = [](std::uint64_t number, auto& out) {
    out.write(std::to_string(number) + ",");
  };
  job.run([&](FakeRank& rank) {
    const auto numbers = map_reduce(
        rank, indices(10), by_index_range(4),
        [](const Shard& shard, auto& emit) {
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            emit(i);
          }
        },
        collect<std::uint64_t>());
    EXPECT_TRUE(write_files(rank, *numbers, folder / "answer", 3, write).ok());
    const std::vector<std::uint64_t> copy(numbers->begin(), numbers->end());
    EXPECT_TRUE(write_files(rank, copy, folder / "range", 3, write).ok());
  });
  for (const char* const name : {"answer", "range"}) {
    EXPECT_THAT(content_of(folder / name),
                ElementsAre(Pair("part-00000", "0,1,2,"), Pair("part-00001", "3,4,5,"),
                            Pair("part-00002", "6,7,8,9,")));
  }
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
