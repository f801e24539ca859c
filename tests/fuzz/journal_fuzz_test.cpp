// The decoders of a journal, on logs and snapshots that are nearly right. Both are behind a
// checksum that turns nearly all of them away, so what is behind it is tried without.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shard/protocol/coordinator.hpp>
#include <pinion/shard/protocol/journal_format.hpp>

#include "mutate.hpp"
#include "protocol/record_tables.hpp"

namespace pinion::protocol {
namespace {

std::vector<Record> some_records() {
  const BlobHandle blob{.job = 1, .generation = 2, .length_bytes = 3, .segment = 4};
  const BlobHandle far_blob{.job = 1, .generation = 3, .length_bytes = 3, .host = 1};
  return {EpochBegun{1},
          StepOpened{.step = 1, .fingerprint = 5, .description = "word count"},
          StepPlanned{{.step = 1,
                       .plan = blob,
                       .partition_count = 2,
                       .shards = {{.weight = 1}, {.weight = 2}, {.weight = 3}},
                       .streams = {blob}}},
          UnitsAccepted{.step = 1, .output = blob, .input_bytes = 1, .units = {0, 2}},
          UnitsAccepted{.step = 1, .output = far_blob, .input_bytes = 1, .units = {1}},
          BlobsLost{.step = 1, .host = 1, .epoch = 1},
          UnitsAccepted{.step = 1, .output = blob, .input_bytes = 1, .units = {1}},
          UnitsAccepted{.step = 1, .stage = Stage::kMerge, .output = blob, .units = {1}},
          StepOpened{.step = 2},
          StepEnded{.step = 2, .failure = {.code = ErrorCode::kNotFound, .text = "gone"}},
          JobEnded{}};
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

// Whatever they say, a coordinator takes them.
void restore(const std::vector<Record>& records) {
  RecordHistory history;
  for (const Record& record : records) {
    history.add(record);
    static_cast<void>(blobs_of(record));
  }
  for (const std::vector<Record>& kept : {records, history.records()}) {
    const Coordinator coordinator =
        Coordinator::restore({.job = 1, .epoch = 9, .rank_count = 2, .journaled = true}, kept);
    EXPECT_EQ(coordinator.next_deadline(), Instant::max());
  }
}

TEST(JournalFuzz, RecordsBehindTheChecksum) {
  std::vector<std::byte> encoded;
  encode_records(some_records(), encoded);
  const std::vector<std::string> examples = {text_of(encoded)};
  fuzz::for_each_trial([&](fuzz::Mutator& mutator, std::uint64_t) {
    std::vector<Record> records;
    if (decode_records(bytes_of(mutator.mutate(examples)), records) == nullptr) {
      restore(records);
    }
  });
}

TEST(JournalFuzz, ALogIsReadUpToItsDamage) {
  const std::vector<Record> written = some_records();
  std::vector<std::byte> log;
  for (std::size_t at = 0; at < written.size(); at += 3) {
    const std::size_t count = std::min<std::size_t>(3, written.size() - at);
    append_frame(at, std::span(written).subspan(at, count), log);
  }
  const std::vector<std::string> examples = {text_of(log)};
  fuzz::for_each_trial([&](fuzz::Mutator& mutator, std::uint64_t) {
    const std::vector<std::byte> bytes = bytes_of(mutator.mutate(examples));
    const LogContents contents = read_log(bytes, 0);
    ASSERT_LE(contents.valid_bytes, bytes.size());
    ASSERT_LE(contents.records.size(), written.size());
    EXPECT_TRUE(std::equal(contents.records.begin(), contents.records.end(), written.begin()));
    EXPECT_EQ(contents.stop == LogStop::kEnd, contents.reason.empty());
  });
}

TEST(JournalFuzz, ASnapshotIsWholeOrRefused) {
  const std::vector<Record> written = some_records();
  const std::vector<std::string> examples = {text_of(encode_snapshot(42, written)),
                                             text_of(encode_snapshot(7, {}))};
  fuzz::for_each_trial([&](fuzz::Mutator& mutator, std::uint64_t) {
    const Result<Snapshot> snapshot = decode_snapshot(bytes_of(mutator.mutate(examples)));
    if (snapshot) {
      EXPECT_EQ(*snapshot, snapshot->next == 7 ? (Snapshot{.next = 7})
                                               : (Snapshot{.next = 42, .records = written}));
    }
  });
}

}  // namespace
}  // namespace pinion::protocol
