#include <pinion/shard/distributed.hpp>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/collect.hpp>
#include <pinion/shard/fold_by_key.hpp>
#include <pinion/shard/histogram.hpp>
#include <pinion/shard/output.hpp>
#include <pinion/shard/sort.hpp>
#include <pinion/shard/sum_vector.hpp>

#include "shard/engine/fake_job.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::AllOf;
using testing::HasSubstr;

using Numbers = KeyedResult<std::uint64_t, Count>;

constexpr std::uint64_t kCount = 10'000;

// Number i comes i % 7 + 1 times.
void emit_numbers(const Shard& shard, auto& emit) {
  for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
    for (std::uint64_t again = 0; again <= i % 7; ++again) {
      emit(i);
    }
  }
}

Result<Distributed<Numbers>> count_numbers(IJobContext& job) {
  return map_reduce(
      job, indices(kCount), by_index_range(100),
      [](const Shard& shard, auto& emit) { emit_numbers(shard, emit); },
      distributed(count_by_key<std::uint64_t>()));
}

// A rank whose store notes which blobs it is asked to open.
class WatchedRank final : public IJobContext, public IBlobStore {
 public:
  explicit WatchedRank(FakeRank& rank) : rank_(rank) {}

  [[nodiscard]] const JobInfo& info() const noexcept override { return rank_.info(); }
  [[nodiscard]] Executor& executor() noexcept override { return rank_.executor(); }
  [[nodiscard]] IBlobStore& store() noexcept override { return *this; }
  [[nodiscard]] IControlLink& control() noexcept override { return rank_.control(); }
  [[nodiscard]] Trace& trace() noexcept override { return rank_.trace(); }
  [[nodiscard]] MemoryLedger& memory() noexcept override { return rank_.memory(); }
  [[nodiscard]] PagePool& pages() noexcept override { return rank_.pages(); }
  [[nodiscard]] Metrics& metrics() noexcept override { return rank_.metrics(); }
  [[nodiscard]] IShardDevices* devices() override { return nullptr; }
  [[nodiscard]] std::uint64_t begin_step() noexcept override { return rank_.begin_step(); }

  [[nodiscard]] Result<BlobWriter> create(std::uint64_t size_bytes, Place place) override {
    return rank_.store().create(size_bytes, place);
  }
  [[nodiscard]] Result<Blob> open(const BlobHandle& handle) override {
    const std::lock_guard lock(mutex_);
    ++opened_[handle.segment];
    return rank_.store().open(handle);
  }
  [[nodiscard]] BlobStoreUsage usage() const override { return rank_.store().usage(); }

  [[nodiscard]] std::uint64_t open_count(std::span<const BlobHandle> handles) {
    const std::lock_guard lock(mutex_);
    std::uint64_t count = 0;
    for (const BlobHandle& handle : handles) {
      count += opened_[handle.segment];
    }
    return count;
  }

 private:
  FakeRank& rank_;
  std::mutex mutex_;
  std::map<std::uint32_t, std::uint64_t> opened_;
};

class DistributedOnRanks : public testing::TestWithParam<std::uint32_t> {
 protected:
  FakeJob job_{{.rank_count = GetParam(), .worker_count = 2, .batch_shard_count = 4}};
};

TEST_P(DistributedOnRanks, FeedsTheNextStepPartitionByPartition) {
  std::atomic<std::uint32_t> answers = 0;
  job_.run([&](FakeRank& rank) {
    const auto counts = count_numbers(rank);
    const auto spread = map_reduce(
        rank, partitions(*counts), by_partition(),
        [&counts](const Shard& shard, auto& emit) {
          for (const auto& [number, count] : read_partition(*counts, shard)) {
            emit(static_cast<double>(count));
            if (number % 7 + 1 != count) {
              throw std::runtime_error("a number has another count");
            }
          }
        },
        histogram(0.5, 7.5, 7));
    ASSERT_TRUE(spread.has_value()) << spread.error().to_string();
    for (std::uint64_t bin = 0; bin < 7; ++bin) {
      EXPECT_EQ(spread->counts()[bin], (kCount + 6 - bin) / 7);
    }
    ++answers;
  });
  EXPECT_EQ(answers, GetParam());
}

TEST_P(DistributedOnRanks, IsAShardForEachPartitionWithItsKeys) {
  std::mutex mutex;
  std::map<std::uint64_t, std::set<std::uint64_t>> numbers;
  std::size_t partition_count = 0;
  job_.run([&](FakeRank& rank) {
    const auto counts = count_numbers(rank);
    const Status status =
        for_each_shard(rank, partitions(*counts), by_partition(), [&](const Shard& shard) {
          const Numbers partition = read_partition(*counts, shard);
          const std::lock_guard lock(mutex);
          for (const auto& record : partition) {
            numbers[shard.id()].insert(record.key);
            EXPECT_EQ(partition.find(record.key), record.value);
          }
          partition_count = counts->partition_count();
        });
    EXPECT_TRUE(status.ok()) << status.to_string();
  });
  EXPECT_EQ(numbers.size(), partition_count);
  std::set<std::uint64_t> all;
  for (const auto& [id, some] : numbers) {
    for (const std::uint64_t number : some) {
      EXPECT_EQ(partition_of_hash(hash_key(number), static_cast<std::uint32_t>(partition_count)),
                id);
      EXPECT_TRUE(all.insert(number).second);
    }
  }
  EXPECT_EQ(all.size(), kCount);
}

TEST_P(DistributedOnRanks, IsOpenedByThePlannerAndByWhoReadsIt) {
  std::atomic<std::uint64_t> after_the_first_step = 0;
  std::atomic<std::uint64_t> after_the_second = 0;
  std::atomic<std::uint64_t> partition_count = 0;
  job_.run([&](FakeRank& rank) {
    WatchedRank watched(rank);
    const auto counts = count_numbers(watched);
    after_the_first_step += watched.open_count(counts->handles());
    const Status status =
        for_each_shard(watched, partitions(*counts), by_partition(),
                       [&](const Shard& shard) { (void)read_partition(*counts, shard); });
    EXPECT_TRUE(status.ok()) << status.to_string();
    after_the_second += watched.open_count(counts->handles());
    partition_count = counts->partition_count();
  });
  EXPECT_EQ(after_the_first_step, 0u);
  EXPECT_EQ(after_the_second, 2 * partition_count);
}

TEST_P(DistributedOnRanks, CanBeGatheredAndOpenedByPartition) {
  job_.run([&](FakeRank& rank) {
    const auto counts = count_numbers(rank);
    const Numbers whole = counts->gather().value();
    EXPECT_EQ(whole.size(), kCount);
    EXPECT_EQ(whole.find(13), 7u);
    std::size_t size = 0;
    for (std::size_t i = 0; i < counts->partition_count(); ++i) {
      size += counts->open(i)->size();
    }
    EXPECT_EQ(size, kCount);
  });
}

TEST_P(DistributedOnRanks, JoinsAnotherOfTheSameKeysPartitionByPartition) {
  job_.run([&](FakeRank& rank) {
    const auto counts = count_numbers(rank);
    const auto evens = map_reduce(
        rank, indices(kCount / 2), by_index_range(500),
        [](const Shard& shard, auto& emit) {
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            emit(2 * i, i);
          }
        },
        distributed(sum_by_key<std::uint64_t, std::uint64_t>()));
    const auto joined = map_reduce(
        rank, partitions(*counts), by_partition(),
        [&](const Shard& shard, auto& emit) {
          const Numbers left = read_partition(*counts, shard);
          const auto right = evens->open(shard.id()).value();
          for (const auto& [number, half] : right) {
            emit(0, left.find(number) == number % 7 + 1 ? half : 0);
          }
        },
        sum_vector<std::uint64_t>(1));
    constexpr std::uint64_t kHalf = kCount / 2;
    EXPECT_EQ(joined->values()[0], kHalf * (kHalf - 1) / 2);
  });
}

TEST_P(DistributedOnRanks, KeepsTextKeysReadableInTheBody) {
  job_.run([&](FakeRank& rank) {
    const auto words = map_reduce(
        rank, indices(1000), by_index_range(10),
        [](const Shard& shard, auto& emit) {
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            emit("w" + std::string(i % 40, 'x'), 1);
          }
        },
        distributed(sum_by_key<std::string_view, std::uint64_t>()));
    const auto lengths = map_reduce(
        rank, partitions(*words), by_partition(),
        [&words](const Shard& shard, auto& emit) {
          for (const auto& [word, count] : read_partition(*words, shard).by_key()) {
            emit(word.size(), count);
          }
        },
        sum_by_key<std::uint64_t, std::uint64_t>());
    EXPECT_EQ(lengths->size(), 40u);
    EXPECT_EQ(lengths->find(40), 25u);
  });
}

TEST_P(DistributedOnRanks, MayBeSortedRecords) {
  const TemporaryFolder folder;
  std::string text;
  std::string in_order;
  for (int i = 0; i < 20'000; ++i) {
    text += std::to_string(100'000 + i * 7919 % 20'000) + "\n";
    in_order += std::to_string(100'000 + i) + "\n";
  }
  const Input input = files({folder.write("text", text)});
  job_.run([&](FakeRank& rank) {
    const auto sorted =
        sort(rank, input, by_bytes(5'000, align_to_line), distributed(line_records()));
    ASSERT_TRUE(sorted.has_value()) << sorted.error().to_string();
    EXPECT_GT(sorted->partition_count(), 1u);
    const Status written = write_files(rank, *sorted, folder / "out");
    ASSERT_TRUE(written.ok()) << written.to_string();
    std::string all;
    for (std::size_t i = 0; i < sorted->partition_count(); ++i) {
      char name[32];
      std::snprintf(name, sizeof(name), "out/part-%05zu", i);
      std::ifstream part(folder / name, std::ios::binary);
      all.append(std::istreambuf_iterator<char>(part), {});
    }
    EXPECT_EQ(all, in_order);
  });
}

TEST_P(DistributedOnRanks, IsWrittenToAFileForEachPartitionByWhoOpensIt) {
  const TemporaryFolder folder;
  std::atomic<std::uint64_t> open_count = 0;
  std::atomic<std::uint64_t> partition_count = 0;
  job_.run([&](FakeRank& rank) {
    WatchedRank watched(rank);
    const auto counts = count_numbers(watched);
    const Status status =
        write_files(watched, *counts, folder / "out", [](const auto& record, auto& out) {
          out.write(std::to_string(record.key) + " " + std::to_string(record.value) + "\n");
        });
    EXPECT_TRUE(status.ok()) << status.to_string();
    open_count += watched.open_count(counts->handles());
    partition_count = counts->partition_count();
  });
  EXPECT_EQ(open_count, 2 * partition_count) << "by the planner, and by who writes it";
  std::uint64_t file_count = 0;
  std::map<std::uint64_t, std::uint64_t> counts;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "out")) {
    ++file_count;
    std::ifstream part(entry.path());
    for (std::uint64_t number = 0, count = 0; part >> number >> count;) {
      EXPECT_TRUE(counts.emplace(number, count).second) << number << " is there twice";
      EXPECT_EQ(count, number % 7 + 1);
    }
  }
  EXPECT_EQ(file_count, partition_count);
  EXPECT_EQ(counts.size(), kCount);
}

TEST_P(DistributedOnRanks, MayBeCollectedRecords) {
  job_.run([&](FakeRank& rank) {
    const auto numbers = map_reduce(
        rank, indices(1000), by_index_range(10),
        [](const Shard& shard, auto& emit) { emit(shard.begin()); },
        distributed(collect<std::uint64_t>()));
    const auto sum = map_reduce(
        rank, partitions(*numbers), by_partition(),
        [&numbers](const Shard& shard, auto& emit) {
          for (const std::uint64_t number : read_partition(*numbers, shard)) {
            emit(0, number);
          }
        },
        sum_vector<std::uint64_t>(1));
    EXPECT_EQ(sum->values()[0], 49'500u);
  });
}

INSTANTIATE_TEST_SUITE_P(OneToThree, DistributedOnRanks, testing::Values(1u, 2u, 3u));

class AnswersInMemory : public testing::Test {
 protected:
  FakeJob job_{{.rank_count = 2}};
};

TEST_F(AnswersInMemory, FeedTheNextStepToo) {
  job_.run([&](FakeRank& rank) {
    const auto counts = count_numbers(rank)->gather();
    const auto again = map_reduce(
        rank, partitions(*counts), by_partition(),
        [&counts](const Shard& shard, auto& emit) {
          for (const auto& [number, count] : read_partition(*counts, shard)) {
            emit(number % 10, count);
          }
        },
        sum_by_key<std::uint64_t, std::uint64_t>());
    EXPECT_EQ(again->total(), counts->total());
    const auto records = map_reduce(
        rank, indices(100), by_index_range(7),
        [](const Shard& shard, auto& emit) { emit(std::to_string(shard.id())); },
        collect<std::string_view>());
    const auto lengths = map_reduce(
        rank, partitions(*records), by_partition(),
        [&records](const Shard& shard, auto& emit) {
          for (const std::string_view record : read_partition(*records, shard)) {
            emit(0, record.size());
          }
        },
        sum_vector<std::uint64_t>(1));
    EXPECT_EQ(lengths->values()[0], 10u + 5 * 2);
  });
}

// What a step over partitions of `counts` answers when its bodies read them as `read_as`.
template <class R>
Status read_as(IJobContext& job, const Input& input, const Distributed<R>& read_as,
               const Partitioning& by = by_partition()) {
  return for_each_shard(job, input, by,
                        [&read_as](const Shard& shard) { (void)read_partition(read_as, shard); });
}

TEST(DistributedErrors, NameTheShardThatIsReadAsAnotherType) {
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    const auto counts = count_numbers(rank);
    const std::vector<BlobHandle> handles(counts->handles().begin(), counts->handles().end());
    const Distributed<KeyedResult<std::uint64_t, Max<std::uint64_t>>> other(rank.store(), handles);
    const Status status = read_as(rank, partitions(*counts), other);
    EXPECT_EQ(status.code(), ErrorCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("of partition "), HasSubstr("reading it as a partition"),
                      HasSubstr("keys or states of other types")));
    const Distributed<SortedResult> sorted(rank.store(), handles);
    EXPECT_EQ(read_as(rank, partitions(*counts), sorted).code(), ErrorCode::kDataLoss);
    const Distributed<CollectedResult<int>> records(rank.store(), handles);
    EXPECT_EQ(read_as(rank, partitions(*counts), records).code(), ErrorCode::kDataLoss);
  });
}

TEST(DistributedErrors, RefuseWhatIsNoPartitionOfTheAnswer) {
  FakeJob job({.rank_count = 1});
  job.run([&](FakeRank& rank) {
    const auto counts = count_numbers(rank);
    const Status no_partition =
        for_each_shard(rank, indices(1), by_index_range(1),
                       [&counts](const Shard& shard) { (void)read_partition(*counts, shard); });
    EXPECT_EQ(no_partition.code(), ErrorCode::kFailedPrecondition);
    EXPECT_THAT(std::string(no_partition.message()),
                HasSubstr("the step must run over partitions() of this answer"));
    const Status beyond =
        for_each_shard(rank, indices(100), by_index_range(1), [&counts](const Shard& shard) {
          if (shard.id() == 99) {
            (void)read_partition(*counts, shard);
          }
        });
    EXPECT_THAT(std::string(beyond.message()), HasSubstr("that has 32 partitions"));
  });
}

TEST(DistributedErrors, RefuseOtherCutsThanByPartition) {
  FakeJob job({.rank_count = 1});
  job.run([&](FakeRank& rank) {
    const auto counts = count_numbers(rank);
    const Status joined = read_as(rank, partitions(*counts), *counts, by_bytes(1 << 20));
    EXPECT_EQ(joined.code(), ErrorCode::kFailedPrecondition);
    EXPECT_THAT(std::string(joined.message()), HasSubstr("cut them with by_partition()"));
    EXPECT_TRUE(read_as(rank, partitions(*counts), *counts, by_bytes(1)).ok()) << "none is cut";
  });
}

TEST(DistributedErrors, RefuseHandlesOfOthers) {
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    const auto counts = count_numbers(rank);
    std::vector<BlobHandle> handles(counts->handles().begin(), counts->handles().end());
    const auto status_of = [&](auto change) {
      std::vector<BlobHandle> changed = handles;
      change(changed[5]);
      const Distributed<Numbers> foreign(rank.store(), changed);
      EXPECT_FALSE(foreign.open(5).has_value());
      return read_as(rank, partitions(foreign), foreign);
    };
    const Status of_another_job = status_of([](BlobHandle& handle) { handle.job = 77; });
    EXPECT_EQ(of_another_job.code(), ErrorCode::kFailedPrecondition);
    EXPECT_THAT(std::string(of_another_job.message()),
                AllOf(HasSubstr("cannot open input partition 5"), HasSubstr("of job 77")));
    EXPECT_EQ(status_of([](BlobHandle& handle) { handle.segment = 1u << 30; }).code(),
              ErrorCode::kNotFound);
    EXPECT_EQ(status_of([](BlobHandle& handle) { ++handle.length_bytes; }).code(),
              ErrorCode::kInvalidArgument);
    EXPECT_EQ(status_of([](BlobHandle& handle) { handle = {}; }).code(),
              ErrorCode::kFailedPrecondition);
  });
}

TEST(DistributedErrors, RefuseDamagedPartitions) {
  FakeJob job({.rank_count = 1});
  job.run([&](FakeRank& rank) {
    const auto counts = count_numbers(rank);
    std::vector<BlobHandle> handles(counts->handles().begin(), counts->handles().end());
    const Blob intact = rank.store().open(handles[7]).value();
    BlobWriter writer = rank.store().create(intact.bytes().size(), Place{}).value();
    std::ranges::copy(intact.bytes(), writer.bytes().begin());
    writer.bytes()[intact.bytes().size() - 3] ^= std::byte{4};
    const Blob damaged = writer.seal().value();
    handles[7] = damaged.handle();
    const Distributed<Numbers> answer(rank.store(), handles);
    const Status status = read_as(rank, partitions(answer), answer);
    EXPECT_EQ(status.code(), ErrorCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("partition 7"), HasSubstr("checksum")));
    EXPECT_EQ(answer.gather().error().code(), ErrorCode::kDataLoss);
  });
}

TEST(ShardErrorTest, FailsTheStepWithItsCodeAndWords) {
  FakeJob job({.rank_count = 1});
  job.run([&](FakeRank& rank) {
    const Status status = for_each_shard(rank, indices(1), by_index_range(1), [](const Shard&) {
      throw ShardError(Status(ErrorCode::kOutOfRange, "no such row"));
    });
    EXPECT_EQ(status.code(), ErrorCode::kOutOfRange);
    EXPECT_THAT(std::string(status.message()), HasSubstr("no such row"));
  });
}

}  // namespace
}  // namespace pinion
