#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include <pinion/shard/protocol/coordinator.hpp>

#include "sim/sim_options.hpp"
#include "sim/sim_watched_units.hpp"

namespace pinion::sim {

class World;

/// Watches a coordinator from outside: what goes in, what comes out, and what the store holds.
/// Keeps an account of its own of who holds which unit, which knows nothing of how the coordinator
/// decides.
class Observer {
 public:
  explicit Observer(World& world);

  /// The coordinator has answered to `event` with `effects`, none of which is carried out yet.
  void decided(const protocol::Event& event, const protocol::Effects& effects);
  /// The coordinator is about to be told of that.
  void host_lost(std::uint32_t host);
  /// Another coordinator goes on from `records`. Where something that was safe has been `damaged`,
  /// it may have forgotten what ranks were told.
  void resumed(std::span<const protocol::Record> records, bool damaged);
  /// A message of the coordinator is being sent.
  void told(std::uint32_t rank, const protocol::Message& message);
  /// A program is given the result of a step.
  void check_result(std::uint64_t step, const protocol::StepDone& done);
  void check_failure(std::uint64_t step, const protocol::Failure& failure);
  /// The job is over.
  void check_leftovers();

  /// Whether the coordinator has decided so; ranks may not know yet.
  [[nodiscard]] bool has_ended(std::uint64_t step) const { return steps_.at(step - 1).ended; }

  [[nodiscard]] std::uint64_t accepted_count() const noexcept { return accepted_count_; }
  /// The most that the coordinator may remember of a step that a rank has come to.
  [[nodiscard]] std::uint64_t record_count_max(std::uint64_t number, const StepShape& shape) const;

 private:
  using Grant = WatchedGrant;
  using Unit = WatchedUnit;

  /// What was accepted of a batch one of whose units was granted more than once.
  struct Output {
    std::uint64_t digest = 0;
    std::vector<std::uint64_t> units = {};
  };

  struct Step {
    std::map<std::pair<protocol::Stage, std::uint64_t>, Output> outputs = {};  ///< By first unit.
    std::array<WatchedUnits, protocol::kStageCount> units = {};                ///< By stage.
    bool done = false;
    bool failed = false;
    bool planned = false;
    bool ended = false;               ///< Decided, be it well or not.
    std::uint64_t report_count = 0;   ///< Accepted ones.
    protocol::Envelope planner = {};  ///< Who was asked last.
    std::optional<std::vector<protocol::PlaceWorkers>> planned_for = {};
    protocol::StepDone end = {};
    std::vector<std::uint64_t> oracle = {};  ///< By partition.
  };

  /// A lease that has to be accepted, or taken away, by then.
  struct Due {
    Instant when = {};
    std::uint64_t step = 0;
    protocol::Lease lease = {};
    protocol::Envelope holder = {};
  };

  void on_make_plan(std::uint32_t rank, const protocol::MakePlan& make);
  void check_nobody_is_left_out(const protocol::MakePlan& make);
  void on_grant(std::uint32_t rank, const protocol::Grant& grant);
  void on_heartbeat(const protocol::Envelope& from, const protocol::Heartbeat& heartbeat,
                    const protocol::Effects& effects);
  void on_report(const protocol::Envelope& from, const protocol::Report& report,
                 const protocol::Effects& effects);
  void on_return(const protocol::Envelope& from, std::uint64_t step, protocol::Stage stage,
                 std::span<const protocol::Lease> leases);
  void on_failed(const protocol::Envelope& from, const protocol::BatchFailed& failed);
  void on_taken_away(const protocol::Envelope& from, const protocol::HeartbeatAck& ack);
  void on_missed(const protocol::Envelope& from, std::uint64_t number,
                 const protocol::Lease& lease);
  void count_failure(std::uint64_t number, Unit& unit);
  void check_deadlines();
  void on_death(std::uint32_t rank);
  void check_acceptance(const protocol::Envelope& from, const protocol::Report& report);
  void check_refusal(const protocol::Envelope& from, const protocol::Report& report,
                     const protocol::Verdict& verdict);
  void note_output(const protocol::Report& report);
  void check_output(const protocol::Report& report, const protocol::Effects& effects);
  void check_sink(const protocol::StepDone& done);
  void check_fits(std::uint32_t rank, const protocol::Grant& grant, std::uint64_t unit);
  void on_drained(std::uint32_t rank);
  void check_nothing_of_a_lost_host(const protocol::Effect& effect);
  void take_over(const protocol::Record& record);
  void check_nothing_told_is_forgotten(const std::vector<Step>& before);

  [[nodiscard]] std::uint32_t live_count(WatchedUnits::Grants& grants);
  static void make_ready(const WatchedUnits& units, std::span<const protocol::Lease> leases);

  [[nodiscard]] Step& step(std::uint64_t number);
  /// None when the step is done.
  [[nodiscard]] WatchedUnits& units_of(std::uint64_t number, protocol::Stage stage);
  /// The life of the rank that the coordinator knows, as the sender of a message.
  [[nodiscard]] protocol::Envelope of_life(std::uint32_t rank) const {
    return {.rank = rank, .incarnation = live_[rank]};
  }
  /// Nothing where there is no such unit.
  [[nodiscard]] Unit* find(std::uint64_t number, protocol::Stage stage, std::uint64_t unit);
  /// The grant that the lease names, if this life of the rank has it still.
  [[nodiscard]] Grant* find(const protocol::Envelope& from, std::uint64_t number,
                            protocol::Stage stage, const protocol::Lease& lease);
  [[nodiscard]] Grant* grant_in(WatchedUnits::Grants& grants, const protocol::Envelope& from,
                                const protocol::Lease& lease) const;
  [[nodiscard]] const Grant* grant_of(const Due& due);
  [[nodiscard]] std::uint64_t oracle(std::uint64_t number, std::uint32_t partition);

  World& world_;
  std::vector<std::uint32_t> live_;     ///< By rank: the life that the coordinator knows; 0: none.
  std::vector<std::uint32_t> drained_;  ///< By rank: the life that asked for it; 0: none.
  std::vector<std::pair<std::uint32_t, Place>> places_;  ///< By rank: of that life, the first one.
  std::set<std::uint32_t> lost_hosts_;
  std::deque<Due> due_;               ///< In the order of their times; some are over.
  std::set<std::uint64_t> worn_out_;  ///< Steps that may fail for a shard that missed its deadline.
  std::set<std::uint64_t> deadly_;    ///< Steps that may fail as ranks died with a unit.
  protocol::Fence newest_fence_ = {};
  std::vector<Step> steps_;  ///< By number, from 1.
  std::uint64_t accepted_count_ = 0;

  /// Where decisions are journaled: the units of reports whose ranks do not know yet, by rank,
  /// step, stage and number of the report.
  using ReportName = std::tuple<std::uint32_t, std::uint64_t, protocol::Stage, std::uint64_t>;
  std::map<ReportName, std::vector<std::uint64_t>> untold_;
};

}  // namespace pinion::sim
