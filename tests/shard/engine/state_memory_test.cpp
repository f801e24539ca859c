// The memory of states and of input comes from the pages of the job.

#include <poll.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <latch>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/fold_by_key.hpp>
#include <pinion/shard/map_reduce.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/sum_vector.hpp>
#include <pinion/shard/zeroed_pages.hpp>

#include "shard/engine/fake_job.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

// A step whose only batch has `key_count` keys, which no array can hold.
template <class Body>
Status count_keys(FakeRank& rank, std::uint64_t key_count, Body body) {
  const auto counts = map_reduce(
      rank, indices(key_count), by_index_range(key_count),
      [&](const Shard& shard, auto& emit) {
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          body(emit, i * 0x9e3779b97f4a7c15u);
        }
      },
      sum_by_key<std::uint64_t, std::uint64_t>());
  return counts ? Status() : counts.error();
}

const auto emit_one = [](auto& emit, std::uint64_t key) { emit(key, 1); };

TEST(StateMemory, IsChargedWhileThereAreStatesAndUsedAgain) {
  FakeJob job({.worker_count = 1});
  job.run([&](FakeRank& rank) {
    PagePoolUsage first;
    for (int step = 0; step < 2; ++step) {
      ASSERT_TRUE(count_keys(rank, 200'000, emit_one).ok());
      const MemoryUsage usage = rank.memory().usage();
      EXPECT_GT(usage.of(MemoryUse::kState).peak_bytes, 200'000u * 16);
      EXPECT_EQ(usage.of(MemoryUse::kState).used_bytes, 0u);
      first = step == 0 ? rank.pages().usage() : first;
    }
    const PagePoolUsage both = rank.pages().usage();
    EXPECT_GT(first.fresh_count, 0u);
    EXPECT_EQ(both.fresh_count, first.fresh_count) << "the second step has the same needs";
    EXPECT_GT(both.reused_count, first.reused_count);
  });
}

TEST(StateMemory, OfTextKeysIsChargedToo) {
  FakeJob job({.worker_count = 1});
  job.run([&](FakeRank& rank) {
    const auto counts = map_reduce(
        rank, indices(10'000), by_index_range(10'000),
        [&](const Shard& shard, auto& emit) {
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            emit("a long key that lies in an arena " + std::to_string(i), 1);
          }
        },
        sum_by_key<std::string_view, std::uint64_t>());
    ASSERT_TRUE(counts) << counts.error().to_string();
    EXPECT_GT(rank.memory().usage().of(MemoryUse::kState).peak_bytes, 10'000u * 60);
  });
}

TEST(StateMemory, ThatTheBudgetRefusesIsAnErrorInWords) {
  FakeJob job({.worker_count = 1, .memory_bytes = 8 * kMiB});
  job.run([&](FakeRank& rank) {
    const Status status = count_keys(rank, 1'000'000, emit_one);
    EXPECT_EQ(status.code(), ErrorCode::kResourceExhausted);
    EXPECT_THAT(status.to_string(), HasSubstr("raise the budget"));
    EXPECT_THAT(status.to_string(), HasSubstr("shard 0"));
  });
}

TEST(StateMemory, ThatIsRefusedSpoilsTheBatchAlsoWhenTheBodyGoesOn) {
  FakeJob job({.worker_count = 1, .memory_bytes = 8 * kMiB});
  std::atomic<int> caught = 0;
  job.run([&](FakeRank& rank) {
    const Status status = count_keys(rank, 200'000, [&](auto& emit, std::uint64_t key) {
      try {
        emit(key, 1);
      } catch (const std::bad_alloc&) {
        ++caught;
      }
    });
    EXPECT_EQ(status.code(), ErrorCode::kResourceExhausted);
  });
  EXPECT_GT(caught, 0);
}

TEST(StateMemory, OfSmallBudgetsSealsBatchesEarlyInsteadOfFailing) {
  FakeJob job({.worker_count = 2, .batch_shard_count = 1000, .memory_bytes = 32 * kMiB});
  job.run([&](FakeRank& rank) {
    const auto counts = map_reduce(
        rank, indices(4'000'000), by_index_range(20'000),
        [&](const Shard& shard, auto& emit) {
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            emit((i % 1'000'000) * 0x9e3779b97f4a7c15u, 1);
          }
        },
        sum_by_key<std::uint64_t, std::uint64_t>());
    ASSERT_TRUE(counts) << counts.error().to_string();
    EXPECT_EQ(counts->size(), 1'000'000u);
    EXPECT_LE(rank.memory().usage().total.peak_bytes, 32 * kMiB);
  });
}

// There is memory for the shard of one worker, and who has read one keeps it for the next.
TEST(InputMemory, ThatIsRefusedBesideOtherShardsIsTakenAlone) {
  constexpr std::size_t kShardCount = 12;
  constexpr std::uint64_t kShardBytes = 3 * kMiB;
  const TemporaryFolder folder;
  std::ofstream(folder / "zeros").put('0');
  std::filesystem::resize_file(folder / "zeros", kShardCount * kShardBytes);
  FakeJob job({.worker_count = 2, .memory_bytes = 16 * kMiB});
  std::atomic<std::uint32_t> attempts_max = 0;
  job.run([&](FakeRank& rank) {
    const auto held = rank.memory().take(MemoryUse::kBlobs, 10 * kMiB);
    ASSERT_TRUE(held.has_value());
    const auto bytes = map_reduce(
        rank, files({folder / "zeros"}), by_bytes(kShardBytes),
        [&](const Shard& shard, auto& emit) {
          if (shard.attempt() > 1) {
            attempts_max = shard.attempt();
          }
          poll(nullptr, 0, 10);  // Long enough for the other worker to ask meanwhile.
          emit(0, shard.bytes().size());
        },
        sum_vector<std::uint64_t>(1));
    ASSERT_TRUE(bytes) << bytes.error().to_string();
    EXPECT_EQ(bytes->values()[0], kShardCount * kShardBytes);
  });
  EXPECT_EQ(attempts_max, 0u) << "a shard failed, as another had the memory";
}

// Takes more than half of the budget to merge. The first that gets it keeps it until another was
// refused, so that two merges always meet.
class HungryState final : public IAggregator {
 public:
  static constexpr std::uint64_t kBudgetBytes = 64 * kMiB;

  struct Meeting {
    std::atomic<bool> is_kept = false;
    std::atomic<int> refused_count = 0;
    std::latch refused{1};
  };

  explicit HungryState(Meeting& meeting) : meeting_(meeting) {}

  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override {
    return std::make_unique<HungryState>(meeting_);
  }
  void accumulate(const Part&) override {}
  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>>) override {
    try {
      pages_ = ZeroedPages(kBudgetBytes / 8 * 5);
    } catch (const StateRefused&) {
      if (++meeting_.refused_count == 1) {
        meeting_.refused.count_down();
      }
      throw;
    }
    if (!meeting_.is_kept.exchange(true)) {
      meeting_.refused.wait();
    }
    return {};
  }
  void finalize() override {}
  [[nodiscard]] Result<Blob> seal(IBlobStore& store, Place place,
                                  std::uint32_t partition_count) override {
    const PartitionedLayout layout =
        layout_partitions(std::vector<std::uint64_t>(partition_count, 1));
    Result<BlobWriter> writer = store.create(layout.size_bytes, place);
    if (!writer) {
      return std::move(writer).error();
    }
    write_partition_table(writer->bytes(), layout);
    return writer->seal();
  }
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override { return 0; }

 private:
  Meeting& meeting_;
  ZeroedPages pages_;
};

TEST(StateMemory, ThatTwoMergesDoNotFindTogetherTheyFindOneAfterTheOther) {
  FakeJob job({.worker_count = 2, .memory_bytes = HungryState::kBudgetBytes});
  HungryState::Meeting meeting;
  const HungryState prototype(meeting);
  job.run([&](FakeRank& rank) {
    StepSpec spec = detail::make_step("hungry merges", indices(1), by_index_range(1), {});
    spec.partition_count = 2;
    spec.prototype = &prototype;
    spec.body = [](const Shard&, IAggregator&) {};
    const Result<StepOutcome> outcome = run_step(rank, spec);
    ASSERT_TRUE(outcome) << outcome.error().to_string();
    EXPECT_EQ(outcome->partitions.size(), 2u);
  });
  EXPECT_EQ(meeting.refused_count, 1);
}

TEST(StateMemory, OfAMillionKeysIsLittleMoreThanTheAnswerAndTheInput) {
  TemporaryFolder folder;
  constexpr std::uint64_t kKeys = 1'000'000;
  std::vector<std::uint64_t> keys(4 * kKeys);
  for (std::uint64_t i = 0; i < keys.size(); ++i) {
    keys[i] = (i % kKeys) * 0x9e3779b97f4a7c15u;
  }
  folder.write("keys", {reinterpret_cast<const char*>(keys.data()), keys.size() * sizeof(keys[0])});
  FakeJob job({.worker_count = 2, .batch_shard_count = 1000});
  job.run([&](FakeRank& rank) {
    constexpr std::uint64_t kShardBytes = 4 * kMiB;
    const auto counts = map_reduce(
        rank, files({folder / "keys"}), by_bytes(kShardBytes),
        [](const Shard& shard, auto& emit) {
          const std::span<const std::byte> bytes = shard.bytes();
          for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
            std::uint64_t key = 0;
            std::memcpy(&key, bytes.data() + at, sizeof(key));
            emit(key, 1);
          }
        },
        sum_by_key<std::uint64_t, std::uint64_t>());
    ASSERT_TRUE(counts) << counts.error().to_string();
    EXPECT_EQ(counts->size(), kKeys);
    const MemoryUsage usage = rank.memory().usage();
    const std::uint64_t input_bytes = 2 * page_class_bytes(kShardBytes + 128);
    EXPECT_LE(usage.of(MemoryUse::kInput).peak_bytes, input_bytes);
    EXPECT_LE(usage.total.peak_bytes, kKeys * 16 + input_bytes + 256 * kMiB);
  });
}

TEST(InputMemory, IsChargedAndUsedAgain) {
  TemporaryFolder folder;
  folder.write("text", std::string(3 * kMiB, 'x'));
  FakeJob job({.worker_count = 1});
  job.run([&](FakeRank& rank) {
    for (int step = 0; step < 2; ++step) {
      const Status status = for_each_shard(
          rank, files({folder / "text"}), by_bytes(4 * kMiB), [&](const Shard& shard) {
            EXPECT_GE(rank.memory().usage().of(MemoryUse::kInput).used_bytes, shard.bytes().size());
          });
      EXPECT_TRUE(status.ok()) << status.to_string();
      EXPECT_EQ(rank.memory().usage().of(MemoryUse::kInput).used_bytes, 0u);
    }
    EXPECT_EQ(rank.pages().usage().fresh_count, 1u);
    EXPECT_EQ(rank.pages().usage().reused_count, 1u);
  });
}

TEST(InputMemory, ThatTheBudgetRefusesIsAnErrorInWords) {
  TemporaryFolder folder;
  folder.write("text", std::string(3 * kMiB, 'x'));
  FakeJob job({.worker_count = 1, .memory_bytes = 8 * kMiB});
  job.run([&](FakeRank& rank) {
    const MemoryShare results = rank.memory().take(MemoryUse::kBlobs, 6 * kMiB).value();
    const Status status = for_each_shard(rank, files({folder / "text"}), by_bytes(4 * kMiB),
                                         [](const Shard&) { ADD_FAILURE(); });
    EXPECT_EQ(status.code(), ErrorCode::kResourceExhausted);
    EXPECT_THAT(status.to_string(), HasSubstr("make shards smaller"));
    EXPECT_THAT(status.to_string(), HasSubstr("raise the budget"));
  });
}

}  // namespace
}  // namespace pinion
