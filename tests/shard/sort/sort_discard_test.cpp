#include "engine/sort_discard.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shard/sort.hpp>
#include <pinion/shm/local_blob_store.hpp>

#include "engine/sort_batch.hpp"
#include "engine/sort_merge.hpp"
#include "shard/engine/fake_job.hpp"
#include "temporary_folder.hpp"

namespace pinion::engine {
namespace {

constexpr std::size_t kWidth = 16;
constexpr std::uint64_t kExtent = 4096;

// A key of eight letters and the number of the record.
std::string make_records(std::size_t count, std::uint64_t first, std::mt19937_64& random) {
  std::string records;
  for (std::size_t i = 0; i < count; ++i) {
    for (int k = 0; k < 8; ++k) {
      records += static_cast<char>('A' + random() % 8);
    }
    const std::string number = std::to_string(first + i);
    records += std::string(8 - number.size(), '0') + number;
  }
  return records;
}

class SortDiscardTest : public testing::Test {
 protected:
  void make_work(std::uint32_t range_count, std::uint32_t group_count) {
    std::vector<std::uint64_t> sample;
    KeyReader keys(fixed_records(kWidth, {.offset = 0, .length = 8}));
    for (int i = 0; i < 1000; ++i) {
      const std::string record = make_records(1, 0, random_);
      sample.push_back(keys.prefix(std::as_bytes(std::span(record))));
    }
    work_.emplace(SortWork{.store = *store_,
                           .keys = std::move(keys),
                           .ranges = SortRanges(std::move(sample), range_count),
                           .batch_bytes = 200'000,
                           .extent_bytes = kExtent,
                           .batch_shard_count = 1000});
    discard_ = std::make_unique<SortDiscard>(*store_, work_->ranges.count(), group_count);
    work_->discard = discard_.get();
  }

  // Batches of shards of very different sizes; a batch may have to move to a larger blob.
  void fill_batches(std::size_t batch_count) {
    std::uint64_t shard_id = 0;
    for (std::size_t i = 0; i < batch_count; ++i) {
      SortBatch batch(*work_);
      for (const std::size_t count : {std::size_t{3}, std::size_t{6000}, std::size_t{900}}) {
        const std::string text = make_records(count, input_.size() / kWidth, random_);
        const Shard shard({.id = shard_id++,
                           .begin = input_.size(),
                           .end = input_.size() + text.size(),
                           .bytes = std::as_bytes(std::span(text))});
        ASSERT_TRUE(batch.add(shard, Place{}).ok());
        input_ += text;
      }
      batches_.push_back(batch.seal(Place{}).value());
    }
  }

  [[nodiscard]] std::unique_ptr<SortMerge> open_range(std::uint32_t range) {
    auto merge = std::make_unique<SortMerge>(*work_);
    for (const Blob& batch : batches_) {
      EXPECT_TRUE(merge->add(partition_of(batch.bytes(), range).value()).ok());
    }
    return merge;
  }

  [[nodiscard]] std::uint64_t batch_bytes() const { return store_->usage().memory_bytes; }

  std::mt19937_64 random_{7};
  std::unique_ptr<LocalBlobStore> store_ =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{1} << 28);
  std::optional<SortWork> work_;
  std::unique_ptr<SortDiscard> discard_;
  std::string input_;
  std::vector<Blob> batches_;
};

TEST_F(SortDiscardTest, GivesBatchesBackWhileTheAnswerComes) {
  make_work(40, 8);
  fill_batches(5);
  const std::uint64_t all_bytes = batch_bytes();
  std::vector<std::string> expected;
  for (std::size_t at = 0; at < input_.size(); at += kWidth) {
    expected.push_back(input_.substr(at, kWidth));
  }
  std::ranges::stable_sort(expected, {}, [](const auto& record) { return record.substr(0, 8); });
  std::vector<std::string> found;
  for (std::uint32_t range = 0; range < work_->ranges.count(); ++range) {
    work_->collected_bytes_max = range % 2 == 0 ? input_.size() : 0;
    {
      const Blob sealed = open_range(range)->seal(*store_, Place{}).value();
      const SortedResult result = SortedResult::create({sealed}).value();
      for (const std::string_view record : result) {
        found.emplace_back(record);
      }
    }
    discard_->merged(range);
  }
  EXPECT_EQ(found, expected);
  // What is left of a batch: unused memory, the begin with its table, lists and footers.
  EXPECT_LT(batch_bytes(), all_bytes - input_.size() * 9 / 10);
}

TEST_F(SortDiscardTest, KeepsWhatIsReadOrHasToBeReadAgain) {
  make_work(4, 2);
  fill_batches(2);
  const std::uint64_t all_bytes = batch_bytes();
  ASSERT_EQ(work_->ranges.count(), 4u);
  {
    const auto late_reader = open_range(1);
    discard_->merged(0);
    EXPECT_EQ(batch_bytes(), all_bytes);
    discard_->merged(1);
    EXPECT_EQ(batch_bytes(), all_bytes);
  }
  const std::uint64_t left_bytes = batch_bytes();
  EXPECT_LT(left_bytes, all_bytes);
  discard_->merged(2);
  EXPECT_EQ(batch_bytes(), left_bytes);
  EXPECT_GT(SortedResult::create({open_range(3)->seal(*store_, Place{}).value()})->size(), 0u);
  discard_->merged(3);
  EXPECT_LT(batch_bytes(), left_bytes);
}

// Large enough for a batch with several groups.
TEST(Sort, OfOneRankIsRightWhileItsBatchesAreGivenBack) {
  constexpr std::uint64_t kRecords = 4'400'000;
  struct Record {
    std::uint64_t key;
    std::uint64_t number;
  };
  std::vector<Record> records(kRecords);
  std::mt19937_64 random(3);
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < kRecords; ++i) {
    records[i] = {random() % 1'000'000, i};
    sum += records[i].key * (i + 1);
  }
  TemporaryFolder folder;
  const std::uint64_t size_bytes = kRecords * sizeof(Record);
  folder.write("records", {reinterpret_cast<const char*>(records.data()), size_bytes});
  records = {};
  test::FakeJob job({.worker_count = 1, .batch_shard_count = 1000});
  job.run([&](test::FakeRank& rank) {
    const auto sorted = sort(rank, files({folder / "records"}), by_bytes(sizeof(Record) << 18),
                             fixed_records_by<std::uint64_t>(sizeof(Record)));
    ASSERT_TRUE(sorted) << sorted.error().to_string();
    EXPECT_EQ(sorted->size(), kRecords);
    Record last = {};
    std::uint64_t unsorted_count = 0;
    for (const std::string_view bytes : *sorted) {
      Record record;
      std::memcpy(&record, bytes.data(), sizeof(record));
      unsorted_count += std::pair(record.key, record.number) < std::pair(last.key, last.number);
      sum -= record.key * (record.number + 1);
      last = record;
    }
    EXPECT_EQ(unsorted_count, 0u);
    EXPECT_EQ(sum, 0u);
  });
}

}  // namespace
}  // namespace pinion::engine
