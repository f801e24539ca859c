#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/assert.hpp>
#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/input.hpp>
#include <pinion/shard/map_reduce.hpp>
#include <pinion/shard/planner.hpp>
#include <pinion/shard/shard.hpp>
#include <pinion/shard/step.hpp>

// Answers that stay distributed, and answers as the input of the next step.
//
//     auto counts = pinion::map_reduce(
//         job, pinion::files({"texts"}), pinion::by_bytes(pinion::align_to_line), count_words,
//         pinion::distributed(pinion::count_by_key<std::string_view>()));
//     auto spread = pinion::map_reduce(
//         job, pinion::partitions(*counts), pinion::by_partition(),
//         [&counts](const pinion::Shard& shard, auto& emit) {
//           for (const auto& [word, count] : pinion::read_partition(*counts, shard)) {
//             emit(static_cast<double>(count));
//           }
//         },
//         pinion::histogram({1, 10, 100, 1000}));

namespace pinion {

/// An answer of type R that stays where its partitions lie: every rank holds their handles, and
/// opens a partition only where it reads it. The job keeps the partitions until it ends. Copying it
/// copies the handles.
///
/// Thread safety: immutable; may be read from several threads.
/// Lifetime: borrows the store of the job that made it.
template <class R>
class Distributed {
 public:
  /// For the engine: the handles of one sealed blob a partition.
  Distributed(IBlobStore& store, std::vector<BlobHandle> handles) noexcept
      : store_(&store), handles_(std::move(handles)) {}

  [[nodiscard]] std::size_t partition_count() const noexcept { return handles_.size(); }
  [[nodiscard]] std::span<const BlobHandle> handles() const noexcept { return handles_; }

  /// One partition, mapped, as an answer of its own. Answers by key of the same kind of key and the
  /// same number of partitions have a key in the partition of the same number: two can be joined
  /// partition by partition.
  /// Blocks and fails as IBlobStore::open and R::create do.
  /// Precondition: partition < partition_count().
  [[nodiscard]] Result<R> open(std::size_t partition) const {
    PINION_ASSERT(partition < handles_.size());
    return open_all(std::span(handles_).subspan(partition, 1));
  }

  /// The whole answer, as a step without distributed() gives it.
  /// Blocks and fails as open().
  [[nodiscard]] Result<R> gather() const { return open_all(handles_); }

 private:
  [[nodiscard]] Result<R> open_all(std::span<const BlobHandle> handles) const {
    std::vector<Blob> blobs;
    blobs.reserve(handles.size());
    for (const BlobHandle& handle : handles) {
      Result<Blob> blob = store_->open(handle);
      if (!blob) {
        return std::move(blob).error().with_context("opening a partition of a distributed answer");
      }
      blobs.push_back(*std::move(blob));
    }
    return R::create(std::move(blobs));
  }

  IBlobStore* store_;
  std::vector<BlobHandle> handles_;
};

/// An aggregator whose answer is to stay distributed. Made by distributed().
template <class A>
struct DistributedAggregator {
  using Result = Distributed<typename A::Result>;

  A aggregator;
};

/// For map_reduce(): the answer of `aggregator` stays distributed.
template <class A>
[[nodiscard]] DistributedAggregator<A> distributed(A aggregator) {
  return {std::move(aggregator)};
}

/// map_reduce() whose answer stays distributed: no rank opens a partition that it does not read.
/// Otherwise the same.
template <class Body, class A>
[[nodiscard]] Result<Distributed<typename A::Result>> map_reduce(
    IJobContext& job, Input input, Partitioning partitioning, Body body,
    DistributedAggregator<A> distributed, CallSite where = CallSite::current()) {
  StepSpec spec = detail::make_step(
      "map_reduce into distributed " + detail::describe_aggregation(distributed.aggregator),
      std::move(input), std::move(partitioning), where);
  spec.opens_partitions = false;
  Result<StepOutcome> outcome =
      detail::run_map_reduce(job, std::move(spec), body, distributed.aggregator);
  if (!outcome) {
    return std::move(outcome).error();
  }
  return Distributed<typename A::Result>(job.store(), std::move(outcome->handles));
}

/// What partitions() and read_partition() take beside a Distributed: an answer in memory that tells
/// the blobs of its partitions.
template <class R>
concept PartitionedAnswer = requires(const R& result) {
  { result.blobs() } -> std::convertible_to<std::span<const Blob>>;
};

/// The partitions of an answer as the input of a step, to be cut with by_partition(): shard i is
/// partition i, would rather run at the place where that lies (in a job over several hosts: on the
/// host), and is read by read_partition(). The rank that plans opens each partition for a moment,
/// to see where it lies; beside that a partition is open where and while its shard runs. Errors:
/// the step answers those of IBlobStore::open for a handle that is not one of this job's.
template <class R>
[[nodiscard]] Input partitions(const Distributed<R>& result) {
  Input input = blobs(std::vector<BlobHandle>(result.handles().begin(), result.handles().end()));
  input.are_partitions = true;
  return input;
}

/// The same for an answer in memory, which the input keeps.
template <PartitionedAnswer R>
[[nodiscard]] Input partitions(const R& result) {
  const std::span<const Blob> kept = result.blobs();
  Input input = blobs(std::vector<Blob>(kept.begin(), kept.end()));
  input.are_partitions = true;
  return input;
}

namespace detail {

// Throws ShardError unless the shard may be a partition of `expected_bytes`.
void require_partition(const Shard& shard, std::size_t partition_count,
                       std::uint64_t expected_bytes);

// Throws ShardError for bytes that R does not take.
template <class R>
[[nodiscard]] R read_partition(const Shard& shard) {
  const BlobHandle none = {.length_bytes = shard.bytes().size()};
  Result<R> partition = R::create(std::vector<Blob>{Blob(none, Place{}, shard.bytes(), nullptr)});
  if (!partition) {
    throw ShardError(std::move(partition).error().with_context("reading it as a partition"));
  }
  return *std::move(partition);
}

}  // namespace detail

/// In a body over partitions(result): the partition that the shard is, as an answer of its own.
/// Lifetime: the answer and its views are valid during the body.
/// Errors: throws ShardError, which fails the shard: kFailedPrecondition where the shard is not a
///   partition of this answer, kDataLoss where its bytes are not what R seals.
template <class R>
[[nodiscard]] R read_partition(const Distributed<R>& result, const Shard& shard) {
  const std::size_t count = result.partition_count();
  detail::require_partition(shard, count,
                            shard.id() < count ? result.handles()[shard.id()].length_bytes : 0);
  return detail::read_partition<R>(shard);
}
template <PartitionedAnswer R>
[[nodiscard]] R read_partition(const R& result, const Shard& shard) {
  const std::span<const Blob> blobs = result.blobs();
  detail::require_partition(shard, blobs.size(),
                            shard.id() < blobs.size() ? blobs[shard.id()].bytes().size() : 0);
  return detail::read_partition<R>(shard);
}

}  // namespace pinion
