#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/shard/protocol/messages.hpp>
#include <pinion/shard/protocol/records.hpp>

namespace pinion::protocol {

/// Rules to break, one each, in tests that prove that the simulation notices.
struct CoordinatorMutations {
  bool accept_stale_fence = false;          ///< Reports count whoever holds the units.
  bool accept_twice = false;                ///< Reports of accepted units count again.
  bool forget_lost_leases = false;          ///< What a lost rank held stays leased to it.
  bool merge_in_order_of_reports = false;   ///< Partials are merged in the order of acceptance.
  bool accept_stale_epoch = false;          ///< Messages and fences of older epochs count.
  bool accept_older_life = false;           ///< A process that was replaced reports on.
  bool reuse_fences = false;                ///< A grant carries the fence of the one before.
  bool extend_any_lease = false;            ///< A heartbeat hears nothing of leases that are lost.
  bool ignore_digests = false;              ///< Outputs of a unit may differ unnoticed.
  bool retry_for_ever = false;              ///< A unit may fail as often as it likes.
  bool keep_partials_of_lost_host = false;  ///< They are merged as if they were still there.
  bool forget_deadlines = false;            ///< A shard may take as long as it likes.
  bool merge_members_too = false;           ///< A combined partial is merged beside one of its own.
  bool keep_pairs_of_lost_host = false;     ///< What others combined of a lost host stays.
  bool plan_for_the_planner = false;        ///< Plans are for the places of who makes them.
  bool keep_ended_steps = false;            ///< What a step was made of stays when it is over.
};

struct CoordinatorOptions {
  std::uint64_t job = 0;
  std::uint32_t epoch = 1;
  std::uint32_t rank_count = 1;

  /// Index = rank: the host that it lives on, which blobs of it have in their handles. Empty: all
  /// live on host 0, where the coordinator is.
  std::vector<std::uint32_t> rank_hosts = {};

  Duration lease_duration = std::chrono::seconds(6);

  /// How long the lowest rank that has entered a step waits for lower live ranks to enter and plan;
  /// the first step of a job, for all ranks to say where they work.
  Duration plan_patience = std::chrono::seconds(2);

  std::uint64_t seed = 0;  ///< Of the job; delays of retries derive from it.

  /// A unit that failed this often, on two ranks where there are two, is given up.
  std::uint32_t attempt_count_max = 4;

  /// A unit is given up that this many ranks held, and nothing else, when they died.
  std::uint32_t death_count_max = 2;

  /// Most that a unit waits after its first failure, doubled for each one after it, and in all.
  Duration first_retry_delay_max = std::chrono::milliseconds(50);
  Duration retry_delay_max = std::chrono::seconds(5);

  /// Whether a step goes on without the shards that are given up, else it fails.
  bool skip_bad = false;

  /// Steps that have this shard run it and no other.
  std::optional<std::uint64_t> only_shard = {};

  /// Whether a rank that has nothing to do may try what another one is late with, once that has
  /// taken half as long again as three quarters of the units did, and this long at least.
  bool second_attempts = true;
  Duration late_least = std::chrono::seconds(1);

  /// For how long units that cannot read what lies on another host (kUnavailable, kNotFound) are
  /// tried again without counting that as failures: so long it may take until a host is known to be
  /// lost.
  Duration host_patience = std::chrono::seconds(10);

  /// The partials of a host are combined before they are merged if that may spare others so many
  /// bytes, which is the case if all but the largest came to nothing. Where less than a quarter of
  /// them goes, the rest of the host's partitions are merged uncombined. What hosts have is
  /// combined pair by pair if that spares as much to the host to which most would come.
  std::uint64_t combine_bytes_min = std::uint64_t{8} << 20;

  /// Whether what is decided is to outlive the coordinator: see Persist and Coordinator::restore().
  bool journaled = false;

  /// False only in tests that prove what fast-forward is for.
  bool fast_forward = true;

  CoordinatorMutations mutations = {};
};

// Events.

/// A process of `rank` is there. A higher incarnation replaces, and fences off, the older.
struct RankJoined {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 1;
};

/// The process of `rank` is dead or unreachable; `returns` when it is being started again.
struct RankLost {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 1;
  bool returns = false;
  std::string reason = {};
};

/// The process of `rank` ended in good order.
struct RankLeft {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 1;
};

/// A host is lost for good, with its ranks and every blob that it had (host_with()): what was
/// accepted with these blobs is open again. They are neither named in an effect from here on, nor
/// released. A result of a finished step that a rank has yet to come to cannot be made again, and
/// ends the job with kDataLoss. Host 0, where the coordinator is, cannot be lost to it.
struct HostLost {
  std::uint32_t host = 0;
  std::string reason = {};
};

struct MessageReceived {
  Envelope envelope = {};
  Message message;
};

/// Time has passed.
struct Tick {};

using Event = std::variant<RankJoined, RankLost, RankLeft, MessageReceived, Tick, HostLost>;

// Effects, to be carried out in order.

struct Send {
  std::uint32_t rank = 0;
  Message message;
};

/// The blob belongs to the job from here on, whatever happens to the rank that made it.
/// Comes before the Verdict that tells the rank. Never for a handle that names nothing.
struct Keep {
  BlobHandle blob = {};
};

/// The job needs the blob no longer.
struct Release {
  BlobHandle blob = {};
};

/// The job cannot go on; every rank has been told by a Send before this.
struct EndJob {
  Failure failure = {};
};

/// Only where the options say `journaled`: no effect behind this one, but a Keep, may be carried
/// out before the record is where it outlives us. A Keep should be at once: it is of what a later
/// record names, and that must not go with a rank that dies meanwhile. Many records may be made
/// safe at once, and events may go on to be handled meanwhile, as long as the other effects keep
/// their order.
struct Persist {
  Record record;
};

/// Something that a person should know, in words: a shard that is skipped, a body that is not
/// deterministic, what a rank has seen.
struct Observation {
  std::string text = {};
};

using Effect = std::variant<Send, Keep, Release, EndJob, Persist, Observation>;
using Effects = std::vector<Effect>;

enum class MemberState : std::uint8_t {
  kAlive,
  kSuspect,       ///< A lease of it ran out, and it has not been heard since.
  kDisconnected,  ///< No process of it is there, but one may come.
  kGone,          ///< Dead for good.
  kDrained,       ///< Ended in good order, or is granted nothing more because it asked for that.
};

[[nodiscard]] const char* to_string(MemberState state) noexcept;

/// What is known of a rank. A snapshot.
struct Member {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 0;  ///< 0 before its first process.
  MemberState state = MemberState::kDisconnected;
  std::string reason = {};  ///< Why it is in this state, in words.
  Instant since = {};       ///< When it came to it; of kSuspect, when the lease ran out.
  bool registered = false;
  Register registration = {};         ///< What its process has said of itself.
  std::uint64_t lease_count = 0;      ///< Live ones, of all steps.
  std::uint64_t unit_count_done = 0;  ///< By its latest heartbeat, of the step it was for.
  std::uint64_t input_bytes = 0;
};

/// Where a job stands. A snapshot.
struct Progress {
  std::uint64_t step = 0;  ///< The latest step that any rank has entered; 0 before the first.
  Stage stage = Stage::kMap;
  bool planned = false;
  std::uint64_t shard_count = 0;
  std::uint64_t shard_accepted_count = 0;
  std::uint64_t weight = 0;  ///< Of all shards; their planner says what it means.
  std::uint64_t weight_accepted = 0;
  std::uint64_t input_bytes = 0;    ///< Read by the accepted shards; 0 where the input is no bytes.
  std::uint64_t failure_count = 0;  ///< How often a unit of the step had to be run again.
  std::uint64_t skipped_shard_count = 0;   ///< Given up, or not asked for by only_shard.
  std::uint64_t second_attempt_count = 0;  ///< Units that a second rank was given too.
};

/// Decides, for one job, who works on what and what counts: membership, steps, leases, retries,
/// acceptance. A pure state machine: events and the time go in, effects come out; no clock, no
/// thread, no socket. Agents drive it in production, the simulator in tests.
///
/// Invariants: a unit has one holder whose lease is live, or two of different ranks while the first
///   of them is late, or none; a unit is accepted at most once, from the first that reports it, and
///   again only when what was accepted is lost with its host; a report is accepted only whole, from
///   the incarnation that holds every one of its fences.
/// Thread safety: none; one owner drives it.
class Coordinator {
 public:
  explicit Coordinator(const CoordinatorOptions& options);
  ~Coordinator();
  Coordinator(Coordinator&&) noexcept;
  Coordinator& operator=(Coordinator&&) noexcept;

  /// One that goes on from where those before it have come, by the records that they have
  /// persisted: steps that are done answer at once, accepted units stay accepted, with their
  /// outputs, and all others wait to be granted. A step that failed, and that no other has
  /// followed, goes on as if it had not. Any first part of the records will do; what makes no sense
  /// in them is ignored.
  ///
  /// The blobs of the records (see blobs_of()) are the job's as if they had been the subject of a
  /// Keep. Precondition: the epoch of `options` is greater than that of any coordinator before.
  [[nodiscard]] static Coordinator restore(const CoordinatorOptions& options,
                                           std::span<const Record> records);

  /// Appends to `effects`. Events may come late, twice and out of order; those that make no sense
  /// are answered or ignored, never fatal. Precondition: `now` never goes back.
  void step(const Event& event, Instant now, Effects& effects);

  /// Empties `effects`, which were carried out, and keeps the room of up to 64 grants for later
  /// ones. With that, step() allocates nothing for claims, heartbeats and reports once there were
  /// as many before, but for the list of partials, which doubles, what a partial of another host is
  /// made of, the records of a journal, and what goes wrong.
  void reuse(Effects& effects);

  /// When step(Tick) should be called next at the latest, if nothing else happens.
  [[nodiscard]] Instant next_deadline() const noexcept;

  [[nodiscard]] Progress progress() const noexcept;

  /// How much it remembers: of ranks, steps, leases, units that something went wrong with, reports,
  /// digests, partials and results. Of a step that is over, no more than its results.
  [[nodiscard]] std::uint64_t record_count() const noexcept;

  /// Every rank, in the order of their numbers. Allocates.
  [[nodiscard]] std::vector<Member> members() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pinion::protocol
