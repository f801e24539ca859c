#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

// The messages between a rank and the coordinator, as values. Their wire form is
// shard/schema/job.fbs; wire.hpp translates.

namespace pinion::protocol {

/// The most partitions that a step may have. Bounds what one message makes the coordinator
/// allocate.
inline constexpr std::uint32_t kPartitionCountMax = 65536;

/// Which of a step's rounds of leases: first the shards are mapped; then, where that may spare the
/// way between hosts something, the partials of each host are combined, partition by partition;
/// then the partitions are merged from all hosts.
enum class Stage : std::uint8_t { kMap = 0, kMerge = 1, kCombine = 2 };

inline constexpr std::size_t kStageCount = 3;

/// Orders grants over the whole life of a job: a later grant of a unit always carries a greater
/// one.
struct Fence {
  std::uint32_t epoch = 0;
  std::uint64_t counter = 0;

  friend auto operator<=>(const Fence&, const Fence&) = default;
};

/// The right to work on one unit: in the map stage a shard, or several in an ordered step (see
/// MapUnits); in the merge stage a partition; in the combine stage a partition of a host's
/// partials: modulo the partition count, the partition.
struct Lease {
  std::uint64_t unit = 0;
  Fence fence = {};
  std::uint32_t attempt = 1;  ///< 1, and one more after each failure of this unit.

  friend bool operator==(const Lease&, const Lease&) = default;
};

/// How the shards of a step are leased.
///
/// Usually each is a unit, and a rank reports whichever units it likes together, as one batch. In
/// an ordered step the plan makes the batches: `ordered_batch_shard_count` shards that follow each
/// other are one unit, which is reported alone. So which shards share a partial does not depend on
/// who worked on what, and as partials are merged in the order of their shards, neither does the
/// order in which anything is joined.
struct MapUnits {
  std::uint64_t shard_count = 0;
  std::uint32_t ordered_batch_shard_count = 0;  ///< 0: not ordered.

  /// Half-open.
  struct ShardSpan {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;

    [[nodiscard]] std::uint64_t count() const noexcept { return end - begin; }
    friend bool operator==(const ShardSpan&, const ShardSpan&) = default;
  };

  [[nodiscard]] bool ordered() const noexcept { return ordered_batch_shard_count > 0; }
  [[nodiscard]] std::uint64_t shards_per_unit() const noexcept {
    return ordered() ? ordered_batch_shard_count : 1;
  }
  [[nodiscard]] std::uint64_t unit_count() const noexcept {
    return ordered() ? shard_count / ordered_batch_shard_count +
                           (shard_count % ordered_batch_shard_count == 0 ? 0 : 1)
                     : shard_count;
  }
  /// The shards of a unit; none when there is no such unit.
  [[nodiscard]] ShardSpan shards_of(std::uint64_t unit) const noexcept {
    if (unit >= unit_count()) {
      return {};
    }
    const std::uint64_t begin = unit * shards_per_unit();
    return {begin, begin + std::min(shards_per_unit(), shard_count - begin)};
  }
};

/// Which shards are granted first: all that wait of a higher one go before those of a lower one.
enum class Priority : std::uint8_t { kNormal = 0, kHigh = 1, kLow = 2 };

/// What the coordinator knows of a shard.
struct ShardEntry {
  std::uint64_t weight = 0;
  Place place = {};  ///< Where it would rather run. A device asks for a rank that has one.
  Priority priority = Priority::kNormal;
  bool has_cpu_body = true;  ///< Whether a rank without a device may run what asks for one.

  friend bool operator==(const ShardEntry&, const ShardEntry&) = default;
};

/// An error as it travels.
struct Failure {
  ErrorCode code = ErrorCode::kOk;
  std::string text = {};

  friend bool operator==(const Failure&, const Failure&) = default;
};

/// A process, told from all others of all jobs.
struct ProcessId {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  friend bool operator==(const ProcessId&, const ProcessId&) = default;
};

/// What a rank can work with.
struct Capacities {
  std::uint32_t cpu_count = 0;
  std::uint32_t gpu_count = 0;
  std::uint64_t memory_bytes = 0;

  friend bool operator==(const Capacities&, const Capacities&) = default;
};

/// The most workers that a rank may have at one place.
inline constexpr std::uint32_t kPlaceWorkerCountMax = 65536;

/// The workers at one place.
struct PlaceWorkers {
  Place place = {};
  std::uint32_t worker_count = 1;

  friend bool operator==(const PlaceWorkers&, const PlaceWorkers&) = default;
};

// From a rank.

/// "This is the process that its envelope names." Idempotent. A higher incarnation than the one
/// that was known fences off the older.
struct Register {
  ProcessId process = {};
  std::uint32_t protocol_version = 0;
  std::uint64_t topology_digest = 0;  ///< Equal for ranks whose workers are placed alike.
  Capacities capacities = {};
  std::vector<Place> places = {};  ///< What it works at; shards that prefer these come first.

  /// Index = place: 1 to kPlaceWorkerCountMax workers. Empty: one at each.
  std::vector<std::uint32_t> worker_counts = {};

  friend bool operator==(const Register&, const Register&) = default;
};

/// "Grant me nothing more." What it holds it finishes.
struct Drain {
  std::string reason = {};

  friend bool operator==(const Drain&, const Drain&) = default;
};

/// "I end in good order." What it holds is granted to others.
struct Leave {
  std::string reason = {};

  friend bool operator==(const Leave&, const Leave&) = default;
};

/// "The program has come to step `step`." Idempotent.
struct EnterStep {
  std::uint64_t step = 0;
  std::uint64_t fingerprint = 0;
  std::string description = {};  ///< The fingerprint in words, for the error when ranks disagree.

  friend bool operator==(const EnterStep&, const EnterStep&) = default;
};

struct PlanReady {
  std::uint64_t step = 0;
  BlobHandle plan = {};  ///< What the ranks need to run the shards; opaque to the coordinator.
  std::uint32_t partition_count = 1;
  std::vector<ShardEntry> shards = {};  ///< Index = shard id. May be empty.

  /// Blobs that hold input which cannot be read again, such as standard input. The job keeps them
  /// as long as the plan.
  std::vector<BlobHandle> streams = {};

  std::uint32_t ordered_batch_shard_count = 0;  ///< 0, or that the step is ordered: see MapUnits.

  /// How long after its grant a unit of the map stage has failed unless it is accepted; zero:
  /// never.
  Duration shard_deadline = {};

  /// Whether what is merged of some partials can be merged with others as a partial can, so that
  /// the partials of a host may be combined there.
  bool combines = false;

  friend bool operator==(const PlanReady&, const PlanReady&) = default;
};

/// kUnavailable means that another rank may be able to plan; any other code fails the step.
struct PlanFailed {
  std::uint64_t step = 0;
  Failure failure = {};

  friend bool operator==(const PlanFailed&, const PlanFailed&) = default;
};

/// "Give me up to `unit_count` more leases of this step, whatever its stage." Replaces an earlier
/// claim that is still open.
struct Claim {
  std::uint64_t step = 0;
  std::uint32_t unit_count = 0;

  friend bool operator==(const Claim&, const Claim&) = default;
};

/// Extends the leases that it lists. `sent_ns` is the rank's own clock, returned in HeartbeatAck.
struct Heartbeat {
  std::uint64_t step = 0;
  std::int64_t sent_ns = 0;
  std::vector<Lease> held = {};
  std::uint64_t unit_count_done = 0;           ///< Of this step, by this process so far.
  std::uint64_t input_bytes = 0;               ///< Read for these.
  std::vector<std::string> observations = {};  ///< What a person should know, in words.

  friend bool operator==(const Heartbeat&, const Heartbeat&) = default;
};

/// A sealed batch. Accepted or refused whole.
struct Report {
  std::uint64_t step = 0;
  Stage stage = Stage::kMap;
  std::uint64_t report = 0;  ///< The rank's own number for it, returned in Verdict.
  /// Map: the partial. Combine: a partition of some hosts' partials. Merge: the finished partition.
  BlobHandle output = {};
  std::uint64_t digest = 0;  ///< Of the output; 0 from a lone rank, who reports nothing twice.
  std::uint64_t input_bytes = 0;
  std::vector<Lease> batch = {};  ///< Never empty; more than one in an unordered map stage only.

  friend bool operator==(const Report&, const Report&) = default;
};

/// A spoiled batch: nothing of it counts. `bad_unit` is the one that failed, the rest did nothing
/// wrong.
struct BatchFailed {
  std::uint64_t step = 0;
  Stage stage = Stage::kMap;
  std::uint64_t bad_unit = 0;
  Failure failure = {};
  std::vector<Lease> batch = {};

  friend bool operator==(const BatchFailed&, const BatchFailed&) = default;
};

/// Leases that the rank will not use.
struct GiveBack {
  std::uint64_t step = 0;
  Stage stage = Stage::kMap;
  std::vector<Lease> leases = {};

  friend bool operator==(const GiveBack&, const GiveBack&) = default;
};

/// Ends the job on every rank with this error.
struct CancelJob {
  Failure failure = {};

  friend bool operator==(const CancelJob&, const CancelJob&) = default;
};

// From the coordinator.

/// Answers Register. Other than kOk: this process is not the one that the job knows by its name.
struct Registered {
  Failure failure = {};
  Duration lease_duration = {};

  friend bool operator==(const Registered&, const Registered&) = default;
};

/// The rank that asked to be drained holds nothing any more.
struct Drained {
  friend bool operator==(const Drained&, const Drained&) = default;
};

/// "Plan the step, for these workers." Whoever is asked, and however often, is told of the same
/// ones.
struct MakePlan {
  std::uint64_t step = 0;

  /// Those of all ranks, in the order of before_by_host(), no place twice. Empty: no rank has said
  /// where it works.
  std::vector<PlaceWorkers> workers = {};

  friend bool operator==(const MakePlan&, const MakePlan&) = default;
};

struct StepStarted {
  std::uint64_t step = 0;
  BlobHandle plan = {};
  std::uint64_t shard_count = 0;
  std::uint32_t partition_count = 1;
  Duration lease_duration = {};
  std::uint32_t ordered_batch_shard_count = 0;  ///< As the plan has it.

  friend bool operator==(const StepStarted&, const StepStarted&) = default;
};

/// Answers a claim. May carry fewer leases than asked; what is missing has to be claimed again.
/// When it carries none, the claim stays open, and more comes as soon as another rank returns units
/// or this rank reports some. `unit_count_left` is then 0, else the units of the stage that wait.
struct Grant {
  std::uint64_t step = 0;
  Stage stage = Stage::kMap;
  std::uint64_t unit_count_left = 0;
  Duration lease_duration = {};
  std::vector<Lease> leases = {};

  /// Whether another rank holds each of these too, which is late; the first to report it wins.
  bool second_attempt = false;

  friend bool operator==(const Grant&, const Grant&) = default;
};

/// What some partials, of a host or of several, have been combined into.
struct CombinedPartials {
  std::vector<std::uint32_t> members = {};  ///< Places among the partials, ascending; not empty.

  /// Index = partition: a sealed state of one partition, which is merged in the place of the first
  /// member, and without the others. Null: the members are merged one by one.
  std::vector<BlobHandle> outputs = {};

  friend bool operator==(const CombinedPartials&, const CombinedPartials&) = default;
};

/// The accepted partials of the step, sent to a rank before its first merge lease, and again when
/// some were lost with their host, sorted by their smallest shard. Before its first lease of each
/// level of the combine stage a rank gets those only that its host combines then.
struct MergeInputs {
  /// Of all that is combined: a step of more partitions on more hosts has more than it may spare.
  static constexpr std::uint64_t kOutputCountMax = 1U << 16U;

  std::uint64_t step = 0;
  std::vector<BlobHandle> partials = {};
  /// No two have an output of the same partition and member.
  std::vector<CombinedPartials> combined = {};

  friend bool operator==(const MergeInputs&, const MergeInputs&) = default;
};

/// Those of the heartbeat's leases that are not `lost` hold for lease_duration from `sent_ns` on.
/// One with kUnasked answers no heartbeat and extends nothing: it takes leases away.
struct HeartbeatAck {
  static constexpr std::int64_t kUnasked = std::numeric_limits<std::int64_t>::min();

  std::uint64_t step = 0;
  std::int64_t sent_ns = 0;
  std::vector<Lease> lost = {};

  friend bool operator==(const HeartbeatAck&, const HeartbeatAck&) = default;
};

/// kOk: accepted, the output belongs to the job. kAlreadyExists or kAborted: refused whole.
struct Verdict {
  std::uint64_t step = 0;
  Stage stage = Stage::kMap;
  std::uint64_t report = 0;
  Failure failure = {};

  friend bool operator==(const Verdict&, const Verdict&) = default;
};

struct StepDone {
  std::uint64_t step = 0;
  std::vector<BlobHandle> partitions = {};  ///< Index = partition.
  std::uint64_t shard_count = 0;
  std::uint64_t input_bytes = 0;
  std::uint64_t skipped_shard_count = 0;  ///< Of shard_count: what the answer is without.

  friend bool operator==(const StepDone&, const StepDone&) = default;
};

struct StepFailed {
  std::uint64_t step = 0;
  Failure failure = {};
  std::optional<std::uint64_t> shard = {};  ///< That failed, as the coordinator knows no ranges.

  friend bool operator==(const StepFailed&, const StepFailed&) = default;
};

/// "The step goes on without this shard, or the ordered batch that it begins." For one rank of
/// those that know what input that is: it says so in a heartbeat, unless `failure` does.
struct ShardSkipped {
  std::uint64_t step = 0;
  std::uint64_t shard = 0;
  Failure failure = {};  ///< Why it is given up.

  friend bool operator==(const ShardSkipped&, const ShardSkipped&) = default;
};

struct JobFailed {
  Failure failure = {};

  friend bool operator==(const JobFailed&, const JobFailed&) = default;
};

using Message = std::variant<EnterStep, PlanReady, PlanFailed, Claim, Heartbeat, Report,
                             BatchFailed, GiveBack, CancelJob, MakePlan, StepStarted, Grant,
                             MergeInputs, HeartbeatAck, Verdict, StepDone, StepFailed, JobFailed,
                             Register, Drain, Leave, Registered, Drained, ShardSkipped>;

/// What every message carries beside its body. A message of another version, job or epoch is
/// refused.
struct Envelope {
  std::uint64_t job = 0;
  std::uint32_t epoch = 0;
  std::uint32_t rank = 0;         ///< The rank that sends it or that it is for.
  std::uint32_t incarnation = 0;  ///< Which life of that rank.

  friend bool operator==(const Envelope&, const Envelope&) = default;
};

}  // namespace pinion::protocol
