#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/protocol/messages.hpp>

namespace pinion::protocol {

/// Rules to break, one each, in tests that prove that the simulation notices.
struct RankMutations {
  bool forget_give_back = false;  ///< What the engine gives back stays held and is extended.
};

struct RankOptions {
  /// Leases to hold at once: those that wait, those that run, and those that have run but whose
  /// batch is not sealed yet; at least 1. Without need(), more are claimed when less than half
  /// of them are held.
  std::uint32_t lease_count_max = 4;
  Duration heartbeat = std::chrono::seconds(2);

  /// Sent before anything else. For the first step of a process.
  std::optional<Register> registration = {};

  RankMutations mutations = {};
};

// What the rank asks its engine to do, in order.

struct SendMessage {
  Message message;
};
/// Plan the step for these workers, as MakePlan says them, then call plan_ready() or plan_failed().
/// May come behind UsePlan, when the blob of the plan was lost.
struct StartPlanning {
  std::vector<PlaceWorkers> workers;
};
/// The step's plan, before the first lease. Comes again with another blob of the same content when
/// the first was lost: for a rank that could not open that.
struct UsePlan {
  StepStarted started;
};
/// What the leases of the combine or the merge stage that follow are merged from. When some of it
/// is lost, leases of the map stage follow, and then this again.
struct UsePartials {
  MergeInputs inputs;
};
/// Run these; each ends in exactly one of batch_sealed(), batch_failed(), give_back().
/// `unit_count_left` is 0 when no more will come soon, so that waiting for a fuller batch is in
/// vain. Another rank may hold the same unit: then one of the two reports is refused, or the lease
/// is dropped.
struct RunLeases {
  Stage stage;
  std::vector<Lease> leases;
  std::uint64_t unit_count_left;
};
/// These leases are no longer ours: stop, and drop every unsealed batch that holds one of them. The
/// batch's other leases go back by give_back().
struct DropLeases {
  Stage stage;
  std::vector<Lease> leases;
};
/// The verdict on an earlier batch_sealed().
struct BatchSettled {
  Stage stage;
  std::uint64_t report;
  Failure failure;
};
/// The step goes on without a shard. Where `failure` does not say what input that is,
/// observe() it.
struct NameSkipped {
  std::uint64_t shard;
  Failure failure;
};
/// The step is over; nothing follows. Everything that still runs for it is in vain.
struct StepFinished {
  Failure failure;  ///< kOk, or why the step or the job failed.
  StepDone done;
  bool job_failed = false;
  std::optional<std::uint64_t> shard = {};  ///< That failed.
};

using RankEffect = std::variant<SendMessage, StartPlanning, UsePlan, UsePartials, RunLeases,
                                DropLeases, BatchSettled, NameSkipped, StepFinished>;
using RankEffects = std::vector<RankEffect>;

/// One rank's half of one step: claims leases ahead of need, extends them, stops using those that
/// were not extended in time, reports batches. It does not forget an output before the coordinator
/// has decided on it: the engine keeps it until BatchSettled. A pure state machine like
/// Coordinator; the engine drives it in production, the simulator in tests.
///
/// Thread safety: none; one owner drives it.
class RankMachine {
 public:
  RankMachine(const RankOptions& options, const EnterStep& enter);
  ~RankMachine();

  /// Call once, first.
  void start(Instant now, RankEffects& effects);

  void receive(const Message& message, Instant now, RankEffects& effects);
  void plan_ready(PlanReady plan, Instant now, RankEffects& effects);
  void plan_failed(const Failure& failure, Instant now, RankEffects& effects);

  /// A batch whose leases are all still ours is reported; else it is dropped, its other leases are
  /// given back, and the BatchSettled that follows says kAborted. `report` must be unused before.
  void batch_sealed(Report report, Instant now, RankEffects& effects);
  void batch_failed(BatchFailed failed, Instant now, RankEffects& effects);
  void give_back(Stage stage, std::vector<Lease> leases, Instant now, RankEffects& effects);
  void tick(Instant now, RankEffects& effects);

  struct Need {
    std::uint32_t least_count = 0;   ///< More is claimed when no more than these are left,
    std::uint32_t wanted_count = 0;  ///< up to these; greater than least_count.
  };
  /// From here on claims go by the leases that a worker is not done with, of which there are
  /// `unfinished_count`. Say so again whenever that has changed. A rank that asks for no more than
  /// keeps its workers busy until a grant comes leaves the rest to others.
  void need(std::uint32_t unfinished_count, const Need& need, Instant now, RankEffects& effects);

  /// Claims nothing more. What is held is to be finished as ever.
  void drain(std::string reason, Instant now, RankEffects& effects);

  /// What a person should know, in words. The next tick(), which is due at once, sends them.
  void observe(std::string text);

  /// When tick() should be called next at the latest.
  [[nodiscard]] Instant next_deadline() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pinion::protocol
