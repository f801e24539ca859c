#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/shard/protocol/coordinator.hpp>

#include "sim/sim_clock.hpp"
#include "sim/sim_event_queue.hpp"
#include "sim/sim_journal.hpp"
#include "sim/sim_observer.hpp"
#include "sim/sim_options.hpp"
#include "sim/sim_pool.hpp"
#include "sim/sim_probes.hpp"
#include "sim/sim_rank.hpp"
#include "sim/sim_store.hpp"

namespace pinion::sim {

/// What a run has counted and measured.
struct Figures {
  std::uint64_t events = 0;
  std::uint64_t messages = 0;  ///< Sent, either way.
  std::uint64_t coordinator_events = 0;
  std::uint64_t accepted_reports = 0;  ///< As ranks were told.
  std::uint64_t refused_reports = 0;
  std::uint64_t regrants = 0;  ///< Grants of units that had been granted before.
  std::uint64_t pending_max = 0;
  Duration makespan = {};  ///< From the first process to the end of the last, in virtual time.
  std::vector<Duration> regrant_after_death = {};    ///< From the death of a rank, a unit each.
  std::vector<Duration> regrant_after_silence = {};  ///< From when it was heard no more.

  /// Of those steps of the coordinator that were timed, with a stopwatch.
  std::uint64_t timed_steps = 0;
  Duration timed = {};
};

/// One job under simulation: a coordinator and its ranks, joined by a network, disturbed by faults,
/// and watched from outside. Two runs of the same options are the same, event for event.
class World {
 public:
  /// A `stopwatch` times some of the coordinator's steps; it does not change the run.
  /// Lifetime: it outlives the world.
  explicit World(const SimOptions& options, const IClock* stopwatch = nullptr);

  /// Runs the job to its end. Empty when every guarantee held, else the first that did not. Calls
  /// `often` every few milliseconds.
  std::string run(const std::function<void()>& often = {});

  [[nodiscard]] const Probes& probes() const noexcept { return probes_; }
  [[nodiscard]] const FaultCounts& faults() const noexcept { return faults_; }
  [[nodiscard]] const Figures& figures() const noexcept { return figures_; }
  [[nodiscard]] protocol::Progress progress() const { return coordinator_.progress(); }
  [[nodiscard]] std::uint32_t epoch() const noexcept { return epoch_; }
  /// Over all events, in their order.
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }

  // For the ranks and the observer.

  [[nodiscard]] const SimOptions& options() const noexcept { return options_; }
  [[nodiscard]] const StepShape& shape(std::uint64_t step) {
    const std::unique_ptr<StepShape>& shape = shapes_.at(step - 1);
    return shape != nullptr ? *shape : make_shape(step);
  }
  [[nodiscard]] Instant now() const noexcept { return events_.now(); }
  /// How long the coordinator holds a lease.
  [[nodiscard]] Duration lease_end() const noexcept {
    return options_.lease_duration + options_.lease_duration / 20;
  }
  [[nodiscard]] Random& random() noexcept { return random_; }
  [[nodiscard]] Store& store() noexcept { return store_; }
  [[nodiscard]] Figures& figures() noexcept { return figures_; }

  /// Lets `event` happen to this life of the rank; after its pause if it is paused.
  void post(const SimRank& rank, Duration delay, SimEvent event) {
    event.rank = rank.rank();
    event.life = rank.life();
    events_.at(now() + delay, event);
  }
  void post_report(const SimRank& rank, Duration delay, protocol::Report report);
  void send_to_coordinator(const SimRank& rank, protocol::Message&& message);
  void leave(const SimRank& rank);
  void check_result(std::uint64_t step, const protocol::StepDone& done) {
    observer_.check_result(step, done);
  }
  void check_failure(std::uint64_t step, const protocol::Failure& failure) {
    observer_.check_failure(step, failure);
  }
  [[nodiscard]] std::uint32_t host_of(std::uint32_t rank) const { return options_.host_of(rank); }
  [[nodiscard]] bool any_host_is_lost() const noexcept { return any_host_is_lost_; }
  [[nodiscard]] RankClock& clock(std::uint32_t rank) { return ranks_[rank].clock; }

  void expect(bool condition, std::string_view violation) {
    if (!condition) {
      fail(std::string(violation));
    }
  }
  [[gnu::cold]] void fail(const std::string& violation);
  void reached(ProbeName probe) { probes_.reached(probe); }
  void reached(ProbeName probe, bool condition) { probes_.reached(probe, condition); }
  void count(Fault fault) { faults_.add(fault); }
  /// A unit that `rank` had is granted to another.
  void note_regrant(std::uint32_t rank, bool dead);

 private:
  enum class Presence : std::uint8_t { kStarting, kUp, kLeft, kGone };

  /// One direction of the connection of a rank. Keeps the order, as a stream socket does; different
  /// links do not.
  struct Link {
    Instant last_arrival = {};
    Instant blocked_until = {};
  };

  /// What most of what happens to a rank needs lies in its first lines.
  struct alignas(64) RankState {
    Instant paused_until = {};
    std::uint32_t life = 0;      ///< Which process of the rank it is, through all epochs.
    std::uint32_t life_cut = 0;  ///< The connections of this life and before are broken.
    Link to_rank = {};
    Link to_coordinator = {};
    Presence presence = Presence::kStarting;
    std::uint32_t lives_of_epochs = 0;  ///< How many lives were of epochs that are over.
    std::optional<SimRank> process = {};
    RankClock clock = {};
    Instant trouble_since = {};
    std::uint32_t incarnation_known = 0;  ///< By the coordinator's host.
  };

  // The coordinator, its host and the network (sim_world.cpp).
  void happen(const SimEvent& event);
  void make_ready() const;
  const StepShape& make_shape(std::uint64_t step);
  void happen_to_rank(const SimEvent& event);
  void happen_seldom(const SimEvent& event);
  void arrive_at_coordinator(const SimEvent& event);
  void start_process(std::uint32_t rank);
  void end_process(std::uint32_t rank, std::uint32_t life);
  void start_soon(std::uint32_t rank, Duration least, Duration most);
  void send_event(std::uint32_t rank, std::uint32_t life, protocol::Event event);
  void send_message(const SimRank& rank, const protocol::Envelope& envelope,
                    protocol::Message&& message);
  void post_to_coordinator(std::uint32_t rank, std::uint32_t life, std::uint32_t payload);
  void send_to_rank(std::uint32_t rank, protocol::Message&& message);
  void post_to_rank(std::uint32_t rank, protocol::Message&& message);
  [[nodiscard]] Instant arrival(Link& link);
  [[nodiscard]] bool over_the_wire(const protocol::Envelope& envelope, protocol::Message& message);
  void feed(const protocol::Event& event);
  [[nodiscard]] protocol::CoordinatorOptions coordinator_options() const;
  void step_coordinator(const protocol::Event& event);
  void carry_out(protocol::Effect& effect);
  void end_with(const protocol::Failure& failure);
  void schedule_tick();
  void add_to_hash(std::uint64_t value) { hash_ = mix(hash_ ^ value); }
  void check_bounds();

  // The head: what its decisions wait for, its death and its return (sim_head.cpp).
  void take_up(protocol::Effect& effect);
  void carry_out_what_is_safe();
  void commit();
  void end_disk_work(const SimEvent& event);
  void crash_head();
  void resume_head();
  /// Without the work of a step from where it is not to be had any more.
  [[nodiscard]] std::vector<protocol::Record> usable(std::vector<protocol::Record> records);

  // What goes wrong (sim_chaos.cpp).
  void schedule_fault();
  void disturb();
  void cut_off(bool both_directions);
  void crash(std::uint32_t rank);
  void crash_host(std::uint32_t host);
  /// The connection of this life breaks; what is in flight is lost.
  void drop_connection(std::uint32_t rank);
  void lose(std::uint32_t rank, bool returns);

  SimOptions options_;
  const IClock* stopwatch_;
  Random random_;
  EventQueue events_;
  Store store_;
  Probes probes_;
  FaultCounts faults_;
  Figures figures_;
  std::uint32_t epoch_ = 3;
  protocol::Coordinator coordinator_;
  std::vector<RankState> ranks_;
  std::vector<SimWorker> workers_;                  ///< Of the ranks, one after another.
  std::vector<std::unique_ptr<StepShape>> shapes_;  ///< By step, from 1.
  Pool<protocol::Event> to_coordinator_;
  Pool<protocol::Message> to_ranks_;
  Pool<protocol::Report> reports_;
  protocol::Effects effects_;

  /// What the coordinator has decided and nobody has seen yet, in order; a record by its number.
  struct Held {
    protocol::Effect effect;
    std::uint64_t record = 0;
  };
  bool head_is_up_ = true;
  std::vector<bool> host_is_down_;
  bool any_host_is_lost_ = false;  ///< In this life of the head.
  Faults disk_faults_;
  SimJournal journal_;
  std::deque<Held> held_ = {};

  Observer observer_;
  std::string violation_;
  std::uint64_t hash_ = 0;
  bool ended_ = false;            ///< The job, with an error that it may end with.
  std::uint64_t over_count_ = 0;  ///< Ranks that have left or are gone.
  std::uint64_t accepted_at_event_ = 0;
  std::uint64_t accepted_before_ = 0;
  Instant next_tick_ = Instant::max();
  Instant chaos_end_ = {};
  Duration wall_ahead_ = {};  ///< What a coordinator that reads the time of day believes too much.
};

}  // namespace pinion::sim
