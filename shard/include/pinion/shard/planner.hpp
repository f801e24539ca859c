#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/alignment.hpp>
#include <pinion/shard/input.hpp>

namespace pinion {

/// All shards that wait of a higher one are begun before those of a lower one. A wish, not an order
/// of ends: shards run side by side, and one that failed is tried again later.
enum class ShardPriority : std::uint8_t { kNormal, kHigh, kLow };

/// A half-open range [begin, end) of the input's line of offsets (bytes or indices), and the place
/// that would rather work on it. Its position in the plan is the shard's id.
struct ShardRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t weight = 0;  ///< How much work it is, beside its neighbours.
  Place place = {};

  /// Within a priority shards near to a rank come first, then heavy ones. In an ordered step a
  /// batch has that of its first shard.
  ShardPriority priority = ShardPriority::kNormal;

  friend bool operator==(const ShardRange&, const ShardRange&) = default;
};

/// Most shards that a step can have.
inline constexpr std::uint64_t kShardCountMax = std::uint64_t{1} << 24;

/// How many shards a worker gets where the program says no size: enough that the last ones to end
/// end together, few enough that each is worth its lease.
inline constexpr std::uint64_t kShardsPerWorker = 8;

/// Bounds of the size that by_bytes() chooses itself. Below the first a shard is not worth its
/// lease: a worker gets fewer than kShardsPerWorker. Above the second it is over-large, as a worker
/// holds a shard whole, and is split: of more than 128 MiB a worker gets more than
/// kShardsPerWorker. Larger pieces are read more slowly, as docs/benchmarks.md shows.
inline constexpr std::uint64_t kChosenBytesMin = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kChosenBytesMax = std::uint64_t{16} << 20;

struct PartitionPolicy {
  /// Bytes, indices or weight that a shard should have. 0: the planner chooses, from the input and
  /// `worker_count`.
  std::uint64_t target_size = 0;

  Alignment alignment = {};

  /// Where the ranks of the job work, on all its hosts; shards are dealt over these. Never empty,
  /// no place twice, those of a host one after the other. Filled in by the job.
  std::vector<Place> places = {Place{}};

  /// Workers at each of `places`; empty: the same number at each. Filled in by the job.
  std::vector<std::uint64_t> place_worker_counts = {};

  /// Workers of all ranks. Filled in by the job.
  std::uint64_t worker_count = 1;
};

/// The size that gives each of `worker_count` workers kShardsPerWorker shards of a whole of
/// `total`; at least 1.
[[nodiscard]] std::uint64_t choose_target(std::uint64_t total, std::uint64_t worker_count) noexcept;

/// Cuts an input into shards. Extension point: implement it, then run the suite in
/// tests/conformance/planner_conformance.hpp against it.
///
/// Every implementation keeps this contract:
///  - partition() covers [0, input.size()) once, sorted, without gaps, no shard empty.
///  - coalesce() covers what it was given, and joins only neighbours of the same place and
///    priority.
///  - Pure: the same input and policy give the same shards, on every host.
///
/// Thread safety: both are const and may be called from several threads at once.
class IShardPlanner {
 public:
  virtual ~IShardPlanner() = default;

  /// The finest cut that keeps the policy: what is larger than the target is split, wherever
  /// sources and alignment allow. A compressed source is never cut.
  /// Blocks: for reads around the cuts.
  /// Errors: kInvalidArgument when the policy breaks its stated ranges, does not fit the input or
  ///   asks for more than kShardCountMax shards; those of reading.
  [[nodiscard]] virtual Result<std::vector<ShardRange>> partition(
      const InputListing& input, const PartitionPolicy& policy) const = 0;

  /// Joins small neighbours up to the policy's target, never across places or priorities.
  [[nodiscard]] virtual std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                                         const PartitionPolicy& policy) const = 0;
};

/// A planner with its policy, as map_reduce takes them. What the policy says of places and workers
/// is filled in by the job.
struct Partitioning {
  std::shared_ptr<const IShardPlanner> planner;
  PartitionPolicy policy = {};
  std::string description = {};  ///< For the step's fingerprint; equal on all ranks.

  bool is_ordered = false;              ///< See ordered().
  std::uint32_t batch_shard_count = 0;  ///< Of an ordered step: shards in a batch; 0: chosen.

  Duration shard_deadline = {};  ///< See within(); zero: none.

  /// The same, ordered: `by_bytes(4'000'000, align_to_line).ordered()`. The answer is then equal to
  /// the last bit in every run: with any number of ranks, workers and places, and whatever died or
  /// was tried again. That matters where the order of joining does: for sums and means of floating
  /// point. Bodies must do their part, and emit what depends on their shard alone. (sort() and the
  /// aggregators of integers give equal answers without it.)
  ///
  /// How: the input is cut, and the shards are put in batches, as if for a fixed number of workers
  /// at one place. A batch is a run of `shards_per_batch` shards that follow each other (0: one to
  /// eight, chosen from how many shards there are). One worker takes them in their order, and
  /// batches are merged in theirs. In which order values are added is then fixed, but need not be
  /// that of the input.
  ///
  /// What it costs: more batches are sealed and merged than there need be, each with a state of its
  /// own. With many keys fewer and larger batches are much quicker: a batch should have many more
  /// values than keys. When a body throws or a rank dies, the whole batch runs again, and
  /// Shard::attempt() counts the tries of the batch. A batch cannot be sealed early: one that holds
  /// `batch-bytes` of state before its last shard fails with kResourceExhausted.
  [[nodiscard]] Partitioning ordered(std::uint32_t shards_per_batch = 0) const;

  /// The same with a deadline: `by_bytes(4'000'000).within(std::chrono::minutes(2))`. A shard (of
  /// an ordered step: a batch) that is not accepted so long after it was granted to a rank has
  /// failed, with kDeadlineExceeded, whatever the rank says. It is tried again, on another rank
  /// where there is one, with the whole time anew, and is given up as one whose body throws: after
  /// four times.
  ///
  /// A shard is accepted with its batch, and waits for a worker before: allow for as many shards as
  /// a batch has (`batch-shards`), and some more. A body cannot be interrupted: its worker goes on
  /// until it returns, and its rank does not leave the step before. What else the rank holds is
  /// done by others, who have the answer without it.
  ///
  /// Precondition: positive.
  [[nodiscard]] Partitioning within(Duration deadline) const;
};

/// For how many workers an ordered step is cut where the program says no size: for more than most
/// machines have, as too many shards cost less than workers without one.
inline constexpr std::uint64_t kOrderedWorkerCount = 16;

/// How many shards an ordered step of `shard_count` puts in a batch unless told: few enough that
/// kOrderedWorkerCount workers have kShardsPerWorker batches each, and at most eight.
[[nodiscard]] std::uint32_t choose_ordered_batch(std::uint64_t shard_count) noexcept;

// Where the target is left out (or 0) in the functions below, the planner chooses it, and which
// shards there are then depends on the workers of the ranks that have come by then and still live,
// unless the step is ordered.
//
// Places. Memory has a place; the pages of a file have none that a program may count on. So what
// lies in blobs is dealt to the places of the blobs, or, where nobody works there or the job has
// several hosts, to some of their host, and everything else so that each place of the job gets one
// run of neighbours, in proportion to its workers.

/// Shards of about `target_bytes` of a byte input; between 1 and 16 MiB when they are not said.
/// Small files share a shard.
[[nodiscard]] Partitioning by_bytes(std::uint64_t target_bytes, Alignment alignment = {});
[[nodiscard]] Partitioning by_bytes(Alignment alignment = {});

/// Shards of about `target_count` indices.
[[nodiscard]] Partitioning by_index_range(std::uint64_t target_count = 0);

/// Files, blobs and standard input as they are, never cut: each is a shard of its own, or, with a
/// target, shares one with its neighbours up to that many bytes. A shard must fit in memory.
[[nodiscard]] Partitioning by_file(std::uint64_t target_bytes = 0, Alignment alignment = {});

/// The partitions of an answer, each a shard of its own: the only cut that partitions() takes.
[[nodiscard]] Partitioning by_partition();

/// What a source weighs as a whole: the work it makes, in any unit; 0 counts as 1. Standard input
/// is one source. A pure function.
using SourceWeight = std::function<std::uint64_t(const InputSource&)>;

/// What an index weighs; 0 counts as 1. A pure function; called once or twice for each index of the
/// input.
using IndexWeight = std::function<std::uint64_t(std::uint64_t)>;

/// Shards of about equal weight. A source's weight is spread evenly over its bytes: a heavy source
/// is cut into many shards, light ones share one. An index that is heavier than the target is a
/// shard of its own.
[[nodiscard]] Partitioning by_weight(SourceWeight weigh, std::uint64_t target_weight = 0,
                                     Alignment alignment = {});
[[nodiscard]] Partitioning by_weight(IndexWeight weigh, std::uint64_t target_weight = 0);

/// The same with the weights of the sources that are not empty, in the order of the listing, or of
/// the indices. kInvalidArgument when there are more or fewer of them.
[[nodiscard]] Partitioning by_weight(std::vector<std::uint64_t> weights,
                                     std::uint64_t target_weight = 0, Alignment alignment = {});

/// As by_bytes(), cut at the bounds of the places' parts too: a part is in proportion to the
/// workers of its place to the byte (to the alignment), where by_bytes() deals whole shards. For
/// few large shards on several places.
[[nodiscard]] Partitioning by_place(std::uint64_t target_bytes = 0, Alignment alignment = {});

}  // namespace pinion
