#include "engine/sort_partial.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shm/local_blob_store.hpp>

#include "engine/sort_batch.hpp"
#include "engine/sort_merge.hpp"
#include "shard/engine/aggregation.hpp"

namespace pinion::engine {
namespace {

class SortPartialTest : public testing::Test {
 protected:
  // Two shards of records like "7......\n", in two ranges.
  std::vector<Blob> make_batches(const RecordForm& form) {
    work_.emplace(SortWork{.store = *store_,
                           .keys = KeyReader(form),
                           .ranges = SortRanges({0, std::uint64_t{'5'} << 56}, 2),
                           .batch_bytes = 100,
                           .batch_shard_count = 2});
    std::vector<Blob> batches;
    for (std::uint64_t id = 0; id < 2; ++id) {
      SortBatch batch(*work_);
      std::string text;
      for (char digit = '9'; digit >= '0'; --digit) {
        text += std::string(1, digit) + "......\n";
      }
      const Shard shard(
          {.id = id, .begin = 0, .end = text.size(), .bytes = std::as_bytes(std::span(text))});
      EXPECT_TRUE(batch.add(shard, Place{}).ok());
      batches.push_back(batch.seal(Place{}).value());
    }
    return batches;
  }

  // Merges `piece` with that of the other batch; what goes wrong must be kDataLoss.
  bool merges(std::span<const std::byte> piece, const Blob& other) {
    SortMerge merge(*work_);
    Status status = merge.add(piece);
    if (status.ok()) {
      EXPECT_TRUE(merge.add(partition_of(other.bytes(), 1).value()).ok());
      const Result<Blob> sealed = merge.seal(*store_, Place{});
      status = sealed ? Status() : sealed.error();
    }
    EXPECT_TRUE(status.ok() || status.code() == ErrorCode::kDataLoss) << status.to_string();
    return status.ok();
  }

  std::unique_ptr<LocalBlobStore> store_ =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{1} << 28);
  std::optional<SortWork> work_;
};

TEST_F(SortPartialTest, NeverLeadsOutsideWhateverABitOfItBecomes) {
  for (const RecordForm& form : {fixed_records(8, {.offset = 0, .length = 8}), line_records()}) {
    const std::vector<Blob> batches = make_batches(form);
    const auto intact = partition_of(batches[0].bytes(), 1).value();
    EXPECT_TRUE(merges(intact, batches[1]));
    std::size_t refused = 0;
    test::for_each_damage(intact, [&](std::span<const std::byte> damaged, std::size_t) {
      refused += merges(damaged, batches[1]) ? 0 : 1;
    });
    EXPECT_GT(refused, 200u);
  }
}

TEST_F(SortPartialTest, RefusesEveryLengthButItsOwn) {
  const std::vector<Blob> batches = make_batches(line_records());
  const auto intact = partition_of(batches[0].bytes(), 0).value();
  for (std::size_t length = 0; length < intact.size(); ++length) {
    ASSERT_FALSE(SortPartialView::open(intact.first(length), 0)) << length;
  }
}

TEST_F(SortPartialTest, RefusesRecordsOfAnotherWidthAndAShardThatIsThereTwice) {
  const std::vector<Blob> batches = make_batches(fixed_records(8, {.offset = 0, .length = 8}));
  const auto piece = partition_of(batches[0].bytes(), 1).value();
  EXPECT_EQ(SortPartialView::open(piece, 4).error().code(), ErrorCode::kDataLoss);
  EXPECT_EQ(SortPartialView::open(piece, 0).error().code(), ErrorCode::kDataLoss);
  EXPECT_FALSE(merges(partition_of(batches[1].bytes(), 1).value(), batches[1]));
}

}  // namespace
}  // namespace pinion::engine
