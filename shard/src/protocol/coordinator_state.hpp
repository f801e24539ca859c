#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <pinion/shard/protocol/coordinator.hpp>

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
};

/// What a step knows of the present process of a rank.
struct Participant {
  std::uint32_t incarnation = 0;  ///< 0 until it enters.
  bool declined_to_plan = false;
  bool has_merge_inputs = false;
  bool told_to_wait = false;  ///< The open claim has been answered by an empty grant.
  bool silent = false;        ///< A lease of it ran out, and it has not been heard since.
  std::uint32_t demand = 0;   ///< Of the open claim; 0 without one.
  std::uint64_t claim_order = 0;
};

enum class Phase : std::uint8_t { kPlanning, kMap, kMerge, kDone, kFailed };

struct PartialRecord {
  std::uint64_t smallest_shard = 0;
  BlobHandle blob = {};
};

struct StepRecord {
  std::uint64_t number = 0;
  std::uint64_t fingerprint = 0;
  std::string description = {};
  std::uint32_t first_rank = 0;
  Phase phase = Phase::kPlanning;
  Instant patience_end = {};  ///< Until when ranks that have not entered are reckoned with.
  std::vector<Participant> participants = {};

  Holder planner = {};  ///< Incarnation 0 while nobody plans.
  Failure first_decline = {};

  BlobHandle plan = {};
  std::vector<BlobHandle> streams = {};  ///< What the plan's input was read into.
  MapUnits map_units = {};
  std::uint32_t partition_count = 0;
  std::uint64_t weight = 0;
  LeaseTable shards = {};  ///< By unit of the map stage.
  LeaseTable partitions = {};

  /// (rank, incarnation, stage, report) of what was accepted, to answer it alike when it comes
  /// again.
  std::set<std::tuple<std::uint32_t, std::uint32_t, Stage, std::uint64_t>> accepted_reports = {};
  std::vector<PartialRecord> partials = {};
  std::vector<BlobHandle> results = {};  ///< Index = partition.
  std::uint64_t shard_accepted_count = 0;
  std::uint64_t weight_accepted = 0;
  std::uint64_t input_bytes = 0;
  std::uint64_t failure_count = 0;
  Failure failure = {};

  [[nodiscard]] bool open() const noexcept {
    return phase != Phase::kDone && phase != Phase::kFailed;
  }
  [[nodiscard]] bool granting() const noexcept {
    return phase == Phase::kMap || phase == Phase::kMerge;
  }
  /// Precondition: granting().
  [[nodiscard]] Stage stage() const noexcept {
    return phase == Phase::kMap ? Stage::kMap : Stage::kMerge;
  }
  [[nodiscard]] LeaseTable& table() noexcept { return phase == Phase::kMap ? shards : partitions; }
  [[nodiscard]] const LeaseTable& table() const noexcept {
    return phase == Phase::kMap ? shards : partitions;
  }

  /// A unit in words: "shard 7", "shards 8 to 15", "partition 3".
  [[nodiscard]] std::string name_of(Stage stage_of_unit, std::uint64_t unit) const;
};

struct Coordinator::State {
  explicit State(const CoordinatorOptions& given);

  // Membership (coordinator.cpp).
  void on(const RankJoined& joined);
  void on(const RankLost& lost);
  void on(const RankLeft& left);
  void on(const MessageReceived& received);
  void on(const Tick& tick);
  void lose_process(std::uint32_t rank, const std::string& reason);
  void after_membership_change();
  void end_job(Failure failure);
  [[nodiscard]] bool live(std::uint32_t rank) const;
  [[nodiscard]] bool may_still_come(std::uint32_t rank) const;

  // Steps (coordinator_steps.cpp).
  void receive(Holder from, const EnterStep& enter);
  void receive(Holder from, const PlanReady& ready);
  void receive(Holder from, const PlanFailed& failed);
  void receive(Holder from, const CancelJob& cancel);
  void open_step(Holder from, const EnterStep& enter);
  void advance_planning(StepRecord& step);
  void announce_start(const StepRecord& step, std::uint32_t rank);
  void announce_end(const StepRecord& step, std::uint32_t rank);
  void advance_stage(StepRecord& step);
  void finish_step(StepRecord& step);
  void fail_step(StepRecord& step, Failure failure);
  void close_step(StepRecord& step);
  void adopt_plan(StepRecord& step, const PlanReady& ready);
  void release_plan(const BlobHandle& plan, const std::vector<BlobHandle>& streams);
  [[nodiscard]] bool entered(const StepRecord& step, std::uint32_t rank) const;
  [[nodiscard]] StepRecord* find_open(std::uint64_t number);

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
  bool serve_rank(StepRecord& step, std::uint32_t rank);
  [[nodiscard]] std::uint64_t fair_share(const StepRecord& step, std::uint32_t rank) const;
  [[nodiscard]] Failure judge(const StepRecord& step, Holder from, const Report& report) const;
  void accept(StepRecord& step, const Report& report);
  void give_back_held(StepRecord& step, Holder from, Stage stage, const std::vector<Lease>& leases);
  void hear(StepRecord& step, Holder from);
  [[nodiscard]] Standing standing(const StepRecord& step, Holder from, const Lease& lease) const;
  [[nodiscard]] Instant lease_end() const;

  // What is kept for a later epoch, and taken from an earlier one (coordinator_restore.cpp).
  [[nodiscard]] static StepEnded end_of(const StepRecord& step);
  [[nodiscard]] static UnitsAccepted acceptance_of(Holder from, const Report& report);
  void replay(const EpochBegun& begun);
  void replay(const StepOpened& opened);
  void replay(const StepPlanned& planned);
  void replay(const UnitsAccepted& accepted);
  void replay(const StepEnded& ended);
  void replay(const JobEnded& ended);
  void settle_replay();
  /// Asks for the record to be kept before what follows is done, where somebody keeps records.
  template <class Kind, class Make>
  void persist(Make make) {
    if (options.journaled) {
      effects->push_back(Persist{.record = Kind(make())});
    }
  }

  void send(std::uint32_t rank, Message message) {
    effects->push_back(Send{.rank = rank, .message = std::move(message)});
  }
  void keep(const BlobHandle& blob);
  void release(const BlobHandle& blob);

  CoordinatorOptions options;
  FenceSource fences;
  std::vector<RankRecord> ranks;
  std::map<std::uint64_t, StepRecord> steps;
  std::uint64_t claim_count = 0;
  std::optional<Failure> job_failure;

  // Of the event in hand.
  Instant now = {};
  Effects* effects = nullptr;
};

}  // namespace pinion::protocol
