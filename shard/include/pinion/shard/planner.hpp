#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/input.hpp>

namespace pinion {

/// A half-open range [begin, end) of the input's line of offsets (bytes or indices), and the place
/// that would rather work on it. Its position in the plan is the shard's id.
struct ShardRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t weight = 0;  ///< How much work it is, beside its neighbours.
  Place place = {};

  friend bool operator==(const ShardRange&, const ShardRange&) = default;
};

/// Where a shard of bytes may end.
enum class Alignment : std::uint8_t {
  kNone,  ///< Anywhere.
  kLine,  ///< After a line feed, or at the end of a source. A longer line makes a longer shard.
};

inline constexpr Alignment align_to_line = Alignment::kLine;

/// Most shards that a step can have.
inline constexpr std::uint64_t kShardCountMax = std::uint64_t{1} << 24;

struct PartitionPolicy {
  std::uint64_t target_size = 0;  ///< Bytes or indices a shard should have; at least 1.
  Alignment alignment = Alignment::kNone;
  std::vector<Place> places = {Place{}};  ///< Shards are dealt over these; never empty.
};

/// Cuts an input into shards. Extension point: implement it, then run the suite in
/// tests/conformance/planner_conformance.hpp against it.
///
/// Every implementation keeps this contract:
///  - partition() covers [0, input.size()) once, sorted, without gaps, no shard empty.
///  - coalesce() covers what it was given, and joins only neighbours of the same place.
///  - Pure: the same input and policy give the same shards, on every host.
///
/// Thread safety: both are const and may be called from several threads at once.
class IShardPlanner {
 public:
  virtual ~IShardPlanner() = default;

  /// The finest cut that keeps the policy. Blocks: for reads around the cuts.
  /// Errors: kInvalidArgument when the policy breaks its stated ranges, does not fit the kind of
  ///   input or asks for more than kShardCountMax shards; those of reading.
  [[nodiscard]] virtual Result<std::vector<ShardRange>> partition(
      const InputListing& input, const PartitionPolicy& policy) const = 0;

  /// Joins small neighbours up to the policy's target, never across places.
  [[nodiscard]] virtual std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                                         const PartitionPolicy& policy) const = 0;
};

/// A planner with its policy, as map_reduce takes them. `policy.places` is filled in by the job.
struct Partitioning {
  std::shared_ptr<const IShardPlanner> planner;
  PartitionPolicy policy = {};
  std::string description = {};  ///< For the step's fingerprint; equal on all ranks.
};

/// Shards of about `target_bytes` of a byte input. Small files share a shard.
[[nodiscard]] Partitioning by_bytes(std::uint64_t target_bytes,
                                    Alignment alignment = Alignment::kNone);

/// Shards of about `target_count` indices.
[[nodiscard]] Partitioning by_index_range(std::uint64_t target_count);

}  // namespace pinion
