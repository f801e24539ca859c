#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/core/shard_devices.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/input.hpp>
#include <pinion/shard/planner.hpp>
#include <pinion/shard/shard.hpp>

// The compiled entry into the engine. Programs use the typed layer in map_reduce.hpp.

namespace pinion {

/// A place in the program's source. Default arguments of current() are evaluated at the call.
struct CallSite {
  const char* file = "";
  unsigned line = 0;

  [[nodiscard]] static constexpr CallSite current(
      const char* file = __builtin_FILE(),
      unsigned line = static_cast<unsigned>(__builtin_LINE())) noexcept {
    return {file, line};
  }
};

/// A step in words that are equal on all ranks of a job: what it does, with what, where in the
/// source.
[[nodiscard]] std::string describe_step(std::string_view operation, const Input& input,
                                        const Partitioning& partitioning, CallSite where);

/// The name of a type as people write it, where the compiler tells.
[[nodiscard]] std::string type_name(const std::type_info& type);

/// What devices do with the shards of a step in place of its body.
struct StepKernel {
  DeviceKernel kernel = {};

  /// Called for each piece that a device has done, as the body is.
  std::function<void(const Shard&, const DevicePiece&, IAggregator&)> finish = {};
};

struct StepSpec {
  Input input = {};
  Partitioning partitioning = {};
  std::string description = {};       ///< describe_step().
  std::uint64_t fingerprint = 0;      ///< Of the description; equal on all ranks.
  std::uint32_t partition_count = 0;  ///< 0: map only, nothing is sealed, merged or answered.

  /// Called once a shard, from several threads at once, each with the state of its batch; may
  /// throw.
  std::function<void(const Shard&, IAggregator&)> body = {};

  /// Empty: the body does all shards.
  std::optional<StepKernel> device = {};

  /// Makes the states. Borrowed for the step; null when partition_count is 0, and the state that
  /// the body then gets takes nothing.
  const IAggregator* prototype = nullptr;

  /// Whether partials of the prototype's kind may be combined: see CombinesPartials.
  bool combines = false;

  /// Whether this rank opens all partitions of the answer, or gets their handles only.
  bool opens_partitions = true;

  /// May be empty. Called on the program's thread for each partition that this rank has merged,
  /// once that is accepted: no rank merges it again.
  std::function<void(std::uint32_t partition)> on_merged = {};
};

struct StepOutcome {
  /// Index = partition; each a sealed state of one partition, which the job keeps until it ends.
  std::vector<BlobHandle> handles = {};
  std::vector<Blob> partitions = {};  ///< The same opened; empty where that was not asked for.
  std::uint64_t shard_count = 0;
  std::uint64_t input_bytes = 0;
  std::uint64_t skipped_shard_count = 0;  ///< Of shard_count: what the answer is without.
};

/// What a body throws to fail its shard with a code and words of its own choice. Whatever else it
/// throws fails the shard as kUnknown.
class ShardError : public std::runtime_error {
 public:
  /// Precondition: an error.
  explicit ShardError(Status status)
      : std::runtime_error(std::string(status.message())), status_(std::move(status)) {}

  [[nodiscard]] const Status& status() const noexcept { return status_; }

 private:
  Status status_;
};

/// Runs the job's next step together with the other ranks, and answers with what all of them get.
/// Called on the program's own thread, in the same order on every rank.
/// Blocks: until the step is over on the whole job, and until bodies that still run for it here
/// have
///   returned.
/// Errors: those of bodies, input and planner, with shard and rank in words; kFailedPrecondition
///   when another rank runs another step; kUnavailable when the coordinator is gone; those of the
///   store.
[[nodiscard]] Result<StepOutcome> run_step(IJobContext& job, const StepSpec& spec);

}  // namespace pinion
