#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/shard/protocol/coordinator.hpp>

#include "protocol/accepted_reports.hpp"
#include "protocol/claim_list.hpp"
#include "protocol/combined_groups.hpp"
#include "protocol/lease_table.hpp"

namespace pinion::protocol {

enum class RankStatus : std::uint8_t {
  kExpected,  ///< Its first process is still to come.
  kLive,
  kReturning,  ///< Dead; its next process is being started.
  kGone,       ///< Dead for good.
  kLeft,       ///< Ended in good order.
};

struct RankRecord {
  RankStatus status = RankStatus::kExpected;
  std::uint32_t incarnation = 0;
  std::string loss_reason = {};
  Instant since = {};     ///< When it came to its status.
  bool draining = false;  ///< It is granted nothing more.
  bool told_drained = false;
  std::optional<Register> registration = {};
  std::uint64_t unit_count_done = 0;
  std::uint64_t input_bytes = 0;
  std::uint64_t latest_step = 0;  ///< That its present process has entered.

  // Of all its processes, as they are alike.
  bool has_come = false;  ///< One has said where it works, or entered a step without that.
  std::vector<PlaceWorkers> workers = {};
};

/// What a step knows of the present process of a rank.
struct Participant {
  std::uint32_t incarnation = 0;  ///< 0 until it enters.
  bool declined_to_plan = false;
  bool has_merge_inputs = false;
  bool told_to_wait = false;  ///< The open claim has been answered by an empty grant.
  bool silent = false;        ///< A lease of it ran out, and it has not been heard since.
  bool counted = false;       ///< In entered_count of the step.
  bool idle = false;          ///< In idle_count of the step.
  std::uint32_t demand = 0;   ///< Of the open claim; 0 without one.
  Instant silent_since = {};
};

enum class Phase : std::uint8_t { kPlanning, kMap, kCombine, kMerge, kDone, kFailed };

struct PartialRecord {
  std::uint64_t smallest_shard = 0;
  BlobHandle blob = {};
  std::uint32_t group = CombinedGroup::kNone;  ///< That of its host in StepRecord::combined.
};

/// What a partial on another host than ours was made of: it may have to be made again.
struct FarPartial {
  BlobHandle blob = {};
  std::uint64_t input_bytes = 0;
  std::vector<std::uint64_t> units = {};
};

/// What a later report of the same units is compared with.
struct DigestRecord {
  std::uint64_t digest = 0;
  std::uint32_t rank = 0;
  std::vector<std::uint64_t> units = {};  ///< In the order in which they were run.
};

struct StepRecord {
  std::uint64_t number = 0;
  std::uint64_t fingerprint = 0;
  std::string description = {};
  std::uint32_t first_rank = 0;
  Phase phase = Phase::kPlanning;
  Instant patience_end = {};  ///< Until when ranks that have not entered are reckoned with.
  std::vector<Participant> participants = {};  ///< None once the step is over.
  std::uint32_t entered_count = 0;
  std::uint32_t idle_count = 0;  ///< Of these, ranks that are silent or drain: they have no share.
  std::uint64_t sharer_changes = 0;  ///< How often who has a share has changed.

  Holder planner = {};                                        ///< Incarnation 0 while nobody plans.
  std::optional<std::vector<PlaceWorkers>> planned_for = {};  ///< What each planner is told.
  Failure first_decline = {};

  BlobHandle plan = {};
  bool plan_is_lost = false;  ///< And is to be made again, for ranks that have yet to come.
  std::optional<Instant> plan_again_since = {};  ///< When it was made again.
  std::vector<BlobHandle> streams = {};          ///< What the plan's input was read into.
  MapUnits map_units = {};
  Duration shard_deadline = {};  ///< Zero: none.
  std::uint32_t partition_count = 0;
  std::uint64_t weight = 0;
  LeaseTable shards = {};        ///< By unit of the map stage.
  LeaseTable combinations = {};  ///< By group in `combined`, then by partition.
  LeaseTable partitions = {};

  ClaimList claims = {};
  std::uint64_t seen_return_count = 0;  ///< Of the table, when the parked claims were looked at.
  std::uint64_t seen_share = 0;
  Instant next_late_check = Instant::min();

  AcceptedReports accepted_reports = {};
  /// What was accepted of units that were granted more than once, by the first of them.
  std::map<std::pair<Stage, std::uint64_t>, DigestRecord> digests = {};
  std::vector<PartialRecord> partials = {};
  std::vector<FarPartial> far_partials = {};  ///< More of some of these.
  bool combines = false;                      ///< By its plan.
  bool may_not_combine = false;               ///< Any more.
  bool has_little_in_common = false;          ///< What was to be combined.
  std::uint32_t combine_level = 0;
  std::vector<CombinedGroup> combined = {};  ///< Level by level.
  std::uint64_t seen_changes = 0;        ///< When units without a rank for them were looked for.
  std::vector<BlobHandle> results = {};  ///< Index = partition.
  std::uint64_t shard_accepted_count = 0;
  std::uint64_t weight_accepted = 0;
  std::uint64_t input_bytes = 0;
  std::uint64_t failure_count = 0;
  std::uint64_t skipped_shard_count = 0;
  std::uint64_t second_attempt_count = 0;
  std::vector<ShardSkipped> unnamed = {};  ///< Of what is skipped, what no rank was told of yet.
  Failure failure = {};
  std::optional<std::uint64_t> failed_shard = {};
  std::optional<std::uint32_t> host_of_lost_result = {};  ///< Of a step that is done.

  /// When units could not read what lies on another host: since when again and again, and the last
  /// time.
  struct Misses {
    Instant since = {};
    Instant last = {};
  };
  std::optional<Misses> misses = {};

  [[nodiscard]] bool open() const noexcept {
    return phase != Phase::kDone && phase != Phase::kFailed;
  }
  /// Whether a rank is to be asked for its plan.
  [[nodiscard]] bool wants_plan() const noexcept {
    return phase == Phase::kPlanning || plan_is_lost;
  }
  [[nodiscard]] bool granting() const noexcept {
    return phase == Phase::kMap || phase == Phase::kCombine || phase == Phase::kMerge;
  }
  /// Precondition: granting().
  [[nodiscard]] Stage stage() const noexcept {
    return phase == Phase::kMap       ? Stage::kMap
           : phase == Phase::kCombine ? Stage::kCombine
                                      : Stage::kMerge;
  }
  [[nodiscard]] LeaseTable& table() noexcept {
    return phase == Phase::kMap ? shards : phase == Phase::kCombine ? combinations : partitions;
  }
  [[nodiscard]] const LeaseTable& table() const noexcept {
    return phase == Phase::kMap ? shards : phase == Phase::kCombine ? combinations : partitions;
  }

  /// A unit in words: "shard 7", "shards 8 to 15", "partition 3", "partition 3 of host 1".
  [[nodiscard]] std::string name_of(Stage stage_of_unit, std::uint64_t unit) const;
};

/// In the order of the batch.
[[nodiscard]] inline std::vector<std::uint64_t> units_of(const Report& report) {
  std::vector<std::uint64_t> units;
  units.reserve(report.batch.size());
  for (const Lease& lease : report.batch) {
    units.push_back(lease.unit);
  }
  return units;
}

struct Coordinator::State {
  explicit State(const CoordinatorOptions& given);

  // Membership (coordinator.cpp).
  void on(const RankJoined& joined);
  void on(const RankLost& lost);
  void on(const RankLeft& left);
  void on(const MessageReceived& received);
  void on(const Tick& tick);
  void lose_process(std::uint32_t rank, const std::string& reason);
  void withdraw_process(std::uint32_t rank);
  void after_membership_change();
  void end_without_ranks();
  void end_job(Failure failure);
  [[nodiscard]] bool live(std::uint32_t rank) const;
  [[nodiscard]] bool may_still_come(std::uint32_t rank) const;
  void set_status(std::uint32_t rank, RankStatus status);

  // What ranks say of themselves (membership.cpp).
  void receive(Holder from, const Register& registration);
  void receive(Holder from, const Drain& drain);
  void receive(Holder from, const Leave& leave);
  void leave(std::uint32_t rank, const std::string& reason);
  void end_drain(std::uint32_t rank);
  [[nodiscard]] Member member(std::uint32_t rank) const;
  [[nodiscard]] std::uint64_t lease_count_of(std::uint32_t rank) const;
  void place_rank(StepRecord& step, std::uint32_t rank);
  void check_devices(StepRecord& step);
  void note_that_has_come(std::uint32_t rank);
  [[nodiscard]] std::vector<PlaceWorkers> workers_of_job() const;
  void count_in(StepRecord& step, std::uint32_t rank);
  void count_out(StepRecord& step, std::uint32_t rank);
  void set_silent(StepRecord& step, std::uint32_t rank, bool silent);

  // The loss of a host (coordinator_hosts.cpp).
  void on(const HostLost& lost);
  void lose_ranks_of(const HostLost& lost);
  void lose_work_of(StepRecord& step, const HostLost& lost);
  bool reopen_lost_units(StepRecord& step, std::uint32_t host, std::uint32_t epoch);
  void return_to_map(StepRecord& step);
  void note_lost_results(const HostLost& lost);
  [[nodiscard]] Failure result_is_lost(const StepRecord& step, std::uint32_t rank) const;
  void take_plan_again(StepRecord& step, const PlanReady& ready);
  [[nodiscard]] bool misses_a_host(StepRecord& step, Holder from, ErrorCode code);
  [[nodiscard]] std::uint32_t host_of(std::uint32_t rank) const {
    return options.rank_hosts.empty() ? 0 : options.rank_hosts[rank];
  }
  [[nodiscard]] static bool lies_on(const BlobHandle& blob, std::uint32_t host,
                                    std::uint32_t epoch) {
    return blob != BlobHandle{} && host_with(blob, epoch) == host;
  }
  [[nodiscard]] bool is_lost(std::uint32_t host) const {
    return !lost_hosts.empty() && lost_hosts.contains(host);
  }

  // Steps (coordinator_steps.cpp).
  void receive(Holder from, const EnterStep& enter);
  void receive(Holder from, const PlanReady& ready);
  void receive(Holder from, const PlanFailed& failed);
  void receive(Holder from, const CancelJob& cancel);
  StepRecord& add_step(const StepOpened& opened);
  void open_step(Holder from, const EnterStep& enter);
  void begin_map(StepRecord& step, const PlanReady& ready);
  void advance_planning(StepRecord& step);
  [[nodiscard]] bool awaits_ranks(const StepRecord& step) const;
  void ask_for_plan(StepRecord& step, std::uint32_t rank);
  void announce_start(const StepRecord& step, std::uint32_t rank);
  void announce_end(const StepRecord& step, std::uint32_t rank);
  void advance_stage(StepRecord& step);
  void enter_phase(StepRecord& step, Phase phase);
  void finish_step(StepRecord& step);
  void fail_step(StepRecord& step, Failure failure);
  void close_step(StepRecord& step);
  void forget_work(StepRecord& step) const;
  void adopt_plan(StepRecord& step, const PlanReady& ready);
  void release_plan(const BlobHandle& plan, const std::vector<BlobHandle>& streams);
  [[nodiscard]] bool entered(const StepRecord& step, std::uint32_t rank) const;
  [[nodiscard]] StepRecord* find_open(std::uint64_t number);

  // Partials that are combined before they are merged (coordinator_combine.cpp).
  bool begin_combine(StepRecord& step);
  bool begin_level(StepRecord& step, std::uint32_t level);
  [[nodiscard]] std::uint32_t live_host_count() const;
  void choose_combined_groups(StepRecord& step, std::uint32_t host_count);
  static void leave_failing(StepRecord& step);
  static void prepare_group(StepRecord& step, CombinedGroup& group);
  [[nodiscard]] static std::uint32_t host_for_unit(const StepRecord& step, std::uint64_t unit);
  void lose_combined(StepRecord& step, std::uint32_t host);
  void leave_unaided(StepRecord& step);
  static void leave_uncombined(StepRecord& step, std::uint32_t index);
  void give_up_combining(StepRecord& step, std::uint64_t unit, const Failure& failure);
  static void note_combined(StepRecord& step, std::uint64_t unit, const BlobHandle& output);
  [[nodiscard]] MergeInputs inputs_for(const StepRecord& step, std::uint32_t rank) const;
  [[nodiscard]] static bool is_combined_by(const StepRecord& step, const PartialRecord& partial,
                                           std::uint32_t host);
  [[nodiscard]] static std::vector<BlobHandle> outermost_outputs(const StepRecord& step,
                                                                 const CombinedGroup& group,
                                                                 std::uint32_t level_end);

  // Leases (coordinator_leases.cpp).
  void receive(Holder from, const Claim& claim);
  void receive(Holder from, const Heartbeat& heartbeat);
  void receive(Holder from, const Report& report);
  void receive(Holder from, const BatchFailed& failed);
  void receive(Holder from, const GiveBack& given);
  /// Messages that only the coordinator sends.
  template <class Body>
  void receive(Holder, const Body&) {}
  void serve(StepRecord& step);
  void wake(StepRecord& step, std::uint32_t rank);
  bool serve_rank(StepRecord& step, std::uint32_t rank);
  void send_grant(StepRecord& step, std::uint32_t rank, Grant grant);
  [[nodiscard]] std::vector<Lease> take_lease_room(std::uint64_t lease_count);
  [[nodiscard]] std::uint64_t share_among(const StepRecord& step, std::uint64_t sharer_count) const;
  [[nodiscard]] std::uint64_t sharer_count(const StepRecord& step) const;
  [[nodiscard]] std::uint64_t fair_share(const StepRecord& step, std::uint32_t rank) const;
  [[nodiscard]] Failure judge(StepRecord& step, Holder from, const Report& report);
  void accept(StepRecord& step, Holder from, const Report& report);
  static void count_accepted(StepRecord& step, const Report& report, std::uint64_t weight);
  void fail_unit(StepRecord& step, Holder from, const BatchFailed& failed, LeaseTable::Slot bad);

  // What is late, and what is given up (coordinator_rescue.cpp).
  void offer_second_attempts(StepRecord& step);
  void fail_overdue(StepRecord& step);
  void grant_second(StepRecord& step, std::uint32_t rank, LeaseTable::Slot first);
  void compare_digests(const StepRecord& step, Holder from, const Report& report);
  void remember_digest(StepRecord& step, Holder from, const Report& report);
  void give_up(StepRecord& step, std::uint64_t unit, Failure failure);
  void name_skipped(StepRecord& step);
  [[nodiscard]] bool another_can_try(const StepRecord& step, std::uint32_t rank) const;
  void give_back_held(StepRecord& step, Holder from, Stage stage, const std::vector<Lease>& leases);
  void hear(StepRecord& step, Holder from);
  [[nodiscard]] LeaseTable::Slot find(const StepRecord& step, Holder from,
                                      const Lease& lease) const;
  [[nodiscard]] Standing standing(const StepRecord& step, Holder from, const Lease& lease) const;
  [[nodiscard]] Instant lease_end() const;

  // What is kept for a later epoch, and taken from an earlier one (coordinator_restore.cpp).
  [[nodiscard]] static StepEnded end_of(const StepRecord& step);
  [[nodiscard]] static UnitsAccepted acceptance_of(Holder from, const Report& report);
  void replay(const EpochBegun& begun);
  void replay(const StepOpened& opened);
  void replay(const StepPlanned& planned);
  void replay(const UnitsAccepted& accepted);
  void replay(const UnitSkipped& skipped);
  void replay(const StepEnded& ended);
  void replay(const BlobsLost& lost);
  void replay(const JobEnded& ended);
  void settle_replay();
  /// Asks for the record to be kept before what follows is done, where somebody keeps records.
  template <class Kind, class Make>
  void persist(Make make) {
    if (options.journaled) {
      std::get<Persist>(effects->emplace_back(std::in_place_type<Persist>)).record = Kind(make());
    }
  }

  /// The message is made where the driver finds it: moving it there would cost more than the rest.
  template <class Body>
  void send(std::uint32_t rank, Body&& body) {
    auto& send = std::get<Send>(effects->emplace_back(std::in_place_type<Send>));
    send.rank = rank;
    send.message.template emplace<std::remove_cvref_t<Body>>(std::forward<Body>(body));
  }
  void keep(const BlobHandle& blob);
  void release(const BlobHandle& blob);
  void observe(std::string text) { effects->push_back(Observation{.text = std::move(text)}); }

  CoordinatorOptions options;
  FenceSource fences;
  std::vector<RankRecord> ranks;
  std::uint32_t able_count = 0;           ///< Ranks that are live or may still come.
  std::uint32_t draining_count = 0;       ///< Of these.
  std::uint32_t awaited_count = 0;        ///< Of able ranks, those that have not come yet.
  Instant arrivals_end = Instant::max();  ///< Until when the first plan waits for these.
  std::map<std::uint64_t, StepRecord> steps;
  std::vector<StepRecord*> open_steps;  ///< And some that have ended since one was opened.
  std::optional<Failure> job_failure;
  std::set<std::uint32_t> lost_hosts;

  // Room that is used again.
  std::vector<std::vector<Lease>> lease_rooms;
  std::vector<LeaseTable::Slot> slots;
  std::vector<std::uint32_t> silent_ranks;
  std::vector<std::uint64_t> abandoned_units;
  std::uint32_t judged_count = 0;

  // Of the event in hand.
  Instant now = {};
  Effects* effects = nullptr;
};

}  // namespace pinion::protocol
