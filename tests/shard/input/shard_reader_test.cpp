#include "engine/shard_reader.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/text.hpp>

#include "shard/input/trial.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing_input::FileTrial;
using testing_input::make_file_trial;
using testing_input::MemoryBlobStore;
using testing_input::plan_shards;
using testing_input::records_of;

// One shard over the whole input.
StepPlan plan_of(const std::vector<std::string>& paths) {
  MemoryBlobStore store;
  StepPlan plan;
  plan.listing = InputListing::list(files(paths), store, false, 1).value();
  plan.shards = {{.begin = 0, .end = plan.listing.size()}};
  return plan;
}

std::string load_text(ShardReader& reader, const StepPlan& plan, std::uint64_t id = 0) {
  return std::string(reader.load(plan, id, 1, 0).value().text());
}

// What a shard must hold, byte by byte.
std::string expected_text(const FileTrial& trial, const ShardRange& shard,
                          std::string_view separator) {
  std::string text;
  std::uint64_t at = 0;
  for (const std::string& content : trial.contents) {
    bool is_first_byte = true;
    for (const char byte : content) {
      if (at >= shard.begin && at < shard.end) {
        if (is_first_byte && !text.empty() && !text.ends_with(separator)) {
          text += separator;
        }
        text += byte;
      }
      is_first_byte = false;
      ++at;
    }
  }
  return text;
}

TEST(ShardReader, GivesEachShardItsBytesWhateverTheFiles) {
  ShardReader reader;
  for (const Alignment& alignment : {Alignment(), align_to("\r\n"), align_to_records(12)}) {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      SCOPED_TRACE(alignment.describe() + " seed " + std::to_string(seed));
      const std::unique_ptr<FileTrial> trial = make_file_trial(seed, alignment);
      const StepPlan plan = {.listing = trial->listing,
                             .shards = plan_shards(by_bytes(), trial->listing, trial->policy),
                             .alignment = alignment};
      // Byte by byte is slow; a few shards of each trial do.
      const std::size_t stride = 1 + plan.shards.size() / 20;
      for (std::size_t id = 0; id < plan.shards.size(); id += stride) {
        ASSERT_EQ(load_text(reader, plan, id),
                  expected_text(*trial, plan.shards[id], alignment.separator()))
            << id;
      }
    }
  }
}

// Records as bodies see them: without the delimiter, and none for an end.
std::vector<std::string> bare_records(std::string_view text, std::string_view delimiter) {
  std::vector<std::string> bare;
  for (std::string_view record : records_of(text, delimiter)) {
    record.remove_suffix(record.ends_with(delimiter) ? delimiter.size() : 0);
    bare.emplace_back(record);
  }
  return bare;
}

TEST(ShardReader, LosesNoRecordAndGivesNoneTwice) {
  ShardReader reader;
  for (const std::string_view delimiter : {"\n", "\r\n", "\n\n", "aba", "b"}) {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      SCOPED_TRACE(align_to(delimiter).describe() + " seed " + std::to_string(seed));
      const std::unique_ptr<FileTrial> trial = make_file_trial(seed, align_to(delimiter));
      const StepPlan plan = {.listing = trial->listing,
                             .shards = plan_shards(by_bytes(), trial->listing, trial->policy),
                             .alignment = align_to(delimiter)};
      std::vector<std::string> expected;
      for (const std::string& content : trial->contents) {
        const std::vector<std::string> records = bare_records(content, delimiter);
        expected.insert(expected.end(), records.begin(), records.end());
      }
      std::vector<std::string> found;
      for (std::uint64_t id = 0; id < plan.shards.size(); ++id) {
        const std::string text = load_text(reader, plan, id);
        const std::vector<std::string> records = bare_records(text, delimiter);
        found.insert(found.end(), records.begin(), records.end());
      }
      ASSERT_EQ(found, expected);
    }
  }
}

TEST(ShardReader, LinesAreWhatTheTextHelperSees) {
  ShardReader reader;
  std::size_t expected = 0;
  std::size_t found = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const std::unique_ptr<FileTrial> trial = make_file_trial(seed, align_to_line);
    const StepPlan plan = {.listing = trial->listing,
                           .shards = plan_shards(by_bytes(), trial->listing, trial->policy)};
    for (std::uint64_t id = 0; id < plan.shards.size(); ++id) {
      const Shard shard = reader.load(plan, id, 1, 0).value();
      for ([[maybe_unused]] const std::string_view line : lines(shard.text())) {
        ++found;
      }
    }
    for (const std::string& content : trial->contents) {
      expected += records_of(content, "\n").size();
    }
  }
  EXPECT_EQ(found, expected);
  EXPECT_GT(found, 0u);
}

TEST(ShardReader, PutsALineFeedBetweenFilesWhereOneIsMissing) {
  const TemporaryFolder folder;
  ShardReader reader;
  EXPECT_EQ(load_text(reader, plan_of({folder.write("a", "one"), folder.write("b", "two\n"),
                                       folder.write("c", "three")})),
            "one\ntwo\nthree");
}

TEST(ShardReader, PutsNothingBetweenTheBlocksOfAStream) {
  const TemporaryFolder folder;
  MemoryBlobStore store;
  const std::string path = folder.write("a", "file");
  const std::vector<Blob> blobs = {Blob(), store.add("first li"), store.add("ne")};
  StepPlan plan;
  plan.listing =
      InputListing(InputKind::kBytes,
                   {{.path = path, .begin = 0, .size_bytes = 4},
                    {.path = "-", .blob = blobs[1].handle(), .begin = 4, .size_bytes = 8},
                    {.path = "-", .blob = blobs[2].handle(), .begin = 12, .size_bytes = 2}},
                   14, blobs);
  plan.shards = {{.begin = 0, .end = 14}};
  ShardReader reader;
  EXPECT_EQ(load_text(reader, plan), "file\nfirst line");
}

TEST(ShardReader, EndsAShardWithZeroBytesInAlignedMemory) {
  const TemporaryFolder folder;
  ShardReader reader;
  load_text(reader, plan_of({folder.write("long", std::string(1000, 'x'))}));
  const Shard shard = reader.load(plan_of({folder.write("short", "abc")}), 0, 1, 0).value();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(shard.bytes().data()) % 64, 0u);
  const std::byte* tail = shard.bytes().data() + shard.bytes().size();
  for (int index = 0; index < 64; ++index) {
    EXPECT_EQ(tail[index], std::byte{0}) << index;
  }
  ASSERT_EQ(shard.lead_bytes(), 64u);
  for (int index = 1; index <= 64; ++index) {
    EXPECT_EQ(shard.bytes().data()[-index], std::byte{0}) << index;
  }
}

TEST(ShardReader, PutsNothingBetweenRecords) {
  const TemporaryFolder folder;
  StepPlan plan = plan_of({folder.write("a", "1234"), folder.write("b", "5678")});
  plan.alignment = align_to_records(4);
  ShardReader reader;
  EXPECT_EQ(load_text(reader, plan), "12345678");
  plan.alignment = align_to("; ");
  EXPECT_EQ(load_text(reader, plan), "1234; 5678");
}

TEST(ShardReader, RefusesAShardThatIsLargerThanAWorkerMayHold) {
  const TemporaryFolder folder;
  const StepPlan plan = plan_of({folder.write("f", std::string(1001, 'x'))});
  ShardReader exact({.shard_bytes_max = 1001});
  EXPECT_EQ(load_text(exact, plan).size(), 1001u);
  ShardReader reader({.shard_bytes_max = 1000});
  const Result<Shard> shard = reader.load(plan, 0, 1, 0);
  ASSERT_FALSE(shard.has_value());
  EXPECT_EQ(shard.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(shard.error().message(), HasSubstr("1001 bytes"));
  EXPECT_THAT(shard.error().message(), HasSubstr("1000 bytes"));
  EXPECT_THAT(shard.error().message(), HasSubstr("make shards smaller"));
}

// Which pages of the file the system has in memory.
std::size_t cached_page_count(const std::string& path, std::size_t size_bytes) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* const mapped = ::mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, file, 0);
  ::close(file);
  if (mapped == MAP_FAILED) {
    ADD_FAILURE() << "cannot map " << path;
    return 0;
  }
  std::vector<unsigned char> pages((size_bytes + 4095) / 4096);
  EXPECT_EQ(::mincore(mapped, size_bytes, pages.data()), 0);
  ::munmap(mapped, size_bytes);
  return static_cast<std::size_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return page & 1; }));
}

TEST(ShardReader, LeavesNothingOfALargeInputInThePageCache) {
  const TemporaryFolder folder;
  const std::string text(1u << 20, 'x');
  const std::string path = folder.write("f", text);
  // Only what is written back can leave.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::fsync(file), 0);
  ::close(file);
  const StepPlan plan = plan_of({path});
  ShardReader keeping({.page_cache_bytes_max = text.size()});
  EXPECT_EQ(load_text(keeping, plan), text);
  if (cached_page_count(path, text.size()) != 256 || ::getpagesize() != 4096) {
    GTEST_SKIP() << "the file system of " << path << " does not show its page cache";
  }
  ShardReader leaving({.page_cache_bytes_max = text.size() - 1});
  EXPECT_EQ(load_text(leaving, plan), text);
  const std::size_t left = cached_page_count(path, text.size());
  if (left == 256) {
    GTEST_SKIP() << "the file system of " << path << " keeps its pages whatever is asked";
  }
  EXPECT_LT(left, 32u);
}

TEST(ShardReader, GivesMemoryOfAnUnusualShardBack) {
  const TemporaryFolder folder;
  ShardReader reader;
  load_text(reader, plan_of({folder.write("long", std::string(100u << 20, 'x'))}));
  EXPECT_GE(reader.memory_bytes(), 100u << 20);
  load_text(reader, plan_of({folder.write("short", "abc")}));
  EXPECT_LT(reader.memory_bytes(), 1u << 20);
}

TEST(ShardReader, UsesItsMemoryAgain) {
  const TemporaryFolder folder;
  ShardReader reader;
  EXPECT_EQ(reader.memory_bytes(), 0u);
  load_text(reader, plan_of({folder.write("long", std::string(200'000, 'x'))}));
  const std::uint64_t memory_bytes = reader.memory_bytes();
  EXPECT_GE(memory_bytes, 200'064u);
  load_text(reader, plan_of({folder.write("short", "abc")}));
  EXPECT_EQ(reader.memory_bytes(), memory_bytes);
}

TEST(ShardReader, SaysThatAFileHasShrunk) {
  const TemporaryFolder folder;
  const std::string path = folder.write("f", "0123456789");
  const StepPlan plan = plan_of({path});
  ShardReader reader;
  EXPECT_EQ(load_text(reader, plan), "0123456789");
  fs::resize_file(path, 9);
  const Result<Shard> shard = reader.load(plan, 0, 1, 0);
  ASSERT_FALSE(shard.has_value());
  EXPECT_EQ(shard.error().code(), ErrorCode::kDataLoss);
  EXPECT_THAT(shard.error().message(), HasSubstr(path));
  EXPECT_THAT(shard.error().message(), HasSubstr("had 10 bytes"));
  EXPECT_THAT(shard.error().message(), HasSubstr("has 9"));
}

TEST(ShardReader, ReadsOnlyTheListedBytesOfAFileThatGrew) {
  const TemporaryFolder folder;
  const std::string path = folder.write("f", "0123");
  const StepPlan plan = plan_of({path});
  folder.write("f", "012345678");
  ShardReader reader;
  EXPECT_EQ(load_text(reader, plan), "0123");
}

// A step may read what another one wrote in the place of an earlier file.
TEST(ShardReader, SeesTheFileThatTookThePlaceOfAnother) {
  const TemporaryFolder folder;
  const std::string path = folder.write("f", "before");
  ShardReader reader;
  EXPECT_EQ(load_text(reader, plan_of({path})), "before");
  fs::rename(folder.write("g", "afterwards"), path);
  EXPECT_EQ(load_text(reader, plan_of({path})), "afterwards");
}

TEST(ShardReader, NamesAFileThatIsGone) {
  const TemporaryFolder folder;
  const std::string path = folder.write("f", "0123");
  const StepPlan plan = plan_of({path});
  fs::remove(path);
  ShardReader reader;
  const Result<Shard> shard = reader.load(plan, 0, 1, 0);
  ASSERT_FALSE(shard.has_value());
  EXPECT_EQ(shard.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(shard.error().message(), HasSubstr(path));
}

TEST(ShardReader, GoesOnAfterAnError) {
  const TemporaryFolder folder;
  const std::string path = folder.write("f", "0123");
  const StepPlan plan = plan_of({path});
  ShardReader reader;
  fs::resize_file(path, 1);
  EXPECT_FALSE(reader.load(plan, 0, 1, 0).has_value());
  folder.write("f", "4567");
  EXPECT_EQ(load_text(reader, plan), "4567");
}

TEST(ShardReader, GivesIndicesWithoutBytes) {
  const StepPlan plan = {.listing = InputListing(InputKind::kIndices, {}, 10),
                         .shards = {{.begin = 0, .end = 4}, {.begin = 4, .end = 10}}};
  ShardReader reader;
  const Shard shard = reader.load(plan, 1, 3, 42).value();
  EXPECT_EQ(shard.id(), 1u);
  EXPECT_EQ(shard.begin(), 4u);
  EXPECT_EQ(shard.end(), 10u);
  EXPECT_EQ(shard.attempt(), 3u);
  EXPECT_EQ(shard.seed(), shard_seed(42, 1));
  EXPECT_TRUE(shard.bytes().empty());
  EXPECT_EQ(reader.memory_bytes(), 0u);
}

TEST(ShardReader, RefusesAShardThatIsNotInThePlan) {
  const StepPlan plan = {.listing = InputListing(InputKind::kIndices, {}, 10),
                         .shards = {{.begin = 0, .end = 10}}};
  ShardReader reader;
  EXPECT_EQ(reader.load(plan, 1, 1, 0).error().code(), ErrorCode::kOutOfRange);
}

TEST(ShardSeed, DiffersBetweenShardsAndJobs) {
  std::set<std::uint64_t> seeds;
  for (std::uint64_t job = 0; job < 50; ++job) {
    for (std::uint64_t id = 0; id < 50; ++id) {
      seeds.insert(shard_seed(job, id));
    }
  }
  EXPECT_EQ(seeds.size(), 2500u);
  EXPECT_EQ(shard_seed(7, 9), shard_seed(7, 9));
}

// Its end reads the memory, which must still be there.
HostRegistration noting(std::span<std::byte> memory, int& ended_count) {
  return HostRegistration(std::shared_ptr<void>(memory.data(), [memory, &ended_count](void*) {
    memory.front() = memory.back();
    ++ended_count;
  }));
}

TEST(ShardReader, EndsARegistrationBeforeItsMemoryMovesOrGoes) {
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  const TemporaryFolder folder;
  const std::string path = folder / "input";
  std::ofstream(path).close();
  fs::resize_file(path, 9 * kMiB);
  StepPlan plan = plan_of({path});
  plan.shards = {
      {.begin = 0, .end = 3 * kMiB}, {.begin = 0, .end = kMiB}, {.begin = 0, .end = 9 * kMiB}};
  int ended_count = 0;
  {
    ShardReader reader;
    EXPECT_FALSE(reader.is_registered());
    static_cast<void>(reader.load(plan, 0, 1, 0).value());
    reader.keep(noting(reader.memory(), ended_count));
    static_cast<void>(reader.load(plan, 1, 1, 0).value());  // Fits in the same memory.
    EXPECT_TRUE(reader.is_registered());
    EXPECT_EQ(ended_count, 0);
    static_cast<void>(reader.load(plan, 2, 1, 0).value());
    EXPECT_FALSE(reader.is_registered());
    EXPECT_EQ(ended_count, 1);
    reader.keep(noting(reader.memory(), ended_count));
    reader.drop_memory();
    EXPECT_FALSE(reader.is_registered());
    EXPECT_EQ(ended_count, 2);
    static_cast<void>(reader.load(plan, 0, 1, 0).value());
    reader.keep(noting(reader.memory(), ended_count));
  }
  EXPECT_EQ(ended_count, 3);
}

}  // namespace
}  // namespace pinion
