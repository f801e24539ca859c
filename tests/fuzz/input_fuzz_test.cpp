#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/plan.hpp"
#include "engine/shard_reader.hpp"
#include "fuzz/mutate.hpp"
#include "shard/input/compressed.hpp"
#include "shard/input/trial.hpp"

// Whatever the bytes: no crash, no read outside them, no memory beyond what was allowed, and an
// answer that is either right or an error in words.

namespace pinion {
namespace {

using fuzz::for_each_trial;
using fuzz::Mutator;
using testing_input::FileTrial;
using testing_input::MemoryBlobStore;

constexpr std::uint64_t kTextBytesMax = std::uint64_t{1} << 20;

std::string bytes_of(const StepPlan& plan) {
  const std::vector<std::byte> bytes = encode(plan);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Plans of every kind of source, alignment and shard, over files and blobs that exist.
std::vector<std::string> plan_examples(const TemporaryFolder& folder, MemoryBlobStore& store) {
  const Input sources = {
      .kind = InputKind::kBytes,
      .paths = {folder.write("a", "some text\nand more\n"),
                folder.write("b", testing_input::gzip("compressed\ntext\n"))},
      .handles = {store.add("a blob").handle(), store.add(std::string(9000, 'x')).handle()}};
  std::vector<std::string> examples;
  for (const Alignment& alignment : {Alignment(), align_to_line, align_to("\r\n")}) {
    for (const std::uint64_t target : {5u, 1000u, 1'000'000u}) {
      StepPlan plan = {.listing = InputListing::list(sources, store, false, 1).value(),
                       .partition_count = 3,
                       .alignment = alignment};
      const Partitioning by = by_bytes(target, alignment);
      plan.shards = testing_input::plan_shards(by, plan.listing, by.policy);
      examples.push_back(bytes_of(plan));
    }
  }
  examples.push_back(bytes_of({.listing = InputListing(InputKind::kIndices, {}, 1000),
                               .shards = {{.begin = 0, .end = 400}, {.begin = 400, .end = 1000}}}));
  return examples;
}

// Runs the first shards, as a worker would that believes the plan.
void load_some(const StepPlan& plan) {
  ShardReader reader({.shard_bytes_max = kTextBytesMax});
  for (std::uint64_t id = 0; id <= plan.shards.size() && id < 3; ++id) {
    EXPECT_FALSE(describe_shard(plan, id).empty());
    const Result<Shard> shard = reader.load(plan, id, 1, 0);
    if (shard) {
      unsigned sum = 0;
      for (const std::byte byte : shard->bytes()) {
        sum += static_cast<unsigned>(byte);
      }
      EXPECT_LE(sum, 255 * shard->bytes().size());
    } else {
      EXPECT_FALSE(shard.error().message().empty());
    }
  }
}

TEST(FuzzPlan, DecodesToAPlanWithoutFlawOrAnError) {
  const TemporaryFolder folder;
  MemoryBlobStore store;
  const std::vector<std::string> examples = plan_examples(folder, store);
  for_each_trial([&](Mutator& mutator, std::uint64_t) {
    const std::string mutated = mutator.mutate(examples);
    // A copy of its own size, so that a sanitizer sees each read beyond it.
    const std::vector<char> bytes(mutated.begin(), mutated.end());
    const Result<StepPlan> plan = decode(std::as_bytes(std::span(bytes)), store);
    if (!plan) {
      EXPECT_THAT(plan.error().code(), testing::AnyOf(ErrorCode::kDataLoss, ErrorCode::kNotFound));
      return;
    }
    EXPECT_EQ(find_flaw(*plan), "");
    load_some(*plan);
  });
}

TEST(FuzzCompressedFile, GivesTextOrAnError) {
  const TemporaryFolder folder;
  const std::string path = folder / "f";
  MemoryBlobStore store;
  const std::string text = "some text, some text and some more of it; ";
  std::string long_text;
  for (int copy = 0; copy < 3000; ++copy) {
    long_text += text + std::to_string(copy * 7919);
  }
  const std::vector<std::string> examples = {
      testing_input::gzip(text),
      testing_input::gzip(text) + testing_input::gzip(long_text) + std::string(20, '\0'),
      testing_input::gzip(std::string(3 * kTextBytesMax, 'x')),
      testing_input::zstd(text),
      testing_input::skippable(text) + testing_input::zstd(long_text) + testing_input::zstd(""),
      testing_input::zstd(std::string(3 * kTextBytesMax, 'x'))};
  ShardReader reader({.shard_bytes_max = kTextBytesMax});
  for_each_trial([&](Mutator& mutator, std::uint64_t) {
    folder.write("f", mutator.mutate(examples));
    const InputListing listing = InputListing::list(files({path}), store, false, 1).value();
    if (listing.size() == 0) {
      return;
    }
    const StepPlan plan = {.listing = listing, .shards = {{.begin = 0, .end = listing.size()}}};
    const Result<Shard> shard = reader.load(plan, 0, 1, 0);
    if (shard) {
      EXPECT_LE(shard->text().size(), kTextBytesMax);
    } else {
      EXPECT_THAT(shard.error().code(),
                  testing::AnyOf(ErrorCode::kDataLoss, ErrorCode::kResourceExhausted));
      EXPECT_THAT(std::string(shard.error().message()), testing::HasSubstr(path));
    }
    EXPECT_LE(reader.memory_bytes(), 8 * kTextBytesMax);
  });
}

TEST(FuzzPlanner, CutsOnlyWhereARecordEnds) {
  const Alignment alignments[] = {Alignment(),          align_to_line,     align_to("\n\n"),
                                  align_to("\r\n"),     align_to("aba"),   align_to("abab"),
                                  align_to_records(12), align_to("\n\r\n")};
  for_each_trial([&](Mutator& mutator, std::uint64_t seed) {
    const Alignment alignment = alignments[mutator.below(std::size(alignments))];
    const std::unique_ptr<FileTrial> trial = testing_input::make_file_trial(seed, alignment);
    trial->policy.target_size = 1 + mutator.below(200);
    const Partitioning by[] = {
        by_bytes(), by_place(), by_file(),
        by_weight([](const InputSource& source) { return source.size_bytes % 50; })};
    const std::vector<ShardRange> shards =
        testing_input::plan_shards(by[mutator.below(std::size(by))], trial->listing, trial->policy);
    std::uint64_t at = 0;
    for (const ShardRange& shard : shards) {
      ASSERT_EQ(shard.begin, at);
      ASSERT_TRUE(trial->may_end.at(shard.end)) << alignment.describe() << " at " << shard.end;
      at = shard.end;
    }
    ASSERT_EQ(at, trial->listing.size());
  });
}

}  // namespace
}  // namespace pinion
