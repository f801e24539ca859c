#include <poll.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/map_reduce.hpp>

#include "shard/engine/fake_job.hpp"
#include "shard/input/compressed.hpp"
#include "temporary_folder.hpp"

// Inputs and planners in whole steps, on jobs of several ranks.

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::HasSubstr;

// What the bodies saw, by their own count: nothing of it depends on an aggregator.
struct Seen {
  std::atomic<std::uint64_t> shard_count = 0;
  std::atomic<std::uint64_t> byte_count = 0;
};

Status run(FakeRank& rank, const Input& input, const Partitioning& by, Seen& seen) {
  return for_each_shard(rank, input, by, [&seen](const Shard& shard) {
    ++seen.shard_count;
    seen.byte_count += shard.bytes().size();
  });
}

TEST(StepInput, ChoosesTheSizeOfShardsByTheWorkersOfAllRanks) {
  Seen seen;
  FakeJob job({.rank_count = 2, .worker_count = 2});
  job.run(
      [&](FakeRank& rank) { EXPECT_TRUE(run(rank, indices(6400), by_index_range(), seen).ok()); });
  EXPECT_EQ(seen.shard_count, 32u);
}

TEST(StepInput, TakesCompressedFilesAndTellsTheUserOnce) {
  const TemporaryFolder folder;
  const std::string text(100'000, 'x');
  const Input input = files({folder.write("a", testing_input::gzip(text)), folder.write("b", text),
                             folder.write("c", testing_input::zstd(text))});
  Seen seen;
  testing::internal::CaptureStderr();
  {
    FakeJob job({.rank_count = 3});
    job.run([&](FakeRank& rank) { EXPECT_TRUE(run(rank, input, by_bytes(1000), seen).ok()); });
  }
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_EQ(seen.byte_count, 300'000u);
  EXPECT_EQ(told,
            "pinion: 1 gzip file, 1 zstd file: a compressed file is not cut, one worker inflates "
            "and reads all of it\n");
}

TEST(StepInput, NamesTheDamagedFileOnEveryRank) {
  const TemporaryFolder folder;
  std::string stored = testing_input::gzip("some text, some more text");
  stored.resize(stored.size() - 3);
  const Input input = files({folder.write("good", "text\n"), folder.write("bad", stored)});
  Seen seen;
  std::atomic<int> told = 0;
  testing::internal::CaptureStderr();
  {
    FakeJob job({.rank_count = 2});
    job.run([&](FakeRank& rank) {
      const Status status = run(rank, input, by_bytes(align_to_line), seen);
      EXPECT_EQ(status.code(), ErrorCode::kDataLoss);
      EXPECT_THAT(std::string(status.message()), HasSubstr(folder / "bad"));
      ++told;
    });
  }
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(told, 2);
}

// Input blobs are the program's: a step over them must not let go of them.
TEST(StepInput, ReadsBlobsAgainAndAgain) {
  FakeJob job({.rank_count = 2});
  BlobWriter writer = job.store().create(100'000, Place{}).value();
  const Blob blob = writer.seal().value();
  ASSERT_TRUE(job.store().keep(blob.handle()).ok());
  const Input input = blobs(std::vector<BlobHandle>{blob.handle(), blob.handle()});
  Seen seen;
  job.run([&](FakeRank& rank) {
    for (int step = 0; step < 3; ++step) {
      EXPECT_TRUE(run(rank, input, by_bytes(30'000), seen).ok());
    }
  });
  EXPECT_EQ(seen.byte_count, 600'000u);
  EXPECT_TRUE(job.store().open(blob.handle()).has_value());
}

// The body holds the quicker rank's step open until the other rank has come with its own.
TEST(StepInput, OfOtherBlobsIsAnotherStep) {
  FakeJob job({.rank_count = 2});
  const Blob one = job.store().create(100, Place{}).value().seal().value();
  const Blob two = job.store().create(100, Place{}).value().seal().value();
  std::atomic<int> refused = 0;
  job.run([&](FakeRank& rank) {
    const Status status = for_each_shard(
        rank, blobs({rank.info().rank == 0 ? one : two}), by_file(), [&refused](const Shard&) {
          for (int round = 0; round < 1000 && refused == 0; ++round) {
            poll(nullptr, 0, 10);
          }
        });
    refused += status.code() == ErrorCode::kFailedPrecondition ? 1 : 0;
  });
  EXPECT_EQ(refused, 2);
}

}  // namespace
}  // namespace pinion
