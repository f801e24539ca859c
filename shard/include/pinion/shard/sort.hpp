#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/distributed.hpp>
#include <pinion/shard/input.hpp>
#include <pinion/shard/piece_iterator.hpp>
#include <pinion/shard/planner.hpp>
#include <pinion/shard/step.hpp>

namespace pinion {

/// The part of a record that decides where it goes.
struct SortKey {
  enum class Order : std::uint8_t {
    kBytes,     ///< As strings of bytes from 0 to 255.
    kUnsigned,  ///< As a little-endian integer.
    kSigned,    ///< As a little-endian integer in two's complement.
  };

  std::uint32_t offset = 0;  ///< In the record.
  std::uint32_t length = 0;  ///< Bytes; 1, 2, 4 or 8 for integers.
  Order order = Order::kBytes;
};

/// `length` bytes at `offset` of a record, compared as bytes.
struct ByteRange {
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
};

/// How the input is made of records.
struct RecordForm {
  std::uint32_t record_bytes = 0;  ///< 0: lines, of which all is the key.
  SortKey key = {};

  [[nodiscard]] bool is_lines() const noexcept { return record_bytes == 0; }

  /// In words that are equal on all ranks, for the step's fingerprint.
  [[nodiscard]] std::string describe() const;
};

/// Records of `record_bytes` each, without anything between them, by some of their bytes.
[[nodiscard]] RecordForm fixed_records(std::uint32_t record_bytes, ByteRange key);

/// Records of `record_bytes` each, by an integer at `offset`, as the machine stores it.
template <std::integral Key>
[[nodiscard]] RecordForm fixed_records_by(std::uint32_t record_bytes, std::uint32_t offset = 0) {
  static_assert(sizeof(Key) <= 8 && !std::same_as<Key, bool>);
  return {.record_bytes = record_bytes,
          .key = {.offset = offset,
                  .length = sizeof(Key),
                  .order = std::numeric_limits<Key>::is_signed ? SortKey::Order::kSigned
                                                               : SortKey::Order::kUnsigned}};
}

/// Lines of text, each without its line feed compared as bytes; a line that begins another comes
/// before it.
[[nodiscard]] RecordForm line_records();

/// Records in order, read from where they lie: ascending partitions, each in order in itself.
/// Copying a result copies a reference.
///
/// Thread safety: immutable; may be read from several threads.
/// Lifetime: records and bytes are views, valid while any copy of the result lives.
class SortedResult {
  struct Partitions {
    const SortedResult* result = nullptr;

    [[nodiscard]] std::size_t count() const noexcept { return result->partition_count(); }
    [[nodiscard]] std::size_t size(std::size_t partition) const noexcept {
      return result->state_->partitions[partition].record_count;
    }
    [[nodiscard]] std::string_view at(std::size_t partition, std::size_t index) const noexcept {
      return result->record_of(partition, index);
    }
  };

 public:
  /// Gives the bytes of a record; of a line all but its line feed.
  using Iterator = PieceIterator<Partitions, std::string_view>;

  /// For the engine: one blob a partition, as the merge step of a sort seals them.
  /// Errors: kDataLoss for blobs that are not that.
  [[nodiscard]] static Result<SortedResult> create(std::vector<Blob> blobs);

  /// Records.
  [[nodiscard]] std::uint64_t size() const noexcept { return state_->size; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  /// All records in order. Lifetime: iterators borrow this result.
  [[nodiscard]] Iterator begin() const noexcept { return Iterator({this}, 0); }
  [[nodiscard]] Iterator end() const noexcept { return Iterator({this}, partition_count()); }

  [[nodiscard]] std::size_t partition_count() const noexcept { return state_->partitions.size(); }

  /// One a partition, for partitions().
  [[nodiscard]] std::span<const Blob> blobs() const noexcept { return state_->blobs; }

  /// The records of a partition one after the other, lines with their line feeds.
  /// Precondition: partition < partition_count().
  [[nodiscard]] std::span<const std::byte> bytes(std::size_t partition) const noexcept;

 private:
  struct Partition {
    std::uint64_t record_count = 0;
    std::uint64_t record_bytes = 0;            // 0: lines.
    std::span<const std::uint64_t> ends = {};  // Of lines, with their line feeds.
    std::span<const std::byte> bytes = {};
  };
  struct State {
    std::vector<Blob> blobs;
    std::vector<Partition> partitions;
    std::uint64_t size = 0;
  };

  explicit SortedResult(std::shared_ptr<const State> state) noexcept : state_(std::move(state)) {}

  [[nodiscard]] std::string_view record_of(std::size_t partition,
                                           std::uint64_t index) const noexcept;

  // Several copies of a result share it.
  std::shared_ptr<const State> state_;
};

/// Sorts the records of `input` in memory, on all workers of all ranks. Records with equal keys
/// stay in the order of the input, so the answer does not depend on who did what.
///
/// `partitioning` must cut between records: by_bytes(..., align_to_line) for lines, and for fixed
/// records by_bytes() with a multiple of their size. Needs memory for the records twice; a job of
/// one rank, whose sorted part takes the place of the unsorted one, for a quarter more than once.
///
///     auto sorted = pinion::sort(job, pinion::files({path}), pinion::by_bytes(4'000'000),
///                                pinion::fixed_records(100, {.offset = 0, .length = 10}));
///     for (std::string_view record : *sorted) { ... }
///
/// A collective operation of two steps: one reads a sample and fixes the ranges of keys, one sorts.
/// Blocks and fails as run_step() does.
/// Errors: kInvalidArgument for a key that does not lie in its record, for standard input, which
///   cannot be read twice, and where a shard cuts a record.
[[nodiscard]] Result<SortedResult> sort(IJobContext& job, Input input, Partitioning partitioning,
                                        RecordForm records, CallSite where = CallSite::current());

/// Records whose sorted answer is to stay distributed. Made by distributed().
struct DistributedRecords {
  RecordForm records;
};
[[nodiscard]] inline DistributedRecords distributed(RecordForm records) {
  return {records};
}

/// sort() whose answer stays distributed: ascending partitions, of which no rank opens one that it
/// does not read. Otherwise the same.
[[nodiscard]] Result<Distributed<SortedResult>> sort(IJobContext& job, Input input,
                                                     Partitioning partitioning,
                                                     DistributedRecords distributed,
                                                     CallSite where = CallSite::current());

}  // namespace pinion
