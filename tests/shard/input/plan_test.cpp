#include "engine/plan.hpp"

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shard/input/memory_blob_store.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;
using testing_input::MemoryBlobStore;

// Two files around a stream of two blocks, cut into four shards.
StepPlan make_plan(MemoryBlobStore& store) {
  const std::vector<Blob> blobs = {Blob(), store.add("01234567"), store.add("89"), Blob()};
  std::vector<InputSource> sources = {
      {.path = "/data/a.txt", .blob = {}, .begin = 0, .size_bytes = 100},
      {.path = "-", .blob = blobs[1].handle(), .begin = 100, .size_bytes = 8},
      {.path = "-", .blob = blobs[2].handle(), .begin = 108, .size_bytes = 2},
      {.path = "/data/c.zst", .begin = 110, .size_bytes = 50, .compression = Compression::kZstd}};
  return {.listing = InputListing(InputKind::kBytes, std::move(sources), 160, blobs),
          .shards = {{.begin = 0, .end = 60, .weight = 60, .place = {}},
                     {.begin = 60, .end = 105, .weight = 1, .place = {.index = 3}},
                     {.begin = 105, .end = 109, .weight = 2, .place = {.host = 9}},
                     {.begin = 109,
                      .end = 160,
                      .weight = 3,
                      .place = {.kind = PlaceKind::kDevice, .index = 1, .host = 2}}},
          .partition_count = 17,
          .alignment = align_to("\r\n")};
}

StepPlan make_index_plan() {
  return {.listing = InputListing(InputKind::kIndices, {}, 1000),
          .shards = {{.begin = 0, .end = 1000, .weight = 1000, .place = {}}},
          .partition_count = 1};
}

void expect_equal(const StepPlan& left, const StepPlan& right) {
  EXPECT_EQ(left.shards, right.shards);
  EXPECT_EQ(left.partition_count, right.partition_count);
  EXPECT_EQ(left.alignment, right.alignment);
  EXPECT_EQ(left.listing.kind(), right.listing.kind());
  EXPECT_EQ(left.listing.size(), right.listing.size());
  ASSERT_EQ(left.listing.sources().size(), right.listing.sources().size());
  for (std::size_t index = 0; index < left.listing.sources().size(); ++index) {
    const InputSource& a = left.listing.sources()[index];
    const InputSource& b = right.listing.sources()[index];
    EXPECT_EQ(a.path, b.path);
    EXPECT_EQ(a.blob, b.blob);
    EXPECT_EQ(a.begin, b.begin);
    EXPECT_EQ(a.size_bytes, b.size_bytes);
    EXPECT_EQ(a.compression, b.compression);
  }
}

TEST(StepPlan, ComesBackFromItsBytes) {
  MemoryBlobStore store;
  const StepPlan plan = make_plan(store);
  ASSERT_EQ(find_flaw(plan), "");
  expect_equal(decode(encode(plan), store).value(), plan);

  const StepPlan of_indices = make_index_plan();
  expect_equal(decode(encode(of_indices), store).value(), of_indices);

  StepPlan of_records = make_plan(store);
  of_records.alignment = align_to_records(5);
  expect_equal(decode(encode(of_records), store).value(), of_records);

  const StepPlan of_nothing = {
      .listing = InputListing(InputKind::kBytes, {}, 0), .shards = {}, .partition_count = 1};
  expect_equal(decode(encode(of_nothing), store).value(), of_nothing);
}

TEST(StepPlan, OpensTheBlobsOfItsStreams) {
  MemoryBlobStore store;
  const StepPlan plan = decode(encode(make_plan(store)), store).value();
  std::string text(8, '?');
  EXPECT_EQ(plan.listing.read(1, 0, std::as_writable_bytes(std::span(text))).value(), 8u);
  EXPECT_EQ(text, "01234567");
}

TEST(StepPlan, WhoseStreamIsGoneGivesTheErrorOfTheStore) {
  MemoryBlobStore store;
  const std::vector<std::byte> bytes = encode(make_plan(store));
  MemoryBlobStore other;
  const Result<StepPlan> plan = decode(bytes, other);
  ASSERT_FALSE(plan.has_value());
  EXPECT_EQ(plan.error().code(), ErrorCode::kNotFound);
}

TEST(StepPlan, MayLieAtAnyAddress) {
  MemoryBlobStore store;
  const StepPlan plan = make_plan(store);
  const std::vector<std::byte> bytes = encode(plan);
  for (std::size_t shift = 0; shift < 8; ++shift) {
    std::vector<std::byte> shifted(shift);
    shifted.insert(shifted.end(), bytes.begin(), bytes.end());
    expect_equal(decode(std::span(shifted).subspan(shift), store).value(), plan);
  }
}

TEST(StepPlan, CutShortIsDataLoss) {
  MemoryBlobStore store;
  const std::vector<std::byte> bytes = encode(make_plan(store));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    // A copy of its own size, so that a sanitizer sees each read beyond it.
    const std::vector<std::byte> cut(bytes.begin(),
                                     bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const Result<StepPlan> plan = decode(cut, store);
    ASSERT_FALSE(plan.has_value()) << size;
    ASSERT_EQ(plan.error().code(), ErrorCode::kDataLoss) << size;
  }
}

// Some changes make another plan (of another file, say); none makes one that cannot be run.
TEST(StepPlan, WithAChangedByteIsRefusedOrWithoutFlaw) {
  MemoryBlobStore store;
  const std::vector<std::byte> bytes = encode(make_plan(store));
  int refused = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const int change : {0x01, 0x02, 0x10, 0x80, 0xff}) {
      std::vector<std::byte> changed = bytes;
      changed[at] ^= static_cast<std::byte>(change);
      const Result<StepPlan> plan = decode(changed, store);
      if (plan) {
        ASSERT_EQ(find_flaw(*plan), "") << at;
        for (std::uint64_t id = 0; id <= plan->shards.size(); ++id) {
          ASSERT_FALSE(describe_shard(*plan, id).empty());
        }
      } else {
        ++refused;
        ASSERT_THAT(plan.error().code(), testing::AnyOf(ErrorCode::kDataLoss, ErrorCode::kNotFound))
            << at;
      }
    }
  }
  EXPECT_GT(refused, 0);
}

TEST(StepPlan, OfRandomBytesIsDataLoss) {
  MemoryBlobStore store;
  std::uint64_t state = 1;
  for (int trial = 0; trial < 500; ++trial) {
    std::vector<std::byte> bytes(8 + static_cast<std::size_t>(trial % 90));
    for (std::byte& byte : bytes) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<std::byte>(state >> 60);  // Small numbers look most like offsets.
    }
    std::memcpy(bytes.data() + 4, "PNPL", 4);
    ASSERT_EQ(decode(bytes, store).error().code(), ErrorCode::kDataLoss);
  }
}

TEST(StepPlan, ShowsTheFlawsOfAPlanner) {
  MemoryBlobStore store;
  const StepPlan good = make_plan(store);
  const auto flaw_after = [&good](auto change) {
    StepPlan plan = good;
    change(plan);
    return find_flaw(plan);
  };
  EXPECT_EQ(flaw_after([](StepPlan&) {}), "");
  EXPECT_THAT(flaw_after([](StepPlan& plan) { plan.shards.pop_back(); }), HasSubstr("109 of 160"));
  EXPECT_THAT(flaw_after([](StepPlan& plan) { plan.shards[1].begin = 61; }), HasSubstr("shard 1"));
  EXPECT_THAT(flaw_after([](StepPlan& plan) { plan.shards[2].end = 105; }), HasSubstr("shard 2"));
  EXPECT_THAT(flaw_after([](StepPlan& plan) { plan.shards[3].end = 161; }), HasSubstr("shard 3"));
  EXPECT_THAT(flaw_after([](StepPlan& plan) { std::swap(plan.shards[0], plan.shards[1]); }),
              HasSubstr("shard 0"));
  EXPECT_THAT(flaw_after([](StepPlan& plan) { plan.alignment = align_to(""); }),
              HasSubstr("0 bytes"));
  const auto cut_c = [](StepPlan& plan) {
    plan.shards[3].end = 111;
    plan.shards.push_back({.begin = 111, .end = 160});
  };
  EXPECT_THAT(flaw_after(cut_c), HasSubstr("shard 4 begins inside '/data/c.zst'"));
}

TEST(StepPlan, KeepsPartitionsWholeAndApart) {
  MemoryBlobStore store;
  const Blob first = store.add("01234567");
  const Blob second = store.add("89");
  const StepPlan plan = {
      .listing = InputListing(
          InputKind::kBytes,
          {{.path = "a", .blob = first.handle(), .begin = 0, .size_bytes = 8, .is_partition = true},
           {.path = "b",
            .blob = second.handle(),
            .begin = 8,
            .size_bytes = 2,
            .is_partition = true}},
          10, {}, &store),
      .shards = {{.begin = 0, .end = 8}, {.begin = 8, .end = 10}}};
  ASSERT_EQ(find_flaw(plan), "");
  const StepPlan received = decode(encode(plan), store).value();
  EXPECT_TRUE(received.listing.sources()[1].is_partition);
  std::string text(2, '?');
  EXPECT_EQ(received.listing.read(1, 0, std::as_writable_bytes(std::span(text))).value(), 2u);
  EXPECT_EQ(text, "89");

  StepPlan joined = plan;
  joined.shards = {{.begin = 0, .end = 10}};
  EXPECT_THAT(find_flaw(joined), HasSubstr("shard 0 holds more than one partition"));
  StepPlan cut = plan;
  cut.shards = {{.begin = 0, .end = 4}, {.begin = 4, .end = 8}, {.begin = 8, .end = 10}};
  EXPECT_THAT(find_flaw(cut), HasSubstr("shard 1 begins inside 'a', which is a partition"));
}

TEST(StepPlan, ShowsTheFlawsOfSources) {
  const auto flaw_of = [](InputKind kind, std::vector<InputSource> sources) {
    return find_flaw({.listing = InputListing(kind, std::move(sources), 10),
                      .shards = {{.begin = 0, .end = 10}},
                      .partition_count = 1});
  };
  EXPECT_EQ(flaw_of(InputKind::kBytes, {{.path = "a", .begin = 0, .size_bytes = 10}}), "");
  EXPECT_NE(flaw_of(InputKind::kBytes, {{.path = "a", .begin = 1, .size_bytes = 10}}), "");
  EXPECT_NE(flaw_of(InputKind::kBytes, {{.path = "a", .begin = 0, .size_bytes = 9}}), "");
  EXPECT_NE(flaw_of(InputKind::kBytes, {{.path = "a", .begin = 0, .size_bytes = 11}}), "");
  EXPECT_NE(flaw_of(InputKind::kBytes, {{.path = "a", .begin = 0, .size_bytes = 0},
                                        {.path = "b", .begin = 0, .size_bytes = 10}}),
            "");
  EXPECT_NE(flaw_of(InputKind::kIndices, {{.path = "a", .begin = 0, .size_bytes = 10}}), "");
  EXPECT_NE(flaw_of(InputKind::kBytes, {{.path = "-",
                                         .blob = {.generation = 1, .length_bytes = 4},
                                         .begin = 0,
                                         .size_bytes = 10}}),
            "");
  EXPECT_NE(flaw_of(InputKind::kBytes, {{.path = "blob 0",
                                         .blob = {.generation = 1, .length_bytes = 10},
                                         .begin = 0,
                                         .size_bytes = 10,
                                         .compression = Compression::kGzip}}),
            "");
}

TEST(StepPlan, DescribesAShardByTheFilesItReads) {
  MemoryBlobStore store;
  const StepPlan plan = make_plan(store);
  EXPECT_EQ(describe_shard(plan, 0), "shard 0 (bytes 0-60 of /data/a.txt)");
  EXPECT_EQ(describe_shard(plan, 1), "shard 1 (bytes 60 of /data/a.txt to 5 of standard input)");
  EXPECT_EQ(describe_shard(plan, 2), "shard 2 (bytes 5-9 of standard input)");
  EXPECT_EQ(describe_shard(plan, 3),
            "shard 3 (bytes 9 of standard input to 50 of /data/c.zst as zstd)");
  EXPECT_EQ(describe_shard(plan, 4), "shard 4 (not in the plan)");
  EXPECT_EQ(describe_shard(make_index_plan(), 0), "shard 0 (indices 0-1000)");
}

TEST(StepPlan, DescribesTheFirstOfSeveralShards) {
  MemoryBlobStore store;
  const StepPlan plan = make_plan(store);
  const std::array<std::uint64_t, 3> ids = {2, 0, 1};
  EXPECT_EQ(describe_shards(plan, std::span(ids).first(1)), describe_shard(plan, 2));
  EXPECT_EQ(describe_shards(plan, ids), describe_shard(plan, 2) + " and 2 more");
}

}  // namespace
}  // namespace pinion
