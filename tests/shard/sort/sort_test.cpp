#include <pinion/shard/sort.hpp>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shard/engine/fake_job.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::HasSubstr;

// Records of 20 bytes: a key of `letters` different letters, and the number of the record.
std::string make_records(std::size_t count, std::uint64_t letters, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string records;
  for (std::size_t i = 0; i < count; ++i) {
    for (int k = 0; k < 10; ++k) {
      records += static_cast<char>('A' + random() % letters);
    }
    const std::string number = std::to_string(i);
    records += std::string(9 - number.size(), '0') + number + "\n";
  }
  return records;
}

std::vector<std::string> split(const std::string& text, std::size_t width) {
  std::vector<std::string> records;
  for (std::size_t at = 0; at < text.size(); at += width) {
    records.push_back(text.substr(at, width));
  }
  return records;
}

std::vector<std::string> content_of(const SortedResult& result) {
  std::vector<std::string> records;
  for (const std::string_view record : result) {
    records.emplace_back(record);
  }
  return records;
}

std::string bytes_of(const SortedResult& result) {
  std::string all;
  for (std::size_t i = 0; i < result.partition_count(); ++i) {
    const auto bytes = result.bytes(i);
    all.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return all;
}

struct Shape {
  std::uint32_t rank_count;
  std::size_t worker_count;
  std::size_t batch_shard_count;
};

class SortShapes : public testing::TestWithParam<Shape> {
 protected:
  void run(const FakeJob::Program& program) {
    FakeJob job({.rank_count = GetParam().rank_count,
                 .worker_count = GetParam().worker_count,
                 .batch_shard_count = GetParam().batch_shard_count});
    job.run(program);
  }
};

TEST_P(SortShapes, KeepsEqualKeysInTheOrderOfTheInput) {
  TemporaryFolder folder;
  for (const std::uint64_t letters : {26u, 2u, 1u}) {
    const std::string records = make_records(30'000, letters, letters);
    folder.write("records", records);
    std::vector<std::string> expected = split(records, 20);
    std::ranges::stable_sort(expected, {}, [](const auto& record) { return record.substr(0, 10); });
    run([&](FakeRank& rank) {
      const auto sorted = sort(rank, files({folder / "records"}), by_bytes(20 * 700),
                               fixed_records(20, {.offset = 0, .length = 10}));
      ASSERT_TRUE(sorted) << sorted.error().to_string();
      ASSERT_EQ(content_of(*sorted), expected);
      EXPECT_EQ(sorted->size(), expected.size());
    });
  }
}

TEST_P(SortShapes, PutsLinesOfSeveralFilesInOrder) {
  TemporaryFolder folder;
  std::mt19937_64 random(8);
  std::vector<std::string> expected;
  for (int file = 0; file < 3; ++file) {
    std::string text;
    for (int i = 0; i < 4000; ++i) {
      std::string line = "http://" + std::to_string(random() % 3000);
      line += i % 500 == 0 ? std::string(5000, 'x') : "";
      line = i % 97 == 0 ? "" : line;
      expected.push_back(line);
      text += line + "\n";
    }
    // The last line of a file need not end.
    text += "last";
    expected.push_back("last");
    folder.write(std::to_string(file), text);
  }
  std::ranges::sort(expected);
  run([&](FakeRank& rank) {
    const auto sorted =
        sort(rank, files({folder.path()}), by_bytes(3000, align_to_line), line_records());
    ASSERT_TRUE(sorted) << sorted.error().to_string();
    ASSERT_EQ(content_of(*sorted), expected);
    std::string text;
    for (const std::string& line : expected) {
      text += line + "\n";
    }
    EXPECT_EQ(bytes_of(*sorted), text);
  });
}

INSTANTIATE_TEST_SUITE_P(Jobs, SortShapes,
                         testing::Values(Shape{1, 1, 1}, Shape{1, 2, 3}, Shape{1, 3, 1000},
                                         Shape{2, 2, 5}, Shape{3, 1, 64}),
                         [](const auto& shape) {
                           return std::to_string(shape.param.rank_count) + "Ranks" +
                                  std::to_string(shape.param.worker_count) + "Workers" +
                                  std::to_string(shape.param.batch_shard_count) + "ShardsABatch";
                         });

TEST(Sort, PutsIntegersInOrder) {
  TemporaryFolder folder;
  std::mt19937_64 random(21);
  std::vector<std::int32_t> numbers(50'000);
  std::ranges::generate(numbers, [&] { return static_cast<std::int32_t>(random()); });
  folder.write("numbers", {reinterpret_cast<const char*>(numbers.data()), numbers.size() * 4});
  std::ranges::sort(numbers);
  FakeJob job({.rank_count = 2, .worker_count = 2});
  job.run([&](FakeRank& rank) {
    const auto sorted =
        sort(rank, files({folder / "numbers"}), by_bytes(4096), fixed_records_by<std::int32_t>(4));
    ASSERT_TRUE(sorted) << sorted.error().to_string();
    const std::string bytes = bytes_of(*sorted);
    ASSERT_EQ(bytes.size(), numbers.size() * 4);
    EXPECT_EQ(std::memcmp(bytes.data(), numbers.data(), bytes.size()), 0);
  });
}

// Half of all records have one key: it fills ranges that the others must not wait behind.
TEST(Sort, TakesAKeyThatHalfOfTheRecordsHave) {
  TemporaryFolder folder;
  std::string records = make_records(40'000, 26, 5);
  for (std::size_t i = 0; i < 40'000; i += 2) {
    records.replace(i * 20, 10, "MMMMMMMMMM");
  }
  folder.write("records", records);
  std::vector<std::string> expected = split(records, 20);
  std::ranges::stable_sort(expected, {}, [](const auto& record) { return record.substr(0, 10); });
  FakeJob job({.rank_count = 1, .worker_count = 2});
  job.run([&](FakeRank& rank) {
    const auto sorted = sort(rank, files({folder / "records"}), by_bytes(20 * 1000),
                             fixed_records(20, {.offset = 0, .length = 10}));
    ASSERT_TRUE(sorted) << sorted.error().to_string();
    ASSERT_EQ(content_of(*sorted), expected);
    EXPECT_GT(sorted->partition_count(), 3u);
  });
}

// An ordered step would refuse batches beyond batch-bytes, and a sort need not have one.
TEST(Sort, SealsBatchesEarlyThoughThePartitioningIsOrdered) {
  TemporaryFolder folder;
  const std::string records = make_records(20'000, 2, 9);
  folder.write("records", records);
  std::vector<std::string> expected = split(records, 20);
  std::ranges::stable_sort(expected, {}, [](const auto& record) { return record.substr(0, 10); });
  FakeJob job({.rank_count = 2, .worker_count = 2, .batch_bytes = 1000});
  job.run([&](FakeRank& rank) {
    const auto sorted = sort(rank, files({folder / "records"}), by_bytes(20 * 1000).ordered(8),
                             fixed_records(20, {.offset = 0, .length = 10}));
    ASSERT_TRUE(sorted) << sorted.error().to_string();
    EXPECT_EQ(content_of(*sorted), expected);
  });
}

TEST(Sort, TakesAnInputOfNothingAndOneRecord) {
  TemporaryFolder folder;
  folder.write("empty", "");
  folder.write("one", "line");
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    const auto empty =
        sort(rank, files({folder / "empty"}), by_bytes(10, align_to_line), line_records());
    EXPECT_TRUE(empty.value().empty());
    EXPECT_TRUE(empty->begin() == empty->end());
    const auto one =
        sort(rank, files({folder / "one"}), by_bytes(10, align_to_line), line_records());
    EXPECT_THAT(content_of(one.value()), testing::ElementsAre("line"));
  });
}

TEST(Sort, RefusesWhatItCannotSort) {
  TemporaryFolder folder;
  folder.write("records", make_records(100, 26, 1));
  FakeJob job({.rank_count = 2});
  job.run([&](FakeRank& rank) {
    const auto code_of = [&](const Input& input, std::uint64_t shard_bytes, const RecordForm& form,
                             std::string_view words) {
      const auto sorted = sort(rank, input, by_bytes(shard_bytes), form);
      EXPECT_FALSE(sorted);
      EXPECT_THAT(sorted.error().to_string(), HasSubstr(std::string(words)));
      return sorted.error().code();
    };
    const Input records = files({folder / "records"});
    EXPECT_EQ(code_of(records, 20, fixed_records(20, {.offset = 15, .length = 10}), "does not lie"),
              ErrorCode::kInvalidArgument);
    EXPECT_EQ(code_of(files({"-"}), 20, line_records(), "standard input"),
              ErrorCode::kInvalidArgument);
    EXPECT_EQ(code_of(records, 30, fixed_records(20, {.offset = 0, .length = 10}), "whole records"),
              ErrorCode::kInvalidArgument);
    EXPECT_EQ(code_of(files({folder / "absent"}), 20, line_records(), "absent"),
              ErrorCode::kNotFound);
  });
}

TEST(Sort, ReportsAStoreThatIsFull) {
  TemporaryFolder folder;
  folder.write("records", make_records(50'000, 26, 1));
  FakeJob job({.rank_count = 1, .store_bytes = 600'000});
  job.run([&](FakeRank& rank) {
    const auto sorted = sort(rank, files({folder / "records"}), by_bytes(20'000),
                             fixed_records(20, {.offset = 0, .length = 10}));
    ASSERT_FALSE(sorted);
    EXPECT_EQ(sorted.error().code(), ErrorCode::kResourceExhausted);
  });
}

TEST(Sort, RefusesAnswersThatAreDamaged) {
  EXPECT_EQ(SortedResult::create({Blob()}).error().code(), ErrorCode::kDataLoss);
}

}  // namespace
}  // namespace pinion
