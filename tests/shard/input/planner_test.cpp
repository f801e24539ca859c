#include <pinion/shard/planner.hpp>

#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conformance/planner_conformance.hpp"
#include "shard/input/trial.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;
using testing_input::FileTrial;
using testing_input::make_file_trial;
using testing_input::MemoryBlobStore;
using testing_input::plan_shards;
using testing_input::Random;

PlannerTrial file_trial(std::uint64_t seed, Alignment alignment) {
  std::shared_ptr<FileTrial> trial = make_file_trial(seed, alignment);
  return {.input = trial->listing, .policy = trial->policy, .keep_alive = trial};
}

PlannerTrial index_trial(std::uint64_t seed) {
  Random random(seed);
  const std::uint64_t sizes[] = {0, 1, 999, 1000, 1'000'003, std::uint64_t{1} << 63};
  const std::uint64_t size = sizes[random.below(6)];
  PlannerTrial trial;
  trial.input = InputListing(InputKind::kIndices, {}, size);
  trial.policy.target_size = std::max<std::uint64_t>(1, size / (1 + random.below(50)));
  trial.policy.places.resize(1 + random.below(3));
  for (std::size_t place = 0; place < trial.policy.places.size(); ++place) {
    trial.policy.places[place].index = static_cast<std::uint16_t>(place);
  }
  return trial;
}

INSTANTIATE_TEST_SUITE_P(
    Planners, PlannerConformance,
    testing::Values(
        PlannerSubject{"ByBytes", by_bytes(1).planner,
                       [](std::uint64_t seed) { return file_trial(seed, Alignment::kNone); }},
        PlannerSubject{"ByBytesAlignedToLine", by_bytes(1, align_to_line).planner,
                       [](std::uint64_t seed) { return file_trial(seed, Alignment::kLine); }},
        PlannerSubject{"ByIndexRange", by_index_range(1).planner, index_trial}),
    subject_name);

std::vector<ShardRange> cut(const Partitioning& by, const InputListing& listing) {
  return by.planner->partition(listing, by.policy).value();
}

std::vector<std::uint64_t> ends(const std::vector<ShardRange>& shards) {
  std::vector<std::uint64_t> answer;
  for (const ShardRange& shard : shards) {
    answer.push_back(shard.end);
  }
  return answer;
}

using Ends = std::vector<std::uint64_t>;

struct OneFile {
  explicit OneFile(std::string_view content)
      : listing(InputListing::list(files({folder.write("f", content)}), store, false).value()) {}
  TemporaryFolder folder;
  MemoryBlobStore store;
  InputListing listing;
};

TEST(BytePlanner, CutsAtStepsOfTheTarget) {
  const OneFile file("0123456789");
  EXPECT_EQ(ends(cut(by_bytes(4), file.listing)), (Ends{4, 8, 10}));
  EXPECT_EQ(ends(cut(by_bytes(10), file.listing)), (Ends{10}));
  EXPECT_EQ(ends(cut(by_bytes(99), file.listing)), (Ends{10}));
}

TEST(BytePlanner, MovesACutBehindTheNextLineFeed) {
  const OneFile file("aa\nbbbb\nc\n");
  EXPECT_EQ(ends(cut(by_bytes(1, align_to_line), file.listing)), (Ends{3, 8, 10}));
  EXPECT_EQ(ends(cut(by_bytes(4, align_to_line), file.listing)), (Ends{8, 10}));
}

TEST(BytePlanner, LeavesACutThatStandsBehindALineFeed) {
  const OneFile file("aaa\nbbb\nccc\n");
  EXPECT_EQ(ends(cut(by_bytes(4, align_to_line), file.listing)), (Ends{4, 8, 12}));
}

TEST(BytePlanner, ALineLongerThanAShardMakesALongerShard) {
  const std::string content = "a\n" + std::string(100'000, 'x') + "\nb\n";
  const OneFile file(content);
  EXPECT_EQ(ends(cut(by_bytes(1000, align_to_line), file.listing)), (Ends{100'003, 100'005}));
}

TEST(BytePlanner, AFileWithoutLineFeedIsOneShard) {
  const OneFile file(std::string(5000, 'x'));
  EXPECT_EQ(ends(cut(by_bytes(10, align_to_line), file.listing)), (Ends{5000}));
}

TEST(BytePlanner, JoinsSmallFilesUpToTheTarget) {
  const TemporaryFolder folder;
  MemoryBlobStore store;
  const InputListing listing =
      InputListing::list(files({folder.write("a", "12345"), folder.write("b", "12345"),
                                folder.write("c", "12345")}),
                         store, false)
          .value();
  const Partitioning by = by_bytes(10, align_to_line);
  const std::vector<ShardRange> fine = cut(by, listing);
  EXPECT_EQ(ends(fine), (Ends{5, 10, 15}));
  EXPECT_EQ(ends(by.planner->coalesce(fine, by.policy)), (Ends{10, 15}));
}

TEST(BytePlanner, DealsTheFirstPartOfTheInputToTheFirstPlace) {
  const OneFile file(std::string(100, 'x'));
  Partitioning by = by_bytes(10);
  by.policy.places = {{.index = 0}, {.index = 1}};
  const std::vector<ShardRange> shards = cut(by, file.listing);
  ASSERT_EQ(shards.size(), 10u);
  for (std::size_t id = 0; id < 10; ++id) {
    EXPECT_EQ(shards[id].place.index, id < 5 ? 0 : 1) << id;
  }
}

TEST(BytePlanner, ALineMayCrossTheBlocksOfAStream) {
  MemoryBlobStore store;
  const std::string text =
      "first li"
      "ne\nsecond"
      "\nthird li"
      "ne goes on";
  std::vector<InputSource> sources;
  std::vector<Blob> blobs;
  for (std::size_t begin = 0; begin < text.size(); begin += 8) {
    blobs.push_back(store.add(std::string_view(text).substr(begin, 8)));
    sources.push_back({.path = "-",
                       .blob = blobs.back().handle(),
                       .begin = begin,
                       .size_bytes = blobs.back().bytes().size()});
  }
  const InputListing listing(InputKind::kBytes, sources, text.size(), blobs);
  EXPECT_EQ(ends(cut(by_bytes(1, align_to_line), listing)), (Ends{11, 18, text.size()}));
  EXPECT_EQ(ends(cut(by_bytes(16), listing)), (Ends{16, 32, text.size()}));
}

// Whatever is cut, no shard begins or ends inside a line, and no line is lost or met twice.
TEST(BytePlanner, EveryLineIsWhollyInOneShard) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const std::unique_ptr<FileTrial> trial = make_file_trial(seed, Alignment::kLine);
    std::vector<bool> is_line_end(trial->listing.size() + 1, false);
    std::size_t at = 0;
    for (const std::string& content : trial->contents) {
      for (const char byte : content) {
        is_line_end[++at] = byte == '\n';
      }
      is_line_end[at] = true;
    }
    for (const ShardRange& shard :
         plan_shards(by_bytes(1, align_to_line), trial->listing, trial->policy)) {
      ASSERT_TRUE(is_line_end[shard.end]) << shard.end;
    }
  }
}

TEST(BytePlanner, CutsAnInputOfNearly2To63Bytes) {
  constexpr std::uint64_t kSize = std::numeric_limits<std::int64_t>::max();
  const InputListing listing(InputKind::kBytes,
                             {{.path = "a", .begin = 0, .size_bytes = kSize - 1},
                              {.path = "b", .begin = kSize - 1, .size_bytes = 1}},
                             kSize);
  Partitioning by = by_bytes(std::uint64_t{1} << 62);
  by.policy.places.resize(3);
  EXPECT_EQ(ends(cut(by, listing)), (Ends{std::uint64_t{1} << 62, kSize - 1, kSize}));
  EXPECT_EQ(ends(cut(by_bytes(std::numeric_limits<std::uint64_t>::max()), listing)),
            (Ends{kSize - 1, kSize}));
}

TEST(BytePlanner, RefusesIndicesAndSaysWhatToUse) {
  const Partitioning by = by_bytes(1);
  const auto shards = by.planner->partition(InputListing(InputKind::kIndices, {}, 3), by.policy);
  ASSERT_FALSE(shards.has_value());
  EXPECT_EQ(shards.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(shards.error().message(), HasSubstr("by_index_range"));
}

TEST(BytePlanner, RefusesATargetThatMakesTooManyShards) {
  const InputListing listing(InputKind::kBytes,
                             {{.path = "a", .begin = 0, .size_bytes = std::uint64_t{1} << 40}},
                             std::uint64_t{1} << 40);
  const Partitioning by = by_bytes(100);
  const auto shards = by.planner->partition(listing, by.policy);
  ASSERT_FALSE(shards.has_value());
  EXPECT_EQ(shards.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(shards.error().message(), HasSubstr("10995116278 shards"));
}

TEST(BytePlanner, AFileThatShrankWhileItWasPlannedIsDataLoss) {
  const OneFile file(std::string(100, 'x'));
  std::filesystem::resize_file(file.folder / "f", 50);
  const Partitioning by = by_bytes(10, align_to_line);
  const auto shards = by.planner->partition(file.listing, by.policy);
  ASSERT_FALSE(shards.has_value());
  EXPECT_EQ(shards.error().code(), ErrorCode::kDataLoss);
}

TEST(IndexPlanner, CutsTheWholeRangeOfTheNumbers) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  const InputListing all(InputKind::kIndices, {}, kMax);
  const std::uint64_t half = std::uint64_t{1} << 63;
  EXPECT_EQ(ends(cut(by_index_range(half), all)), (Ends{half, kMax}));
  EXPECT_EQ(ends(cut(by_index_range(kMax), all)), (Ends{kMax}));
}

TEST(IndexPlanner, RefusesFilesAndTooManyShards) {
  const Partitioning by = by_index_range(1);
  const OneFile file("x");
  const auto of_files = by.planner->partition(file.listing, by.policy);
  ASSERT_FALSE(of_files.has_value());
  EXPECT_EQ(of_files.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(of_files.error().message(), HasSubstr("by_bytes"));

  const auto too_many =
      by.planner->partition(InputListing(InputKind::kIndices, {}, kShardCountMax + 1), by.policy);
  ASSERT_FALSE(too_many.has_value());
  EXPECT_EQ(too_many.error().code(), ErrorCode::kInvalidArgument);
}

TEST(Coalesce, AddsWeightsWithoutOverflow) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  const Partitioning by = by_bytes(10);
  const std::vector<ShardRange> joined = by.planner->coalesce(
      {{.begin = 0, .end = 1, .weight = kMax}, {.begin = 1, .end = 2, .weight = 5}}, by.policy);
  ASSERT_EQ(joined.size(), 1u);
  EXPECT_EQ(joined[0].weight, kMax);
}

TEST(Partitioning, DescribesItself) {
  EXPECT_EQ(by_bytes(16).description, "by_bytes(16)");
  EXPECT_EQ(by_bytes(16, align_to_line).description, "by_bytes(16, align_to_line)");
  EXPECT_EQ(by_index_range(7).description, "by_index_range(7)");
}

}  // namespace
}  // namespace pinion
