#include <pinion/shard/protocol/journal_format.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <pinion/shard/protocol/checksum.hpp>

#include "journal_golden.hpp"
#include "journal_play.hpp"
#include "sim/hexadecimal.hpp"

namespace pinion::protocol {
namespace {

using testing::HasSubstr;

std::vector<Record> every_kind() {
  PlanReady plan = plan_of({.shard_count = 3, .partition_count = 2}, 7);
  plan.ordered_batch_shard_count = 2;
  const BlobHandle blob{.job = 1,
                        .generation = 2,
                        .length_bytes = 3,
                        .epoch = 4,
                        .host = 5,
                        .segment = 6,
                        .index = 7};
  return {EpochBegun{3},
          StepOpened{.step = 7, .fingerprint = ~0ULL, .description = "word count"},
          StepPlanned{plan},
          UnitsAccepted{.step = 7,
                        .stage = Stage::kMerge,
                        .rank = 1,
                        .incarnation = 2,
                        .report = 3,
                        .output = blob,
                        .digest = 4,
                        .input_bytes = 5,
                        .units = {~0ULL, 0}},
          UnitSkipped{
              .step = 7, .unit = 2, .failure = {.code = ErrorCode::kUnavailable, .text = "again"}},
          StepEnded{.step = 7,
                    .failure = {.code = ErrorCode::kDataLoss, .text = "gone"},
                    .results = {blob, {}},
                    .shard_count = 3,
                    .input_bytes = 9},
          JobEnded{},
          BlobsLost{.step = 7, .host = 5},
          BlobsLost{.step = 7, .host = 5, .epoch = 6}};
}

/// A log of three frames, and where each ends.
struct Log {
  std::vector<Record> records = every_kind();
  std::vector<std::byte> bytes = {};
  std::vector<std::size_t> frame_ends = {0};
  std::vector<std::size_t> record_counts = {0};

  Log() {
    for (const std::size_t end : {std::size_t{1}, std::size_t{4}, records.size()}) {
      const std::size_t begin = record_counts.back();
      append_frame(100 + begin, std::span(records).subspan(begin, end - begin), bytes);
      frame_ends.push_back(bytes.size());
      record_counts.push_back(end);
    }
  }

  /// How many frames end within the first `size_bytes`.
  [[nodiscard]] std::size_t frames_within(std::size_t size_bytes) const {
    std::size_t count = 0;
    while (count + 1 < frame_ends.size() && frame_ends[count + 1] <= size_bytes) {
      ++count;
    }
    return count;
  }

  void expect_frames(const LogContents& contents, std::size_t count) const {
    EXPECT_EQ(contents.valid_bytes, frame_ends[count]);
    ASSERT_EQ(contents.records.size(), record_counts[count]);
    EXPECT_TRUE(std::equal(contents.records.begin(), contents.records.end(), records.begin()));
  }
};

TEST(JournalFormat, ReadsWhatWasWritten) {
  const Log log;
  const LogContents contents = read_log(log.bytes, 100);
  log.expect_frames(contents, 3);
  EXPECT_EQ(contents.stop, LogStop::kEnd);
  EXPECT_EQ(contents.reason, "");
}

TEST(JournalGolden, EveryFormIsReadAsItWasMeant) {
  const std::vector<Record> records = every_kind();
  for (const auto& [record_count, digits] : kJournalForms) {
    SCOPED_TRACE(record_count);
    const LogContents contents = read_log(bytes_of(digits), 100);
    EXPECT_EQ(contents.reason, "");
    ASSERT_EQ(contents.records.size(), record_count);
    EXPECT_TRUE(std::equal(contents.records.begin(), contents.records.end(), records.begin()));
  }
}

TEST(JournalFormat, EndsAtTheZerosOfPreallocatedSpace) {
  Log log;
  for (const std::size_t zeros : {1u, 63u, 64u, 4096u}) {
    std::vector<std::byte> bytes = log.bytes;
    bytes.resize(bytes.size() + zeros);
    const LogContents contents = read_log(bytes, 100);
    log.expect_frames(contents, 3);
    EXPECT_EQ(contents.stop, LogStop::kEnd);
  }
  EXPECT_EQ(read_log({}, 0).stop, LogStop::kEnd);
}

TEST(JournalFormat, ACutAtAnyByteLeavesTheFramesBeforeIt) {
  const Log log;
  for (std::size_t size = 0; size <= log.bytes.size(); ++size) {
    // A copy of that size, so that a sanitizer sees every byte that is read behind it.
    const std::vector<std::byte> cut(log.bytes.begin(),
                                     log.bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const std::size_t frames = log.frames_within(size);
    const LogContents contents = read_log(cut, 100);
    log.expect_frames(contents, frames);
    EXPECT_EQ(contents.stop, size == log.frame_ends[frames] ? LogStop::kEnd : LogStop::kTorn);

    // A frame that was preallocated and written in part.
    std::vector<std::byte> zeroed = log.bytes;
    std::fill(zeroed.begin() + static_cast<std::ptrdiff_t>(size), zeroed.end(), std::byte{});
    const LogContents left = read_log(zeroed, 100);
    // The rest may have been zeros.
    EXPECT_GE(left.valid_bytes, contents.valid_bytes);
    log.expect_frames(left, log.frames_within(left.valid_bytes));
  }
}

TEST(JournalFormat, AnyDamagedBitEndsTheLogBeforeItsFrame) {
  Log log;
  for (std::size_t bit = 0; bit < log.bytes.size() * 8; ++bit) {
    log.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    const LogContents contents = read_log(log.bytes, 100);
    log.expect_frames(contents, log.frames_within(bit / 8));
    EXPECT_EQ(contents.stop, LogStop::kTorn);
    EXPECT_THAT(contents.reason, HasSubstr("at byte " + std::to_string(contents.valid_bytes)));
    log.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(JournalFormat, ReadsAtAnyAddress) {
  const Log log;
  std::vector<std::byte> shifted(1);
  shifted.insert(shifted.end(), log.bytes.begin(), log.bytes.end());
  log.expect_frames(read_log(std::span(shifted).subspan(1), 100), 3);
}

TEST(JournalFormat, AFrameOutOfItsPlaceIsAGap) {
  const Log log;
  const LogContents early = read_log(log.bytes, 99);
  EXPECT_EQ(early.stop, LogStop::kGap);
  EXPECT_EQ(early.valid_bytes, 0U);
  EXPECT_THAT(early.reason, HasSubstr("begins with record 100, where record 99 is due"));
  std::vector<std::byte> twice = log.bytes;
  twice.insert(twice.end(), log.bytes.begin(), log.bytes.end());
  const LogContents repeated = read_log(twice, 100);
  EXPECT_EQ(repeated.stop, LogStop::kGap);
  log.expect_frames(repeated, 3);
}

TEST(JournalFormat, AnotherVersionIsSaid) {
  std::vector<std::byte> bytes;
  append_frame(0, every_kind(), bytes);
  bytes[8] = std::byte{9};  // The version; the checksum is of all behind itself.
  const std::uint32_t checksum = crc32c(std::span(bytes).subspan(8));
  std::memcpy(bytes.data() + 4, &checksum, sizeof(checksum));
  const LogContents contents = read_log(bytes, 0);
  EXPECT_EQ(contents.stop, LogStop::kVersion);
  EXPECT_THAT(contents.reason, HasSubstr("journal version 9, this program reads version 1"));
}

TEST(JournalFormat, EveryPrefixOfTheLogOfAJobGoesOn) {
  const std::vector<PlayedStep> steps = {{.shard_count = 3, .partition_count = 2},
                                         {.shard_count = 2}};
  Outputs outputs;
  Play whole(Coordinator(Play::options_of(1)), 1, 5, steps, outputs);
  whole.run();
  std::vector<std::byte> log;
  for (std::size_t at = 0; at < whole.records().size(); ++at) {
    append_frame(at, std::span(whole.records()).subspan(at, 1), log);
  }
  for (std::size_t size = 0; size <= log.size(); ++size) {
    Outputs again = outputs;
    const LogContents contents = read_log(std::span(log).first(size), 0);
    Play resumed(Coordinator::restore(Play::options_of(2), contents.records), 2, size, steps,
                 again);
    resumed.run();
    ASSERT_FALSE(HasFailure()) << "cut at byte " << size;
  }
}

TEST(Snapshots, ReadWhatWasWritten) {
  const Snapshot snapshot{.next = 42, .records = every_kind()};
  const Result<Snapshot> read = decode_snapshot(encode_snapshot(42, snapshot.records));
  ASSERT_TRUE(read.has_value()) << read.error().to_string();
  EXPECT_EQ(*read, snapshot);
  const Result<Snapshot> empty = decode_snapshot(encode_snapshot(7, {}));
  ASSERT_TRUE(empty.has_value());
  EXPECT_EQ(*empty, (Snapshot{.next = 7}));
}

TEST(Snapshots, OfManyRecordsAreWhole) {
  std::vector<Record> records;
  for (std::uint64_t step = 0; step < 10'000; ++step) {
    records.emplace_back(StepOpened{.step = step});
  }
  const Result<Snapshot> read = decode_snapshot(encode_snapshot(1, records));
  ASSERT_TRUE(read.has_value()) << read.error().to_string();
  EXPECT_EQ(read->records, records);
}

TEST(Snapshots, DamagedOrCutAreRefused) {
  std::vector<std::byte> bytes = encode_snapshot(42, every_kind());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_snapshot(std::span(bytes).first(size)).has_value()) << size;
  }
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    const Result<Snapshot> read = decode_snapshot(bytes);
    ASSERT_FALSE(read.has_value()) << bit;
    EXPECT_EQ(read.error().code(), ErrorCode::kDataLoss);
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(Snapshots, TheNewerWholeOneOfTwoIsChosen) {
  const std::vector<std::byte> older = encode_snapshot(1, every_kind());
  const std::vector<std::byte> newer = encode_snapshot(2, every_kind());
  const std::span<const std::byte> torn = std::span(newer).first(newer.size() - 1);
  EXPECT_EQ(choose_snapshot(older, newer)->next, 2U);
  EXPECT_EQ(choose_snapshot(newer, older)->next, 2U);
  EXPECT_EQ(choose_snapshot(older, torn)->next, 1U);
  EXPECT_EQ(choose_snapshot(torn, older)->next, 1U);
  EXPECT_FALSE(choose_snapshot(torn, {}).has_value());
}

TEST(Checksum, HasTheValuesOfTheStandard) {
  const auto of = [](const std::string& text) {
    return crc32c(std::as_bytes(std::span(text.data(), text.size())));
  };
  // RFC 3720, B.4.
  EXPECT_EQ(of("123456789"), 0xe3069283U);
  EXPECT_EQ(of(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(of(std::string(32, '\xff')), 0x62a8ab43U);
  EXPECT_EQ(of(""), 0U);
}

RC_GTEST_PROP(Checksum, IsTheSameByTableAndInParts, (std::string text, std::uint16_t cut)) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  const std::size_t at = cut % (bytes.size() + 1);
  RC_ASSERT(crc32c(bytes) == crc32c_by_table(bytes));
  RC_ASSERT(crc32c(bytes) == crc32c(bytes.subspan(at), crc32c(bytes.first(at))));
  RC_ASSERT(crc32c(bytes) == crc32c_by_table(bytes.subspan(at), crc32c_by_table(bytes.first(at))));
}

}  // namespace
}  // namespace pinion::protocol
