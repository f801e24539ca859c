#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/input.hpp>

#include "engine/shard_reader.hpp"
#include "shard/input/child.hpp"
#include "shard/input/compressed.hpp"
#include "shard/input/trial.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing_input::gzip;
using testing_input::MemoryBlobStore;
using testing_input::plan_shards;
using testing_input::Random;
using testing_input::skippable;
using testing_input::zstd;

using Paths = std::vector<std::string>;

constexpr std::uint64_t kMany = ShardReaderOptions().shard_bytes_max;

InputListing list(const Paths& paths, bool inflate = true) {
  MemoryBlobStore store;
  Input input = files(paths);
  input.inflate = inflate;
  return InputListing::list(input, store, false, 1).value();
}

StepPlan plan_of(const Paths& paths) {
  StepPlan plan = {.listing = list(paths)};
  if (plan.listing.size() > 0) {
    plan.shards = {{.begin = 0, .end = plan.listing.size()}};
  }
  return plan;
}

Result<std::string> load(const StepPlan& plan, std::uint64_t size_bytes_max = kMany) {
  ShardReader reader({.shard_bytes_max = size_bytes_max});
  const Result<Shard> shard = reader.load(plan, 0, 1, 0);
  if (!shard) {
    return shard.error();
  }
  return std::string(shard->text());
}

// The text of one file.
class OneFile {
 public:
  Result<std::string> load(std::string_view stored, std::uint64_t size_bytes_max = kMany) const {
    return pinion::load(plan_of({folder_.write("f", stored)}), size_bytes_max);
  }
  [[nodiscard]] std::string path() const { return folder_ / "f"; }

 private:
  TemporaryFolder folder_;
};

// Does not become much smaller, so that it has many blocks.
std::string random_text(std::size_t size) {
  Random random(size);
  std::string text;
  while (text.size() < size) {
    text += static_cast<char>(random.below(64) + ' ');
  }
  return text;
}

TEST(CompressedInput, IsToldByItsContent) {
  const TemporaryFolder folder;
  const InputListing listing =
      list({folder.write("a.txt", gzip("1")), folder.write("b", zstd("2")),
            folder.write("c", skippable("x") + zstd("3")), folder.write("d.gz", "plain text"),
            folder.write("e.zst", "\x28\xb5"), folder.write("f", "\x1f\x8b\x07 not deflate")});
  std::vector<Compression> found;
  for (const InputSource& source : listing.sources()) {
    found.push_back(source.compression);
  }
  EXPECT_EQ(found,
            (std::vector<Compression>{Compression::kGzip, Compression::kZstd, Compression::kZstd,
                                      Compression::kNone, Compression::kNone, Compression::kNone}));
  EXPECT_THAT(listing.notes(),
              testing::ElementsAre("1 gzip file, 2 zstd files: a compressed file is not cut, one "
                                   "worker inflates and reads all of it"));
}

TEST(CompressedInput, IsToldAmongManyFiles) {
  const TemporaryFolder folder;
  for (int i = 100; i < 400; ++i) {
    folder.write("f" + std::to_string(i), i % 3 == 0 ? gzip("text") : i % 3 == 1 ? "plain" : "");
  }
  const InputListing listing = list({folder.path()});
  ASSERT_EQ(listing.sources().size(), 200u);
  for (std::size_t i = 0; i < 200; ++i) {
    EXPECT_EQ(listing.sources()[i].compression,
              i % 2 == 0 ? Compression::kNone : Compression::kGzip)
        << listing.sources()[i].path;
  }
}

TEST(CompressedInput, IsReadAsStoredWhereThatIsAskedFor) {
  const TemporaryFolder folder;
  const std::string stored = gzip("text");
  const std::string path = folder.write("f", stored);
  const InputListing listing = list({path}, false);
  EXPECT_TRUE(listing.notes().empty());
  EXPECT_EQ(load({.listing = listing, .shards = {{.begin = 0, .end = stored.size()}}}).value(),
            stored);
  Input input = files({path});
  const std::string inflated = input.describe();
  input.inflate = false;
  EXPECT_NE(input.describe(), inflated);
}

TEST(CompressedInput, ComesBackWhole) {
  const OneFile file;
  for (const std::size_t size : {0u, 1u, 100u, 5'000'000u}) {
    SCOPED_TRACE(size);
    const std::string text = random_text(size);
    EXPECT_EQ(file.load(gzip(text)).value(), text);
    EXPECT_EQ(file.load(zstd(text)).value(), text);
  }
}

TEST(CompressedInput, MayHaveManyMembersAndFrames) {
  const OneFile file;
  EXPECT_EQ(file.load(gzip("one\n") + gzip("") + gzip("two\n")).value(), "one\ntwo\n");
  EXPECT_EQ(file.load(gzip("one\n") + std::string(1000, '\0')).value(), "one\n") << "padding";
  EXPECT_EQ(file.load(zstd("one\n") + zstd("") + skippable("not text") + zstd("two\n")).value(),
            "one\ntwo\n");
  EXPECT_EQ(file.load(skippable("nothing else")).value(), "");
}

// The end of a member at each distance from the end of a block that is read.
TEST(CompressedInput, MembersMayEndAnywhereInABlock) {
  const OneFile file;
  const std::string large = random_text(400'000);
  const std::string stored = gzip(large);
  for (std::size_t pad = 0; pad < 40; ++pad) {
    const std::string little = random_text(pad);
    ASSERT_EQ(file.load(gzip(little) + stored + gzip("end")).value(), little + large + "end");
    ASSERT_EQ(file.load(zstd(little) + zstd(large) + zstd("end")).value(), little + large + "end");
  }
}

TEST(CompressedInput, IsOneShardThatMayHaveNeighbours) {
  const TemporaryFolder folder;
  const std::string stored = gzip(random_text(10'000));
  const InputListing listing = list({folder.write("a", "12"), folder.write("b", stored),
                                     folder.write("c", gzip("x")), folder.write("d", "1234")});
  const Partitioning by = by_bytes(2, align_to_line);
  const std::vector<ShardRange> shards = plan_shards(by, listing, by.policy);
  ASSERT_EQ(shards.size(), 4u);
  EXPECT_EQ(shards[1].end - shards[1].begin, stored.size());
  EXPECT_GT(shards[1].weight, stored.size()) << "there is more to do than the bytes say";

  const StepPlan joined = plan_of({folder / "a", folder / "c", folder / "d"});
  EXPECT_EQ(load(joined).value(), "12\nx\n1234");
}

TEST(CompressedInput, CutShortIsDataLoss) {
  const OneFile file;
  for (const std::string& stored : {gzip("some text, some text"), zstd("some text, some text"),
                                    gzip(random_text(600'000)), zstd(random_text(600'000))}) {
    // The small ones at each length that still shows what they are.
    const std::size_t stride = 1 + stored.size() / 50;
    for (std::size_t size = 4; size < stored.size(); size += stride) {
      const Result<std::string> text = file.load(std::string_view(stored).substr(0, size));
      ASSERT_FALSE(text.has_value()) << size << " of " << stored.size();
      ASSERT_EQ(text.error().code(), ErrorCode::kDataLoss);
      ASSERT_THAT(text.error().message(), AllOf(HasSubstr(file.path()), HasSubstr("cut short"),
                                                HasSubstr("byte " + std::to_string(size))));
    }
  }
}

// Some bytes mean nothing, such as the time in gzip's header; no change goes unseen in the text.
TEST(CompressedInput, WithAChangedByteIsDataLossOrTheSameText) {
  const OneFile file;
  const std::string text = "some text, some text, and some that differs";
  for (const std::string& stored : {gzip(text), zstd(text)}) {
    std::size_t lost = 0;
    for (std::size_t at = 4; at < stored.size(); ++at) {
      for (const int change : {0x01, 0x10, 0x80, 0xff}) {
        std::string changed = stored;
        changed[at] = static_cast<char>(changed[at] ^ change);
        const Result<std::string> found = file.load(changed);
        if (found) {
          ASSERT_EQ(*found, text) << at;
        } else {
          ASSERT_THAT(found.error().code(),
                      testing::AnyOf(ErrorCode::kDataLoss, ErrorCode::kResourceExhausted))
              << at;
          ASSERT_THAT(found.error().message(), HasSubstr(file.path()));
          ++lost;
        }
      }
    }
    EXPECT_GT(lost, stored.size());
  }
}

TEST(CompressedInput, SaysWhereItIsDamaged) {
  const OneFile file;
  std::string stored = gzip(random_text(1'000'000));
  stored[700'000] = static_cast<char>(stored[700'000] ^ 0x55);
  const Result<std::string> text = file.load(stored);
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().code(), ErrorCode::kDataLoss);
  EXPECT_THAT(text.error().message(),
              AllOf(HasSubstr("gzip input file '" + file.path() + "' is damaged at byte "),
                    HasSubstr(" of " + std::to_string(stored.size()))));
}

TEST(CompressedInput, FollowedByOtherBytesIsDataLoss) {
  const OneFile file;
  for (const std::string& stored :
       {gzip("text") + "more", gzip("text") + std::string(5, '\0') + "more",
        zstd("text") + "more"}) {
    EXPECT_EQ(file.load(stored).error().code(), ErrorCode::kDataLoss);
  }
}

TEST(CompressedInput, ThatBecomesTooLargeIsRefusedInWords) {
  const OneFile file;
  const std::string zeros(std::size_t{64} << 20, '\0');
  for (const std::string& stored : {gzip(zeros), zstd(zeros)}) {
    const Result<std::string> text = file.load(stored, 1'000'000);
    ASSERT_FALSE(text.has_value());
    EXPECT_EQ(text.error().code(), ErrorCode::kResourceExhausted);
    EXPECT_THAT(text.error().message(),
                AllOf(HasSubstr(file.path()), HasSubstr("1000000 bytes"), HasSubstr("inflated")));
  }
}

TEST(CompressedInput, MayBeJustAsLargeAsAWorkerMayHold) {
  const OneFile file;
  for (const std::size_t size : {1u, 70'000u, 3'000'001u}) {
    const std::string text = random_text(size);
    for (const std::string& stored : {gzip(text), zstd(text)}) {
      EXPECT_EQ(file.load(stored, size).value(), text);
      EXPECT_EQ(file.load(stored, size - 1).error().code(), ErrorCode::kResourceExhausted);
    }
  }
}

TEST(CompressedInput, WithAnEnormousWindowIsRefused) {
  const OneFile file;
  const Result<std::string> text = file.load(zstd(random_text(100'000), 30));
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(text.error().message(), HasSubstr(file.path()));
}

TEST(CompressedInput, OfBrokenRecordsIsRefusedWithWhatIsLeftOver) {
  const TemporaryFolder folder;
  StepPlan plan = plan_of({folder.write("f", gzip(std::string(250, 'x')))});
  plan.alignment = align_to_records(50);
  EXPECT_EQ(load(plan).value().size(), 250u);
  plan.alignment = align_to_records(100);
  const Result<std::string> text = load(plan);
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(text.error().message(), AllOf(HasSubstr("250 bytes"), HasSubstr("50 are left over")));
}

TEST(CompressedInput, ThatShrankIsDataLoss) {
  const TemporaryFolder folder;
  const std::string path = folder.write("f", gzip(random_text(1'000'000)));
  const StepPlan plan = plan_of({path});
  fs::resize_file(path, 1000);
  const Result<std::string> text = load(plan);
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().code(), ErrorCode::kDataLoss);
  EXPECT_THAT(text.error().message(), HasSubstr("has become shorter"));
}

TEST(CompressedInput, OnStandardInputIsTextThatCanBeCut) {
  const TemporaryFolder folder;
  const std::string path = folder.write("f", gzip("first line\nsecond line\n"));
  EXPECT_TRUE(testing_input::holds_in_child([&] {
    if (std::freopen(path.c_str(), "r", stdin) == nullptr) {
      return false;
    }
    MemoryBlobStore store;
    const Partitioning by = by_bytes(8, align_to_line);
    StepPlan plan = {.listing = InputListing::list(files({"-"}), store, true, 1).value()};
    plan.shards = plan_shards(by, plan.listing, by.policy);
    ShardReader reader;
    return plan.listing.notes().empty() &&
           plan.listing.sources()[0].compression == Compression::kNone && plan.shards.size() == 2 &&
           reader.load(plan, 1, 1, 0)->text() == "second line\n";
  }));
}

TEST(CompressedInput, OnStandardInputIsReadAsStoredWhereThatIsAskedFor) {
  const TemporaryFolder folder;
  const std::string stored = gzip("text");
  const std::string path = folder.write("f", stored);
  EXPECT_TRUE(testing_input::holds_in_child([&] {
    if (std::freopen(path.c_str(), "r", stdin) == nullptr) {
      return false;
    }
    MemoryBlobStore store;
    Input input = files({"-"});
    input.inflate = false;
    return InputListing::list(input, store, true, 1)->size() == stored.size();
  }));
}

}  // namespace
}  // namespace pinion
