#include <pinion/shard/map_reduce.hpp>

#include <atomic>
#include <cmath>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/fold_by_key.hpp>
#include <pinion/shard/sum_vector.hpp>
#include <pinion/shard/text.hpp>

#include "shard/engine/fake_job.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::ElementsAre;

using Counts = std::map<std::string, std::uint64_t>;
using CountResult = KeyedResult<std::string_view, Sum<std::uint64_t>>;

Counts counts_of(std::string_view text) {
  Counts counts;
  for (const std::string_view word : words(text)) {
    ++counts[std::string(word)];
  }
  return counts;
}

Counts content_of(const CountResult& result) {
  Counts counts;
  for (const auto [word, count] : result) {
    counts.emplace(word, count);
  }
  return counts;
}

std::string random_text(std::size_t word_count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text;
  for (std::size_t i = 0; i < word_count; ++i) {
    text += "w" + std::to_string(random() % 300) + (random() % 8 == 0 ? "\n" : " ");
  }
  return text;
}

Result<CountResult> count_words(IJobContext& job, const std::string& path,
                                std::uint64_t shard_bytes) {
  return map_reduce(
      job, files({path}), by_bytes(shard_bytes, align_to_line),
      [](const Shard& shard, auto& emit) {
        for (const std::string_view word : words(shard.text())) {
          emit(word, 1);
        }
      },
      sum_by_key<std::string_view, std::uint64_t>());
}

struct Shape {
  std::uint32_t rank_count;
  std::size_t worker_count;
  std::size_t batch_shard_count;
};

class MapReduceShapes : public testing::TestWithParam<Shape> {};

TEST_P(MapReduceShapes, CountsTheWordsOfFilesLikeAMap) {
  TemporaryFolder folder;
  const std::string first = random_text(3000, 1);
  const std::string second = random_text(2000, 2);
  folder.write("a.txt", first);
  folder.write("b.txt", second);
  Counts oracle = counts_of(first);
  for (const auto& [word, count] : counts_of(second)) {
    oracle[word] += count;
  }
  FakeJob job({.rank_count = GetParam().rank_count,
               .worker_count = GetParam().worker_count,
               .batch_shard_count = GetParam().batch_shard_count});
  std::atomic<std::uint32_t> answers = 0;
  job.run([&](FakeRank& rank) {
    const auto result = count_words(rank, folder.path(), 500);
    ASSERT_TRUE(result) << result.error().to_string();
    EXPECT_EQ(content_of(*result), oracle);
    ++answers;
  });
  EXPECT_EQ(answers, GetParam().rank_count);
}

INSTANTIATE_TEST_SUITE_P(Jobs, MapReduceShapes,
                         testing::Values(Shape{1, 1, 1}, Shape{1, 2, 3}, Shape{1, 3, 64},
                                         Shape{2, 1, 3}, Shape{2, 2, 64}, Shape{2, 3, 1},
                                         Shape{3, 1, 64}, Shape{3, 2, 1}, Shape{3, 3, 3}),
                         [](const auto& shape) {
                           return std::to_string(shape.param.rank_count) + "Ranks" +
                                  std::to_string(shape.param.worker_count) + "Workers" +
                                  std::to_string(shape.param.batch_shard_count) + "ShardsABatch";
                         });

TEST(MapReduce, SealsTheSameAnswerOverOneRankAndOverThree) {
  TemporaryFolder folder;
  folder.write("text", random_text(4000, 5));
  std::vector<std::vector<KeyValue<std::string, std::uint64_t>>> answers;
  for (const std::uint32_t rank_count : {1u, 3u}) {
    FakeJob job({.rank_count = rank_count, .worker_count = 2, .batch_shard_count = 3});
    job.run([&](FakeRank& rank) {
      const CountResult result = count_words(rank, folder / "text", 700).value();
      if (rank.info().rank == 0) {
        auto& answer = answers.emplace_back();
        for (const auto [word, count] : result) {
          answer.push_back({std::string(word), count});
        }
      }
    });
  }
  EXPECT_EQ(answers[0], answers[1]);
}

TEST(MapReduce, AnswersForAnInputOfNothing) {
  TemporaryFolder folder;
  folder.write("empty", "");
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    EXPECT_EQ(count_words(rank, folder / "empty", 100).value().size(), 0u);
    const auto sums = map_reduce(
        rank, indices(0), by_index_range(10), [](const Shard&, auto& emit) { emit(0, 1); },
        sum_vector<std::int64_t>(3));
    EXPECT_THAT(sums.value().values(), ElementsAre(0, 0, 0));
    EXPECT_TRUE(for_each_shard(rank, indices(0), by_index_range(1), [](const Shard&) {}).ok());
  });
}

TEST(MapReduce, TakesALineThatIsLongerThanAShard) {
  TemporaryFolder folder;
  const std::string text = "a b\n" + std::string(5000, 'x') + " tail\nc a\n";
  folder.write("text", text);
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    EXPECT_EQ(content_of(count_words(rank, folder / "text", 16).value()), counts_of(text));
  });
}

TEST(MapReduce, TakesBytesOfAnyValue) {
  TemporaryFolder folder;
  std::string text;
  std::mt19937_64 random(9);
  for (int i = 0; i < 20'000; ++i) {
    text += static_cast<char>(random() & 0xff);
  }
  folder.write("bytes", text);
  FakeJob job({.rank_count = 2, .worker_count = 2});
  job.run([&](FakeRank& rank) {
    // Keys are the pieces between line feeds: of every other byte, often with zeros.
    const auto result = map_reduce(
        rank, files({folder / "bytes"}), by_bytes(1000, align_to_line),
        [](const Shard& shard, auto& emit) {
          for (const std::string_view line : lines(shard.text())) {
            emit(line, 1);
          }
        },
        sum_by_key<std::string_view, std::uint64_t>());
    Counts oracle;
    for (const std::string_view line : lines(text)) {
      ++oracle[std::string(line)];
    }
    EXPECT_EQ(content_of(result.value()), oracle);
  });
}

// k-means in one dimension: the answer of a step is the input of the next.
TEST(MapReduce, FeedsTheAnswerOfAStepIntoTheNext) {
  constexpr std::uint64_t kPointCount = 1000;
  const auto point = [](std::uint64_t i) {
    return static_cast<std::int64_t>((i * 37) % 100 + (i % 2 == 0 ? 0 : 1000));
  };
  FakeJob job({.rank_count = 3, .worker_count = 2, .batch_shard_count = 3});
  std::vector<std::vector<std::int64_t>> centres(3, {400, 500});
  job.run([&](FakeRank& rank) {
    std::vector<std::int64_t>& mine = centres[rank.info().rank];
    for (int i = 0; i < 3; ++i) {
      const auto sums = map_reduce(
          rank, indices(kPointCount), by_index_range(40),
          [&mine, &point](const Shard& shard, auto& emit) {
            for (std::uint64_t at = shard.begin(); at < shard.end(); ++at) {
              const std::int64_t x = point(at);
              const std::size_t near = std::abs(x - mine[0]) <= std::abs(x - mine[1]) ? 0 : 1;
              emit(2 * near, x);
              emit(2 * near + 1, 1);
            }
          },
          sum_vector<std::int64_t>(4));
      const auto values = sums.value().values();
      mine = {values[0] / values[1], values[2] / values[3]};
    }
  });
  std::int64_t low = 0;
  std::int64_t high = 0;
  for (std::uint64_t i = 0; i < kPointCount; ++i) {
    (i % 2 == 0 ? low : high) += point(i);
  }
  for (const auto& mine : centres) {
    EXPECT_THAT(mine, ElementsAre(low / 500, high / 500));
  }
}

TEST(MapReduce, GivesEveryShardASeedThatRanksDoNotChange) {
  std::vector<std::map<std::uint64_t, std::uint64_t>> seeds(2);
  for (const std::uint32_t rank_count : {1u, 2u}) {
    std::mutex mutex;
    FakeJob job({.rank_count = rank_count});
    job.run([&](FakeRank& rank) {
      const Status status =
          for_each_shard(rank, indices(20), by_index_range(1), [&](const Shard& shard) {
            const std::lock_guard lock(mutex);
            seeds[rank_count - 1].emplace(shard.id(), shard.seed());
          });
      EXPECT_TRUE(status.ok());
    });
  }
  EXPECT_EQ(seeds[0].size(), 20u);
  EXPECT_EQ(seeds[0], seeds[1]);
}

TEST(MapReduce, LeavesNoBlobBehindThatNobodyNeeds) {
  TemporaryFolder folder;
  folder.write("text", random_text(3000, 3));
  FakeJob job({.rank_count = 2, .worker_count = 2, .batch_shard_count = 1});
  job.run([&](FakeRank& rank) {
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(count_words(rank, folder / "text", 300));
    }
  });
  // Only the coordinator's own references are left, and those belong to answers.
  EXPECT_EQ(job.store().usage().blob_count, job.kept_count());
  using Sums = FoldByKey<std::string_view, Sum<std::uint64_t>>;
  EXPECT_LE(job.kept_count(), 3u * Sums::kPartitionCount);
}

TEST(ForEachShard, CallsTheBodyForEveryShard) {
  FakeJob job({.rank_count = 2, .worker_count = 2});
  std::vector<std::atomic<int>> calls(100);
  job.run([&](FakeRank& rank) {
    const Status status =
        for_each_shard(rank, indices(100), by_index_range(7), [&](const Shard& shard) {
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            ++calls[i];
          }
        });
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
  for (const std::atomic<int>& count : calls) {
    EXPECT_EQ(count, 1);
  }
}

TEST(Once, CallsTheFunctionOnOneRank) {
  FakeJob job({.rank_count = 2, .worker_count = 2});
  std::atomic<int> calls = 0;
  job.run([&](FakeRank& rank) { EXPECT_TRUE(once(rank, [&] { ++calls; }).ok()); });
  EXPECT_EQ(calls, 1);
}

TEST(Once, TellsEveryRankWhatItThrew) {
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    const Status status = once(rank, [] { throw std::runtime_error("the disk is full"); });
    EXPECT_EQ(status.code(), ErrorCode::kUnknown);
    EXPECT_THAT(status.to_string(), testing::HasSubstr("the disk is full"));
  });
}

TEST(MapReduce, RecordsWhatWorkersDid) {
  TemporaryFolder folder;
  FakeJob job({.rank_count = 1, .worker_count = 2, .batch_shard_count = 2, .trace = true});
  job.run([&](FakeRank& rank) {
    const auto sums = map_reduce(
        rank, indices(10), by_index_range(1),
        [](const Shard& shard, auto& emit) { emit(0, shard.begin()); },
        sum_vector<std::uint64_t>(1));
    EXPECT_THAT(sums.value().values(), ElementsAre(45));
    ASSERT_TRUE(rank.trace().write(folder / "trace.json", 0).ok());
  });
  std::ifstream file(folder / "trace.json");
  std::stringstream trace;
  trace << file.rdbuf();
  for (const char* name : {"\"shard\"", "\"seal\"", "\"merge\""}) {
    EXPECT_THAT(trace.str(), testing::HasSubstr(name));
  }
}

}  // namespace
}  // namespace pinion
