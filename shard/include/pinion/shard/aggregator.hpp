#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <pinion/core/assert.hpp>
#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// A block of records that a body emitted, in the record type of the aggregator it is for.
/// Lifetime: borrows for the call, and so do views inside the records.
class Part {
 public:
  template <class Record>
  explicit Part(std::span<const Record> records) noexcept
      : data_(records.data()), count_(records.size()), record_bytes_(sizeof(Record)) {}

  /// Precondition: Record is the type that the part was made of.
  template <class Record>
  [[nodiscard]] std::span<const Record> records() const noexcept {
    PINION_ASSERT(record_bytes_ == sizeof(Record));
    return {static_cast<const Record*>(data_), count_};
  }

 private:
  const void* data_;
  std::size_t count_;
  std::size_t record_bytes_;
};

/// The state of an aggregation: one a batch while shards are mapped, one a partition while partials
/// are merged. Extension point; FoldByKey and SumVector are two of them.
///
/// Every implementation keeps this contract:
///  - Order and grouping do not matter: any way of accumulating the same records into any number of
///    states and merging those gives the same sealed answer.
///  - What seal() writes can be merged from where it lies, by another process.
///  - Where order matters after all, as to the last bits of sums of floating point, what is sealed
///    depends only on what was accumulated and merged, and the order and blocks in which it came:
///    not on addresses, time, or how much memory there is. Ordered steps rely on it.
///
/// Thread safety: none for one object; the engine gives each to one thread at a time.
class IAggregator {
 public:
  virtual ~IAggregator() = default;

  /// An empty state of the same kind.
  [[nodiscard]] virtual std::unique_ptr<IAggregator> fresh() const = 0;

  /// Adds a block of emitted records.
  virtual void accumulate(const Part& part) = 0;

  /// Adds the same partition of what seal() of several other states wrote, ascending by the first
  /// shard of each. May be called more than once. The bytes stay until this state is sealed, so it
  /// may keep views of them until then.
  /// Errors: kDataLoss for bytes that seal() did not write; the state is then spoiled.
  [[nodiscard]] virtual Status merge(std::span<const std::span<const std::byte>> partials) = 0;

  /// Turns what was accumulated into the answer, once, after the last merge.
  virtual void finalize() = 0;

  /// Writes the state as `partition_count` partitions in the form of partitioned_blob.hpp, entries
  /// of one key always in the same partition. The state is not used afterwards.
  /// Errors: those of the store.
  [[nodiscard]] virtual Result<Blob> seal(IBlobStore& store, Place place,
                                          std::uint32_t partition_count) = 0;

  /// Memory that the state holds.
  [[nodiscard]] virtual std::uint64_t memory_bytes() const noexcept = 0;
};

/// An aggregator that says by `static constexpr bool kCombinesPartials = true` that the partials of
/// hosts may be combined there, so that other hosts pull less. It promises that a state which
/// merged a partition of some partials, and was sealed as one partition without finalize(), can be
/// merged in the place of that partition of these; and that the state is mostly smaller than they
/// are. One that keeps every record has nothing to gain.
template <class A>
concept CombinesPartials = requires {
  requires A::kCombinesPartials;
};

}  // namespace pinion
