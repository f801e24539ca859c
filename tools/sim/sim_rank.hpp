#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <pinion/shard/protocol/rank_machine.hpp>

#include "sim/sim_options.hpp"

namespace pinion::sim {

class World;

/// One process of a rank: a program that does its steps in order, and an engine whose workers run
/// leases in virtual time. Speaks to the coordinator through the RankMachine under test.
class SimRank {
 public:
  SimRank(World& world, std::uint32_t rank, std::uint32_t incarnation);

  /// The program starts from its beginning.
  void begin();
  void receive(const protocol::Message& message);

  [[nodiscard]] std::uint32_t rank() const noexcept { return rank_; }
  [[nodiscard]] std::uint32_t incarnation() const noexcept { return incarnation_; }

  Instant paused_until = {};

 private:
  struct Worker {
    std::optional<protocol::Lease> running = {};
    std::uint64_t run = 0;  ///< Which run of the worker; an older one that ends is in vain.
    std::vector<protocol::Lease> batch = {};
  };

  void enter_next_step();
  void carry_out_effects();
  void carry_out(const protocol::SendMessage& send);
  void carry_out(const protocol::StartPlanning&);
  void carry_out(const protocol::UsePlan& use);
  void carry_out(const protocol::UsePartials& use);
  void carry_out(const protocol::RunLeases& run);
  void carry_out(const protocol::DropLeases& drop);
  void carry_out(const protocol::BatchSettled& settled);
  void carry_out(const protocol::StepFinished& finished);

  void drop_all_work();
  void put_to_work();
  void run_on(Worker& worker);
  void end_run(std::size_t worker_index);
  void fail_batch(Worker& worker, const protocol::Lease& bad, ErrorCode code);
  void seal(protocol::Stage stage, std::vector<protocol::Lease> batch);
  [[nodiscard]] BlobHandle make_output(protocol::Stage stage,
                                       const std::vector<protocol::Lease>& batch);
  /// In the order of the batch; none in the merge stage.
  [[nodiscard]] std::vector<std::uint64_t> shards_of(
      protocol::Stage stage, const std::vector<protocol::Lease>& batch) const;
  void schedule_tick();
  [[nodiscard]] Instant now() const;

  World& world_;
  std::uint32_t rank_;
  std::uint32_t incarnation_;

  std::uint64_t step_ = 0;
  StepShape shape_ = {};
  std::unique_ptr<protocol::RankMachine> machine_;
  protocol::RankEffects effects_;
  std::deque<protocol::RankEffect> to_do_;
  bool carrying_out_ = false;
  Instant next_tick_ = Instant::max();

  protocol::Stage stage_ = protocol::Stage::kMap;
  std::uint64_t unit_count_left_ = 0;
  std::deque<protocol::Lease> waiting_;
  std::vector<Worker> workers_;
  std::optional<std::vector<std::uint64_t>> merged_;  ///< By partition; nothing when unreadable.
  std::uint64_t report_count_ = 0;
  std::map<std::uint64_t, BlobHandle> unsettled_;  ///< By report number.
};

}  // namespace pinion::sim
