#include "sim/sim_rank.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "sim/sim_world.hpp"

namespace pinion::sim {

using namespace std::chrono_literals;
using protocol::Lease;
using protocol::Stage;

SimRank::SimRank(World& world, std::uint32_t rank, std::uint32_t incarnation)
    : world_(world), rank_(rank), incarnation_(incarnation) {}

void SimRank::begin() {
  enter_next_step();
}

void SimRank::receive(const protocol::Message& message) {
  if (machine_ == nullptr) {
    return;
  }
  machine_->receive(message, now(), effects_);
  carry_out_effects();
}

void SimRank::enter_next_step() {
  ++step_;
  shape_ = world_.options().shape_of(step_);
  stage_ = Stage::kMap;
  unit_count_left_ = 0;
  workers_.resize(world_.options().worker_count);
  merged_.reset();
  unsettled_.clear();
  machine_ = std::make_unique<protocol::RankMachine>(
      protocol::RankOptions{.lease_count_max = world_.options().lease_count_max,
                            .heartbeat = world_.options().heartbeat},
      protocol::EnterStep{.step = step_, .fingerprint = mix(step_), .description = "a sum"});
  machine_->start(now(), effects_);
  carry_out_effects();
}

void SimRank::carry_out_effects() {
  std::move(effects_.begin(), effects_.end(), std::back_inserter(to_do_));
  effects_.clear();
  if (std::exchange(carrying_out_, true)) {
    return;
  }
  while (!to_do_.empty()) {
    const protocol::RankEffect effect = std::move(to_do_.front());
    to_do_.pop_front();
    std::visit([this](const auto& what) { carry_out(what); }, effect);
  }
  carrying_out_ = false;
  schedule_tick();
}

void SimRank::carry_out(const protocol::SendMessage& send) {
  world_.send_to_coordinator(*this, send.message);
}

void SimRank::carry_out(const protocol::StartPlanning&) {
  const bool able = world_.options().every_rank_plans || world_.options().planner_rank == rank_;
  world_.post(*this, world_.random().between(Duration::zero(), Duration(80ms)),
              [able, step = step_](SimRank& self) {
                if (self.step_ != step || self.machine_ == nullptr) {
                  return;
                }
                if (able) {
                  protocol::PlanReady plan;
                  plan.plan = self.world_.store().create({.kind = BlobKind::kPlan, .step = step});
                  plan.partition_count = self.shape_.partition_count;
                  plan.ordered_batch_shard_count = self.shape_.ordered_batch_shard_count;
                  for (const std::uint64_t bytes : self.shape_.shard_bytes) {
                    plan.shards.push_back({.weight = bytes});
                  }
                  self.machine_->plan_ready(std::move(plan), self.now(), self.effects_);
                } else {
                  self.machine_->plan_failed({.code = ErrorCode::kUnavailable, .text = "no input"},
                                             self.now(), self.effects_);
                }
                self.carry_out_effects();
              });
}

void SimRank::carry_out(const protocol::UsePlan& use) {
  world_.expect(use.started.shard_count == shape_.shard_bytes.size() &&
                    use.started.ordered_batch_shard_count == shape_.ordered_batch_shard_count,
                "a plan of another step");
}

void SimRank::carry_out(const protocol::UsePartials& use) {
  merged_.emplace(shape_.partition_count);
  for (const BlobHandle& blob : use.partials) {
    const BlobContent* const partial = world_.store().find_kept(blob);
    if (partial == nullptr) {
      // The step ended while the message was on its way.
      merged_.reset();
      return;
    }
    for (std::size_t partition = 0; partition < merged_->size(); ++partition) {
      (*merged_)[partition] = shape_.join((*merged_)[partition], partial->sums[partition]);
    }
  }
}

void SimRank::carry_out(const protocol::RunLeases& run) {
  world_.expect(stage_ == Stage::kMap || run.stage == Stage::kMerge, "a stage that goes back");
  stage_ = run.stage;
  unit_count_left_ = run.unit_count_left;
  waiting_.insert(waiting_.end(), run.leases.begin(), run.leases.end());
  put_to_work();
}

void SimRank::carry_out(const protocol::DropLeases& drop) {
  ++world_.probes().dropped_leases;
  const auto dropped = [&drop](const Lease& lease) {
    return std::find(drop.leases.begin(), drop.leases.end(), lease) != drop.leases.end();
  };
  std::erase_if(waiting_, dropped);
  for (Worker& worker : workers_) {
    if (std::any_of(worker.batch.begin(), worker.batch.end(), dropped)) {
      std::erase_if(worker.batch, dropped);
      machine_->give_back(drop.stage, std::exchange(worker.batch, {}), now(), effects_);
    }
    if (worker.running && dropped(*worker.running)) {
      worker.running.reset();
      ++worker.run;
    }
  }
  carry_out_effects();
  put_to_work();
}

void SimRank::carry_out(const protocol::BatchSettled& settled) {
  const auto found = unsettled_.find(settled.report);
  if (found == unsettled_.end()) {
    // The verdict on a report that was sent again.
    return;
  }
  const bool kept = world_.store().find_kept(found->second) != nullptr;
  const bool accepted = settled.failure.code == ErrorCode::kOk;
  world_.expect(accepted || !kept, "a refused output is kept");
  ++(accepted ? world_.probes().accepted_reports : world_.probes().refused_reports);
  unsettled_.erase(found);
}

void SimRank::carry_out(const protocol::StepFinished& finished) {
  if (finished.failure.code != ErrorCode::kOk) {
    world_.expect(false, "step " + std::to_string(step_) + " failed: " + finished.failure.text);
    return;
  }
  world_.check_result(step_, finished.done);
  to_do_.clear();
  machine_.reset();
  drop_all_work();
  if (step_ < world_.options().step_count) {
    // The program thinks about the result for a while.
    world_.post(*this, world_.random().between(Duration::zero(), Duration(20ms)),
                [](SimRank& self) { self.enter_next_step(); });
    return;
  }
  world_.leave(*this);
}

void SimRank::drop_all_work() {
  waiting_.clear();
  for (Worker& worker : workers_) {
    worker = {.running = {}, .run = worker.run + 1, .batch = {}};
  }
}

void SimRank::put_to_work() {
  for (Worker& worker : workers_) {
    if (worker.running) {
      continue;
    }
    if (!waiting_.empty()) {
      worker.running = waiting_.front();
      waiting_.pop_front();
      run_on(worker);
    } else if (!worker.batch.empty() && unit_count_left_ == 0) {
      seal(stage_, std::exchange(worker.batch, {}));
    }
  }
}

void SimRank::run_on(Worker& worker) {
  Random& random = world_.random();
  Duration duration = random.between(Duration(100us), Duration(15ms));
  if (random.chance(world_.options().slow_body)) {
    duration += world_.options().lease_duration * 2;
  }
  const auto worker_index = static_cast<std::size_t>(&worker - workers_.data());
  world_.post(*this, duration, [worker_index, run = ++worker.run](SimRank& self) {
    if (self.workers_[worker_index].run == run) {
      self.end_run(worker_index);
    }
  });
}

void SimRank::end_run(std::size_t worker_index) {
  Worker& worker = workers_[worker_index];
  const Lease lease = *std::exchange(worker.running, {});
  const SimOptions& options = world_.options();
  if (stage_ == Stage::kMerge && !merged_) {
    fail_batch(worker, lease, ErrorCode::kNotFound);
  } else if (lease.attempt < 3 && world_.random().chance(options.body_failure)) {
    ++world_.probes().failed_bodies;
    fail_batch(worker, lease, ErrorCode::kUnknown);
  } else if (world_.random().chance(options.batch_discard)) {
    worker.batch.push_back(lease);
    machine_->give_back(stage_, std::exchange(worker.batch, {}), now(), effects_);
    carry_out_effects();
  } else {
    worker.batch.push_back(lease);
    if (stage_ == Stage::kMerge || shape_.map_units().ordered() ||
        worker.batch.size() >= options.batch_shard_max) {
      seal(stage_, std::exchange(worker.batch, {}));
    }
  }
  put_to_work();
}

void SimRank::fail_batch(Worker& worker, const Lease& bad, ErrorCode code) {
  worker.batch.push_back(bad);
  machine_->batch_failed({.stage = stage_,
                          .bad_unit = bad.unit,
                          .failure = {.code = code, .text = "the body failed"},
                          .batch = std::exchange(worker.batch, {})},
                         now(), effects_);
  carry_out_effects();
}

void SimRank::seal(Stage stage, std::vector<Lease> batch) {
  protocol::Report report{.stage = stage,
                          .report = ++report_count_,
                          .output = make_output(stage, batch),
                          .batch = std::move(batch)};
  for (const std::uint64_t shard : shards_of(stage, report.batch)) {
    report.input_bytes += shape_.shard_bytes[shard];
  }
  world_.post(*this, world_.random().between(Duration::zero(), Duration(2ms)),
              [step = step_, report = std::move(report)](SimRank& self) {
                if (self.step_ != step || self.machine_ == nullptr) {
                  return;
                }
                self.unsettled_[report.report] = report.output;
                self.machine_->batch_sealed(report, self.now(), self.effects_);
                self.carry_out_effects();
              });
}

BlobHandle SimRank::make_output(Stage stage, const std::vector<Lease>& batch) {
  if (stage == Stage::kMerge) {
    return world_.store().create(
        {.kind = BlobKind::kResult, .step = step_, .sums = {(*merged_)[batch.front().unit]}});
  }
  BlobContent partial{.kind = BlobKind::kPartial, .step = step_};
  partial.sums.resize(shape_.partition_count);
  partial.shards = shards_of(stage, batch);
  for (const std::uint64_t shard : partial.shards) {
    for (std::uint32_t partition = 0; partition < shape_.partition_count; ++partition) {
      std::uint64_t& sum = partial.sums[partition];
      sum = shape_.join(sum, world_.options().value_of(step_, shard, partition));
    }
  }
  return world_.store().create(std::move(partial));
}

std::vector<std::uint64_t> SimRank::shards_of(Stage stage, const std::vector<Lease>& batch) const {
  std::vector<std::uint64_t> shards;
  for (const Lease& lease : batch) {
    const auto span = stage == Stage::kMap ? shape_.map_units().shards_of(lease.unit)
                                           : protocol::MapUnits::ShardSpan{};
    for (std::uint64_t shard = span.begin; shard < span.end; ++shard) {
      shards.push_back(shard);
    }
  }
  return shards;
}

void SimRank::schedule_tick() {
  const Instant deadline = machine_ == nullptr ? Instant::max() : machine_->next_deadline();
  if (deadline == Instant::max() || (next_tick_ > now() && next_tick_ <= deadline)) {
    return;
  }
  next_tick_ = deadline;
  world_.post(*this, std::max(deadline - now(), Duration::zero()), [deadline](SimRank& self) {
    if (self.next_tick_ != deadline) {
      return;
    }
    self.next_tick_ = Instant::max();
    if (self.machine_ != nullptr) {
      self.machine_->tick(self.now(), self.effects_);
      self.carry_out_effects();
    }
  });
}

Instant SimRank::now() const {
  return world_.now();
}

}  // namespace pinion::sim
