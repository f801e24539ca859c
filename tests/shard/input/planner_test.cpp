#include <pinion/shard/planner.hpp>

#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conformance/planner_conformance.hpp"
#include "engine/planner_parts.hpp"
#include "shard/input/trial.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;
using testing_input::FileTrial;
using testing_input::find_ends;
using testing_input::make_file_trial;
using testing_input::MemoryBlobStore;
using testing_input::plan_shards;
using testing_input::Random;

PartitionPolicy policy_of(const TrialShape& shape) {
  PartitionPolicy policy = {.target_size = shape.target_size, .places = shape.places()};
  if (shape.tells_worker_counts) {
    policy.place_worker_counts = shape.place_worker_counts;
  }
  return policy;
}

// The sources as blobs, each at home where the shape says.
PlannerTrial source_trial(const TrialShape& shape, Alignment alignment) {
  std::vector<InputSource> sources;
  std::vector<Blob> blobs;
  std::vector<std::string> contents;
  std::uint64_t size = 0;
  for (TrialShape::Source source : shape.sources) {
    if (const std::uint64_t record_bytes = alignment.record_bytes(); record_bytes > 0) {
      source.content.resize(source.content.size() / record_bytes * record_bytes);
    }
    if (source.content.empty()) {
      continue;
    }
    const auto text = std::make_shared<const std::string>(source.content);
    const BlobHandle handle = {
        .job = 1, .generation = blobs.size() + 1, .length_bytes = text->size()};
    blobs.emplace_back(handle, Place{.index = source.home}, std::as_bytes(std::span(*text)), text);
    sources.push_back({.path = "blob " + std::to_string(blobs.size()),
                       .blob = handle,
                       .begin = size,
                       .size_bytes = text->size()});
    size += text->size();
    contents.push_back(*text);
  }
  PlannerTrial trial = {.input = InputListing(InputKind::kBytes, sources, size, blobs),
                        .policy = policy_of(shape)};
  trial.policy.alignment = alignment;
  trial.may_end = [ends = find_ends(contents, alignment)](std::uint64_t end) {
    return ends.at(end);
  };
  return trial;
}

// A weight that has nothing to do with the size.
std::uint64_t weigh(const InputSource& source) {
  return static_cast<unsigned char>(source.path.back()) % 4u * 1000u + source.size_bytes % 7;
}

PlannerTrial index_trial(const TrialShape& shape) {
  PlannerTrial trial = {.input = InputListing(InputKind::kIndices, {}, shape.index_count),
                        .policy = policy_of(shape)};
  // A few thousand shards at most, of however many indices.
  trial.policy.target_size = std::max(trial.policy.target_size, shape.index_count / 2000);
  return trial;
}

PlannerTrial small_index_trial(TrialShape shape) {
  shape.index_count %= 2000;
  return index_trial(shape);
}

PlannerSubject over_sources(std::string name, const Partitioning& by, Alignment alignment) {
  return {.name = std::move(name),
          .planner = by.planner,
          .make_trial = [alignment](const TrialShape& shape) {
            return source_trial(shape, alignment);
          }};
}

PlannerSubject by_weight_of(PlannerSubject subject) {
  subject.measure = [](const ShardRange& shard) { return shard.weight; };
  return subject;
}

INSTANTIATE_TEST_SUITE_P(
    Planners, PlannerConformance,
    testing::Values(
        over_sources("ByBytes", by_bytes(), {}),
        over_sources("ByBytesAlignedToLine", by_bytes(), align_to_line),
        over_sources("ByBytesAlignedToTwoBytes", by_bytes(), align_to("\r\n")),
        over_sources("ByBytesAlignedToParagraph", by_bytes(), align_to("\n\n")),
        over_sources("ByBytesAlignedToWhatOverlaps", by_bytes(), align_to("aba")),
        over_sources("ByBytesAlignedToRecords", by_bytes(), align_to_records(12)),
        over_sources("ByFile", by_file(), align_to_line), over_sources("ByPlace", by_place(), {}),
        over_sources("ByPlaceAlignedToLine", by_place(), align_to_line),
        by_weight_of(over_sources("ByWeight", by_weight(weigh), {})),
        by_weight_of(over_sources("ByWeightAlignedToLine", by_weight(weigh), align_to_line)),
        by_weight_of({"ByWeightOfAnIndex",
                      by_weight([](std::uint64_t index) { return index % 100; }).planner,
                      small_index_trial}),
        PlannerSubject{"ByIndexRange", by_index_range().planner, index_trial}),
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
      : listing(InputListing::list(files({folder.write("f", content)}), store, false, 1).value()) {}
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
                         store, false, 1)
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

// What is larger than the target is cut wherever the alignment lets it.
TEST(BytePlanner, NoShardGoesOnWhereItCouldHaveEnded) {
  for (const Alignment& alignment :
       {Alignment(), align_to_line, align_to("\n\n"), align_to("aba"), align_to_records(12)}) {
    const bool holds = rc::check([&alignment] {
      const TrialShape shape = *arbitrary_trial_shape();
      const PlannerTrial trial = source_trial(shape, alignment);
      const std::vector<ShardRange> shards =
          by_bytes().planner->partition(trial.input, trial.policy).value();
      for (const ShardRange& shard : shards) {
        for (std::uint64_t end = shard.begin + shape.target_size; end < shard.end; ++end) {
          RC_ASSERT(!trial.may_end(end));
        }
      }
    });
    EXPECT_TRUE(holds) << alignment.describe();
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

TEST(BytePlanner, CutsBehindAnyDelimiter) {
  const OneFile file("a;bb;;ccc");
  EXPECT_EQ(ends(cut(by_bytes(1, align_to(';')), file.listing)), (Ends{2, 5, 6, 9}));
  EXPECT_EQ(ends(cut(by_bytes(1, align_to(";;")), file.listing)), (Ends{6, 9}));
  const OneFile zeros(std::string_view("a\0b\0", 4));
  EXPECT_EQ(ends(cut(by_bytes(1, align_to('\0')), zeros.listing)), (Ends{2, 4}));
}

TEST(BytePlanner, ADelimiterThatNeverAppearsLeavesTheFileWhole) {
  const OneFile file(std::string(3'000'000, 'x'));
  EXPECT_EQ(ends(cut(by_bytes(1000, align_to("xy")), file.listing)), (Ends{3'000'000}));
  EXPECT_EQ(ends(cut(by_bytes(1000, align_to("y\ny")), file.listing)), (Ends{3'000'000}));
}

// Read from the begin, each pair of line feeds is one end, whatever the number of them.
TEST(BytePlanner, CountsDelimitersThatOverlapFromTheBegin) {
  const OneFile file("xx\n\n\n\n\nyy\n\nz");
  for (std::uint64_t target = 1; target < 15; ++target) {
    for (const std::uint64_t end : ends(cut(by_bytes(target, align_to("\n\n")), file.listing))) {
      EXPECT_THAT((Ends{4, 6, 11, 12}), testing::Contains(end)) << target;
    }
  }
  const OneFile feeds(std::string(100'001, '\n'));
  for (const std::uint64_t end : ends(cut(by_bytes(777, align_to("\n\n")), feeds.listing))) {
    EXPECT_TRUE(end % 2 == 0 || end == 100'001) << end;
  }
}

TEST(BytePlanner, KeepsSourcesApartWhoseDelimiterOverlaps) {
  const TemporaryFolder folder;
  MemoryBlobStore store;
  const InputListing listing =
      InputListing::list(files({folder.write("a", "1\n"), folder.write("b", "2\n\n")}), store,
                         false, 1)
          .value();
  const Partitioning apart = by_bytes(100, align_to("\n\n"));
  EXPECT_EQ(ends(plan_shards(apart, listing, apart.policy)), (Ends{2, 5}));
  const Partitioning joined = by_bytes(100, align_to_line);
  EXPECT_EQ(ends(plan_shards(joined, listing, joined.policy)), (Ends{5}));
}

TEST(BytePlanner, CutsWholeRecords) {
  const OneFile file(std::string(300, 'x'));
  EXPECT_EQ(ends(cut(by_bytes(150, align_to_records(100)), file.listing)), (Ends{200, 300}));
  EXPECT_EQ(ends(cut(by_bytes(1, align_to_records(100)), file.listing)), (Ends{100, 200, 300}));
}

TEST(BytePlanner, SaysHowManyBytesAreNoWholeRecord) {
  const OneFile file(std::string(1050, 'x'));
  const Partitioning by = by_bytes(100, align_to_records(100));
  const auto shards = by.planner->partition(file.listing, by.policy);
  ASSERT_FALSE(shards.has_value());
  EXPECT_EQ(shards.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(shards.error().message(),
              testing::AllOf(HasSubstr(file.folder / "f"), HasSubstr("1050 bytes"),
                             HasSubstr("records of 100"), HasSubstr("50 are left over")));
}

InputListing listing_of(std::uint64_t size_bytes) {
  return InputListing(InputKind::kBytes, {{.path = "a", .begin = 0, .size_bytes = size_bytes}},
                      size_bytes);
}

std::size_t chosen_count(const Partitioning& by, const InputListing& listing,
                         std::uint64_t worker_count) {
  PartitionPolicy policy = by.policy;
  policy.worker_count = worker_count;
  return plan_shards(by, listing, policy).size();
}

TEST(ChosenTarget, GivesEachWorkerEightShardsOfOneTo16MiB) {
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  EXPECT_EQ(chosen_count(by_bytes(), listing_of(256 * kMiB), 4), 32u);
  EXPECT_EQ(chosen_count(by_bytes(), listing_of(256 * kMiB), 8), 64u);
  EXPECT_EQ(chosen_count(by_bytes(), listing_of(3 * kMiB), 64), 3u) << "1 MiB at least";
  EXPECT_EQ(chosen_count(by_bytes(), listing_of(64 * 1024 * kMiB), 1), 4096u) << "16 MiB at most";
  EXPECT_EQ(chosen_count(by_index_range(), InputListing(InputKind::kIndices, {}, 1'000'000), 4),
            32u);
  EXPECT_EQ(chosen_count(by_index_range(), InputListing(InputKind::kIndices, {}, 5), 4), 5u);
  EXPECT_EQ(byte_target({}, std::uint64_t{1} << 62),
            (std::uint64_t{1} << 62) / (kShardCountMax / 2))
      << "not more shards than a step can have";
}

TEST(FilePlanner, NeverCutsAFile) {
  const TemporaryFolder folder;
  MemoryBlobStore store;
  const InputListing listing =
      InputListing::list(files({folder.write("a", std::string(1000, 'x')), folder.write("b", "1"),
                                folder.write("c", "2")}),
                         store, false, 1)
          .value();
  EXPECT_EQ(ends(plan_shards(by_file(), listing, by_file().policy)), (Ends{1000, 1001, 1002}));
  EXPECT_EQ(ends(plan_shards(by_file(10), listing, by_file(10).policy)), (Ends{1000, 1002}));
}

TEST(WeightPlanner, CutsHeavySourcesAndJoinsLightOnes) {
  const TemporaryFolder folder;
  MemoryBlobStore store;
  const InputListing listing =
      InputListing::list(
          files({folder.write("a", std::string(100, 'x')), folder.write("b", std::string(100, 'x')),
                 folder.write("c", "12"), folder.write("d", "34")}),
          store, false, 1)
          .value();
  const Partitioning by = by_weight({10, 40, 1, 2}, 10);
  const std::vector<ShardRange> shards = plan_shards(by, listing, by.policy);
  EXPECT_EQ(ends(shards), (Ends{100, 125, 150, 175, 200, 204}));
  EXPECT_EQ(shards[1].weight, 10u);
  EXPECT_EQ(shards[5].weight, 3u);

  const auto other = by_weight({1, 2, 3}).planner->partition(listing, by.policy);
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(other.error().message(), HasSubstr("3 weights for 4 sources"));
}

// The loop over the upper triangle of a matrix: index i has n - i inner turns.
TEST(WeightPlanner, BalancesATriangle) {
  constexpr std::uint64_t kCount = 10'000;
  const Partitioning by = by_weight([](std::uint64_t index) { return kCount - index; });
  PartitionPolicy policy = by.policy;
  policy.worker_count = 4;
  const std::vector<ShardRange> shards =
      plan_shards(by, InputListing(InputKind::kIndices, {}, kCount), policy);
  EXPECT_THAT(shards.size(), testing::AllOf(testing::Ge(32u), testing::Le(34u)));
  for (std::size_t id = 0; id + 1 < shards.size(); ++id) {
    EXPECT_NEAR(static_cast<double>(shards[id].weight), kCount * (kCount + 1) / 2.0 / 32, kCount);
  }
  EXPECT_LT(shards.front().end - shards.front().begin,
            (shards[shards.size() - 2].end - shards[shards.size() - 2].begin) / 3);
}

TEST(WeightPlanner, RefusesTheOtherKindOfInput) {
  const OneFile file("x");
  const InputListing numbers(InputKind::kIndices, {}, 3);
  const auto of_files =
      by_weight([](std::uint64_t) { return 1u; }).planner->partition(file.listing, {});
  const auto of_numbers = by_weight(weigh).planner->partition(numbers, {});
  for (const auto* shards : {&of_files, &of_numbers}) {
    ASSERT_FALSE(shards->has_value());
    EXPECT_EQ(shards->error().code(), ErrorCode::kInvalidArgument);
  }
  EXPECT_THAT(of_files.error().message(), HasSubstr("use a function of a source"));
}

TEST(PlacePlanner, CutsInProportionToTheWorkersOfEachPlace) {
  const OneFile file(std::string(100, 'x'));
  Partitioning by = by_place(40);
  by.policy.places = {{.index = 0}, {.index = 1}};
  by.policy.place_worker_counts = {1, 3};
  const std::vector<ShardRange> shards = plan_shards(by, file.listing, by.policy);
  EXPECT_EQ(ends(shards), (Ends{25, 40, 80, 100}));
  EXPECT_EQ(shards[0].place.index, 0);
  EXPECT_EQ(shards[1].place.index, 1);
}

// Blobs of ten bytes, one at each of these homes.
InputListing blobs_at(const std::vector<Place>& homes) {
  static const std::string text = "0123456789";
  std::vector<InputSource> sources;
  std::vector<Blob> blobs;
  for (const Place home : homes) {
    const BlobHandle handle = {.generation = 1, .length_bytes = 10};
    sources.push_back({.path = "blob " + std::to_string(sources.size()),
                       .blob = handle,
                       .begin = 10 * sources.size(),
                       .size_bytes = 10});
    blobs.emplace_back(handle, home, std::as_bytes(std::span(text)), nullptr);
  }
  return {InputKind::kBytes, sources, 10 * sources.size(), blobs};
}

std::vector<Place> places_by(const Partitioning& by, const InputListing& listing,
                             const std::vector<Place>& places) {
  const PartitionPolicy policy = {.target_size = 100, .places = places};
  const std::vector<ShardRange> shards = by.planner->partition(listing, policy).value();
  std::vector<Place> dealt;
  for (const ShardRange& shard : shards) {
    dealt.push_back(shard.place);
  }
  return dealt;
}

TEST(PlacePlanner, DealsBlobsToTheirHomes) {
  const Place zero = {.index = 0};
  const Place one = {.index = 1};
  const InputListing listing = blobs_at({one, zero, one, Place{.index = 7}});
  for (const Partitioning& by : {by_bytes(), by_place(), by_file()}) {
    SCOPED_TRACE(by.description);
    // Nobody works at the home of the last one, which goes with its part.
    EXPECT_EQ(places_by(by, listing, {zero, one}), (std::vector<Place>{one, zero, one, one}));
  }
}

// Whoever plans knows the nodes of its own host's blobs and no others.
TEST(PlacePlanner, DealsBlobsOfSeveralHostsToTheirHosts) {
  const Place here = {.index = 1, .host = 0};
  const Place there = {.index = 2, .host = 1};
  const Place also_there = {.index = 3, .host = 1};
  const InputListing listing = blobs_at({{.index = 0, .host = 1},
                                         {.index = 3, .host = 1},
                                         {.index = 9, .host = 0},
                                         {.index = 9, .host = 1},
                                         {.index = 0, .host = 5},
                                         {.index = 9, .host = 1}});
  // The third and the fourth have the second place by their part, the last two have the third.
  EXPECT_EQ(places_by(by_file(), listing, {here, there, also_there}),
            (std::vector<Place>{there, there, here, there, also_there, also_there}));
}

TEST(PartitionPlanner, MakesAShardOfEachPartitionAtItsHome) {
  const Place zero = {.index = 0};
  const Place one = {.index = 1};
  std::vector<InputSource> sources;
  for (const Place home : {one, zero, zero, one}) {
    sources.push_back({.path = "partition " + std::to_string(sources.size()),
                       .blob = {.generation = 1, .length_bytes = 10},
                       .home = home,
                       .begin = 10 * sources.size(),
                       .size_bytes = 10,
                       .is_partition = true});
  }
  const InputListing listing(InputKind::kBytes, sources, 40);
  const PartitionPolicy policy = {.target_size = 3, .places = {zero, one}};
  for (const Partitioning& by : {by_partition(), by_bytes(), by_weight({1, 1, 9, 1})}) {
    SCOPED_TRACE(by.description);
    const std::vector<ShardRange> shards = by.planner->partition(listing, policy).value();
    EXPECT_EQ(ends(shards), (Ends{10, 20, 30, 40}));
    EXPECT_EQ(shards[0].place, one);
    EXPECT_EQ(shards[1].place, zero);
    EXPECT_EQ(shards[3].place, one);
  }
  EXPECT_EQ(plan_shards(by_partition(), listing, by_partition().policy).size(), 4u);
}

TEST(Partitioning, DescribesItself) {
  EXPECT_EQ(by_bytes(16).description, "by_bytes(16)");
  EXPECT_EQ(by_bytes().description, "by_bytes()");
  EXPECT_EQ(by_bytes(16, align_to_line).description, "by_bytes(16, align_to_line)");
  EXPECT_EQ(by_bytes(align_to("\r\n")).description, "by_bytes(align_to(\"\\x0d\\x0a\"))");
  EXPECT_EQ(by_bytes(16, align_to_records(100)).description, "by_bytes(16, align_to_records(100))");
  EXPECT_EQ(by_index_range(7).description, "by_index_range(7)");
  EXPECT_EQ(by_file().description, "by_file()");
  EXPECT_EQ(by_partition().description, "by_partition()");
  EXPECT_EQ(by_place(5).description, "by_place(5)");
  EXPECT_EQ(by_weight(weigh, 5).description, "by_weight(function of a source, 5)");
  EXPECT_NE(by_weight({1, 2}).description, by_weight({2, 1}).description);
}

}  // namespace
}  // namespace pinion
