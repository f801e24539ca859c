#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <pinion/shard/protocol/coordinator.hpp>

#include "sim/sim_events.hpp"
#include "sim/sim_network.hpp"
#include "sim/sim_options.hpp"
#include "sim/sim_rank.hpp"
#include "sim/sim_store.hpp"

namespace pinion::sim {

/// How often what is rare has happened: a simulation that never gets there proves nothing.
struct Probes {
  std::uint64_t events = 0;
  std::uint64_t crashes = 0;
  std::uint64_t deaths_for_good = 0;
  std::uint64_t pauses = 0;
  std::uint64_t fast_forwards = 0;
  std::uint64_t accepted_reports = 0;
  std::uint64_t refused_reports = 0;
  std::uint64_t resent_reports = 0;
  std::uint64_t failed_bodies = 0;
  std::uint64_t dropped_leases = 0;
  std::uint64_t second_grants = 0;
  std::uint64_t second_attempts = 0;
  std::uint64_t messages_of_dead_lives = 0;

  Probes& operator+=(const Probes& other);
};

/// One job under simulation: a coordinator and its ranks, joined by a network, disturbed by chaos,
/// and watched from outside.
class World {
 public:
  explicit World(const SimOptions& options);

  /// Runs the job to its end. Empty when every guarantee held, else the first that did not.
  std::string run();

  [[nodiscard]] const Probes& probes() const noexcept { return probes_; }

  // For the ranks.

  [[nodiscard]] const SimOptions& options() const noexcept { return options_; }
  [[nodiscard]] Instant now() const noexcept { return events_.now(); }
  [[nodiscard]] Random& random() noexcept { return random_; }
  [[nodiscard]] Store& store() noexcept { return store_; }
  [[nodiscard]] Probes& probes() noexcept { return probes_; }

  /// Calls `action` later, unless this life of the rank has ended by then; after its pause if it is
  /// paused.
  void post(const SimRank& rank, Duration delay, std::function<void(SimRank&)> action);
  void send_to_coordinator(const SimRank& rank, const protocol::Message& message);
  void leave(const SimRank& rank);
  void check_result(std::uint64_t step, const protocol::StepDone& done);
  void expect(bool condition, const std::string& violation);

 private:
  enum class Life : std::uint8_t { kStarting, kUp, kLeft, kGone };

  struct RankState {
    Life life = Life::kStarting;
    std::uint32_t incarnation = 0;
    std::uint32_t incarnation_known = 0;  ///< By the coordinator's host.
    std::unique_ptr<SimRank> process = {};
  };

  struct UnitName {
    std::uint64_t step = 0;
    protocol::Stage stage = protocol::Stage::kMap;
    std::uint64_t unit = 0;

    friend auto operator<=>(const UnitName&, const UnitName&) = default;
  };

  /// A grant that may be reported.
  struct NewestGrant {
    protocol::Fence fence = {};
    std::uint32_t rank = 0;
    std::uint32_t incarnation = 0;
  };

  // The network and the coordinator (sim_world.cpp).
  void start_process(std::uint32_t rank);
  void post_life(std::uint32_t rank, std::uint32_t incarnation, Instant when,
                 std::function<void(SimRank&)> action);
  void send_event(const LinkName& link, protocol::Event event);
  void send_to_rank(std::uint32_t rank, const protocol::Message& message);
  void feed(const protocol::Event& event);
  void schedule_tick();
  [[nodiscard]] bool over() const;

  // Chaos (sim_chaos.cpp).
  void schedule_chaos();
  void disturb();
  void crash(std::uint32_t rank);

  // The observer (sim_checks.cpp).
  void check_grant(std::uint32_t rank, const protocol::Grant& grant);
  void check_acceptance(const protocol::MessageReceived& received,
                        const protocol::Effects& effects);
  void check_sink(const protocol::StepDone& done);
  void check_leftovers();

  SimOptions options_;
  Random random_;
  EventQueue events_;
  Network network_;
  Store store_;
  protocol::Coordinator coordinator_;
  std::vector<RankState> ranks_;
  std::string violation_;
  Probes probes_;
  Instant next_tick_ = Instant::max();

  protocol::Fence newest_fence_ = {};
  std::map<UnitName, std::vector<NewestGrant>> newest_grants_;  // Two while there is a second one.
  std::map<std::uint64_t, protocol::StepDone> done_steps_;
};

}  // namespace pinion::sim
