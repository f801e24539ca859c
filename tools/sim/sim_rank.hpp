#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <pinion/shard/protocol/rank_machine.hpp>

#include "sim/sim_options.hpp"
#include "sim/sim_store.hpp"

namespace pinion::sim {

class World;

/// What runs the leases of a rank. A line of the cache, as most of what happens is the end of a
/// body.
struct alignas(64) SimWorker {
  protocol::Lease lease = {};  ///< If it is running.
  std::uint32_t run = 0;       ///< Which run of the worker; an older one that ends is in vain.
  bool running = false;
  std::vector<protocol::Lease> batch = {};
};
static_assert(sizeof(SimWorker) == 64);

/// How a process of a rank is started.
struct SimProcess {
  std::uint32_t rank = 0;
  std::uint32_t life = 0;         ///< Numbers the processes of a rank through the whole run.
  std::uint32_t incarnation = 0;  ///< Numbers those of an epoch.
  std::uint64_t slowness = 1;
};

/// One process of a rank: a program that does its steps in order, and an engine whose workers run
/// leases in virtual time. Speaks to the coordinator through the RankMachine under test.
class SimRank {
 public:
  /// The workers are as another process has left them.
  SimRank(World& world, const SimProcess& process, std::span<SimWorker> workers);

  /// The program comes to its next step, at first to the first.
  void enter_next_step();
  void receive(const protocol::Message& message);
  void plan(std::uint64_t step);
  void end_run(std::uint16_t worker_index, std::uint32_t run);
  /// Asks for the memory that the end of a run will need.
  void make_ready(std::uint16_t worker_index) const {
    const SimWorker& worker = workers_[worker_index];
    __builtin_prefetch(worker.batch.data() + worker.batch.size(), 1);
    __builtin_prefetch(waiting_.data() + waiting_begin_);
  }
  void hand_in(protocol::Report&& report);
  void tick(std::uint32_t timer);
  /// False between two steps, where there is no engine to ask for it.
  bool drain();

  [[nodiscard]] std::uint32_t rank() const noexcept { return rank_; }
  [[nodiscard]] std::uint32_t life() const noexcept { return life_; }
  [[nodiscard]] std::uint32_t incarnation() const noexcept { return incarnation_; }

 private:
  [[nodiscard]] std::optional<protocol::Register> registration() const;
  void carry_out_effects();
  void say_need() {
    if (wanted_count_ > 0) {
      say_what_is_needed();
    }
  }
  void say_what_is_needed();
  void carry_out(protocol::SendMessage& send);
  void carry_out(const protocol::StartPlanning&);
  void carry_out(const protocol::UsePlan& use);
  void carry_out(protocol::UsePartials& use);
  void carry_out(const protocol::RunLeases& run);
  void carry_out(const protocol::DropLeases& drop);
  void carry_out(const protocol::BatchSettled& settled);
  void carry_out(const protocol::NameSkipped& skipped);
  void carry_out(const protocol::StepFinished& finished);

  /// What the plan says of the shard. Precondition: `entry` is new.
  void describe(std::uint64_t shard, protocol::ShardEntry& entry) const;
  void drop_all_work();
  void put_to_work();
  void run_next(SimWorker& worker);
  void fail_batch(SimWorker& worker, ErrorCode code);
  void give_back_batch(SimWorker& worker);
  void seal(protocol::Stage stage, std::vector<protocol::Lease> batch);
  [[nodiscard]] BlobHandle make_output(protocol::Stage stage,
                                       const std::vector<protocol::Lease>& batch);
  /// All that is to be read for the partition, in its order. Until the next call.
  [[nodiscard]] std::span<const BlobHandle> inputs_of(std::uint64_t partition);
  void note_inputs();
  /// Nothing when an input cannot be read.
  [[nodiscard]] std::optional<BlobContent> merge(protocol::Stage stage, std::uint64_t unit);
  /// What can be read only where it was mapped before its host was lost.
  [[nodiscard]] const BlobContent* find_mapped(const BlobHandle& blob);
  [[nodiscard]] std::uint32_t host() const;
  [[nodiscard]] bool poisoned(const protocol::Lease& lease) const {
    return shape_->poison && stage_ == protocol::Stage::kMap && holds_poison(lease);
  }
  [[nodiscard]] bool holds_poison(const protocol::Lease& lease) const;
  [[nodiscard]] bool hangs(const protocol::Lease& lease) const;
  [[nodiscard]] bool may_fail(const protocol::Lease& lease) const;
  /// In the order of the batch.
  [[nodiscard]] std::vector<std::uint32_t> shards_of(
      const std::vector<protocol::Lease>& batch) const;
  void schedule_tick();
  void set_timer(Instant local);
  [[nodiscard]] Instant now() const;

  // What the end of a body needs comes first.
  World& world_;
  const std::span<SimWorker> workers_;
  const StepShape* shape_ = nullptr;
  std::vector<protocol::Lease> waiting_;  ///< Those before `waiting_begin_` are under way.
  std::size_t waiting_begin_ = 0;
  const std::uint32_t wanted_count_;
  const std::uint64_t slowness_;
  const std::uint32_t rank_;
  const std::uint32_t life_;
  const std::uint32_t incarnation_;
  protocol::Stage stage_ = protocol::Stage::kMap;
  bool has_plan_ = false;
  bool draining_ = false;  ///< No batch waits for more.
  std::uint64_t unit_count_left_ = 0;

  std::uint64_t step_ = 0;
  std::unique_ptr<protocol::RankMachine> machine_;
  protocol::RankEffects effects_;
  bool carrying_out_ = false;
  Instant timer_set_for_ = Instant::max();  ///< On the rank's own clock.
  std::uint32_t timer_ = 0;                 ///< Which is the newest; an older one is in vain.

  protocol::MergeInputs inputs_;
  std::vector<BlobHandle> in_place_;  ///< Of the partition at hand, where some are combined.
  bool has_mapped_ = false;  ///< All of them, so that it can read them even when they are lost.
  std::uint64_t report_count_ = 0;
  std::vector<std::pair<std::uint64_t, BlobHandle>> unsettled_;  ///< Reports and their outputs.
};

}  // namespace pinion::sim
