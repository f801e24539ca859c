#include "sim/sim_rank.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <pinion/shard/protocol/wire.hpp>

#include "sim/sim_world.hpp"

namespace pinion::sim {

using namespace std::chrono_literals;
using protocol::Lease;
using protocol::Stage;

namespace {

/// Of the output that these units make, in this order.
std::uint64_t digest_of(const std::vector<Lease>& batch) {
  std::uint64_t digest = 1;
  for (const Lease& lease : batch) {
    digest = mix(digest + lease.unit);
  }
  return digest | 1U;
}

}  // namespace

SimRank::SimRank(World& world, const SimProcess& process, std::span<SimWorker> workers)
    : world_(world),
      workers_(workers),
      wanted_count_(static_cast<std::uint32_t>(world.options().wanted_count)),
      slowness_(process.slowness),
      rank_(process.rank),
      life_(process.life),
      incarnation_(process.incarnation) {
  drop_all_work();
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
  shape_ = &world_.shape(step_);
  stage_ = Stage::kMap;
  has_plan_ = false;
  unit_count_left_ = 0;
  inputs_ = {};
  unsettled_.clear();
  machine_ = std::make_unique<protocol::RankMachine>(
      protocol::RankOptions{
          .lease_count_max = static_cast<std::uint32_t>(world_.options().lease_count_max),
          .heartbeat = world_.options().heartbeat,
          .registration = registration(),
          .mutations = world_.options().rank_mutations},
      protocol::EnterStep{.step = step_, .fingerprint = mix(step_), .description = "a sum"});
  machine_->start(now(), effects_);
  carry_out_effects();
}

/// At the first step of its process.
std::optional<protocol::Register> SimRank::registration() const {
  const SimOptions& options = world_.options();
  if (!options.devices || step_ != 1) {
    return std::nullopt;
  }
  protocol::Register registration{
      .process = {.high = options.seed, .low = std::uint64_t{rank_} << 32U | life_},
      .protocol_version = protocol::kProtocolVersion,
      .capacities = {.cpu_count = static_cast<std::uint32_t>(options.worker_count)},
      .places = {{.index = static_cast<std::uint16_t>(rank_ % 2), .host = host()}},
      .worker_counts = {static_cast<std::uint32_t>(options.worker_count)}};
  if (options.has_device(rank_)) {
    registration.capacities.gpu_count = 1;
    registration.places.push_back({.kind = PlaceKind::kDevice, .host = host()});
    registration.worker_counts.push_back(1);
  }
  return registration;
}

/// What an effect leads to may ask for more effects; they come behind those that are there.
void SimRank::carry_out_effects() {
  if (std::exchange(carrying_out_, true)) {
    return;
  }
  for (std::size_t i = 0; i < effects_.size(); ++i) {
    // A message is moved once, to where it waits for its arrival; sending it adds no effect.
    if (auto* const send = std::get_if<protocol::SendMessage>(&effects_[i])) {
      carry_out(*send);
      continue;
    }
    protocol::RankEffect effect = std::move(effects_[i]);
    std::visit([this](auto& what) { carry_out(what); }, effect);
  }
  effects_.clear();
  carrying_out_ = false;
  say_need();
  schedule_tick();
}

void SimRank::say_what_is_needed() {
  if (machine_ == nullptr) {
    return;
  }
  const auto running = std::count_if(workers_.begin(), workers_.end(),
                                     [](const SimWorker& worker) { return worker.running; });
  const std::size_t unfinished =
      waiting_.size() - waiting_begin_ + static_cast<std::size_t>(running);
  machine_->need(static_cast<std::uint32_t>(unfinished),
                 {.least_count = wanted_count_ / 2, .wanted_count = wanted_count_}, now(),
                 effects_);
  if (!effects_.empty()) {
    carry_out_effects();
  }
}

void SimRank::carry_out(protocol::SendMessage& send) {
  world_.send_to_coordinator(*this, std::move(send.message));
}

void SimRank::carry_out(const protocol::StartPlanning&) {
  world_.post(*this, world_.random().between(Duration::zero(), world_.options().body_max * 5),
              {.payload = static_cast<std::uint32_t>(step_), .kind = EventKind::kPlanIsMade});
}

void SimRank::plan(std::uint64_t step) {
  if (step_ != step || machine_ == nullptr) {
    return;
  }
  const SimOptions& options = world_.options();
  if (options.every_rank_plans || options.steadfast_rank == rank_) {
    protocol::PlanReady plan;
    plan.plan =
        world_.store().create({.kind = BlobKind::kPlan, .step = step}, host(), world_.epoch());
    plan.partition_count = shape_->partition_count;
    plan.ordered_batch_shard_count = shape_->ordered_batch_shard_count;
    plan.shard_deadline = shape_->shard_deadline;
    plan.combines = shape_->combines;
    plan.shards.resize(shape_->shard_bytes.size());
    for (std::uint64_t shard = 0; shard < shape_->shard_bytes.size(); ++shard) {
      describe(shard, plan.shards[shard]);
    }
    machine_->plan_ready(std::move(plan), now(), effects_);
  } else {
    world_.reached("a rank could not plan");
    machine_->plan_failed({.code = ErrorCode::kUnavailable, .text = "no input"}, now(), effects_);
  }
  carry_out_effects();
}

void SimRank::describe(std::uint64_t shard, protocol::ShardEntry& entry) const {
  entry.weight = shape_->shard_bytes[shard];
  if (!shape_->has_devices) {
    return;
  }
  const std::uint64_t drawn = shape_->value_of(shard);
  entry.place = {.index = static_cast<std::uint16_t>(drawn / 8 % 2),
                 .host = static_cast<std::uint32_t>(drawn / 16 % world_.options().host_count)};
  entry.priority = static_cast<protocol::Priority>(drawn / 1024 % 3);
  if (shape_->needs_device(shard)) {
    entry.place.kind = PlaceKind::kDevice;
    entry.has_cpu_body = false;
  }
}

void SimRank::carry_out(const protocol::UsePlan& use) {
  world_.expect(use.started.shard_count == shape_->shard_bytes.size() &&
                    use.started.ordered_batch_shard_count == shape_->ordered_batch_shard_count,
                "a plan of another step");
  has_plan_ = has_plan_ || !world_.store().lost(use.started.plan);
  world_.reached("a rank could not read its plan", !has_plan_);
}

void SimRank::carry_out(protocol::UsePartials& use) {
  inputs_ = std::move(use.inputs);
  const std::vector<BlobHandle>& partials = inputs_.partials;
  has_mapped_ = world_.options().host_count > 1 && world_.random().chance(0.8) &&
                std::all_of(partials.begin(), partials.end(), [this](const BlobHandle& blob) {
                  return world_.store().find_readable(blob) != nullptr;
                });
  note_inputs();
}

void SimRank::note_inputs() {
  std::size_t member_count = 0;
  for (const protocol::CombinedPartials& one : inputs_.combined) {
    member_count += one.members.size();
    const auto missing = std::count(one.outputs.begin(), one.outputs.end(), BlobHandle{});
    world_.reached("a host had some partitions combined and others not", missing > 0);
  }
  world_.reached(
      "partials were merged beside combined ones that were there before",
      member_count > 0 && world_.any_host_is_lost() && member_count < inputs_.partials.size());
}

void SimRank::carry_out(const protocol::RunLeases& run) {
  world_.expect(stage_ == run.stage || stage_ == Stage::kMap || run.stage == Stage::kMerge ||
                    world_.any_host_is_lost(),
                "a stage that goes back");
  stage_ = run.stage;
  unit_count_left_ = draining_ ? 0 : run.unit_count_left;
  if (waiting_begin_ == waiting_.size()) {
    waiting_.clear();
    waiting_begin_ = 0;
  }
  waiting_.insert(waiting_.end(), run.leases.begin(), run.leases.end());
  put_to_work();
}

void SimRank::carry_out(const protocol::DropLeases& drop) {
  world_.reached("a rank dropped leases");
  const auto dropped = [&drop](const Lease& lease) {
    return std::any_of(drop.leases.begin(), drop.leases.end(),
                       [&lease](const Lease& other) { return other.fence == lease.fence; });
  };
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(waiting_begin_));
  waiting_begin_ = 0;
  std::erase_if(waiting_, dropped);
  for (SimWorker& worker : workers_) {
    if (std::any_of(worker.batch.begin(), worker.batch.end(), dropped)) {
      std::erase_if(worker.batch, dropped);
      machine_->give_back(drop.stage, std::exchange(worker.batch, {}), now(), effects_);
    }
    if (worker.running && dropped(worker.lease)) {
      worker.running = false;
      ++worker.run;
    }
  }
  carry_out_effects();
  put_to_work();
}

void SimRank::carry_out(const protocol::BatchSettled& settled) {
  const auto found = std::find_if(unsettled_.begin(), unsettled_.end(), [&](const auto& report) {
    return report.first == settled.report;
  });
  if (found == unsettled_.end()) {
    // The verdict on a report that was sent again.
    return;
  }
  const bool kept = world_.store().find_kept(found->second) != nullptr;
  const bool accepted = settled.failure.code == ErrorCode::kOk;
  world_.expect(accepted || !kept, "a refused output is kept");
  ++(accepted ? world_.figures().accepted_reports : world_.figures().refused_reports);
  unsettled_.erase(found);
}

void SimRank::carry_out(const protocol::NameSkipped& skipped) {
  world_.reached("a rank named a shard that is left out");
  machine_->observe("what is left out is shard " + std::to_string(skipped.shard));
}

void SimRank::carry_out(const protocol::StepFinished& finished) {
  if (finished.job_failed) {
    world_.fail("the job failed: " + finished.failure.text);
    return;
  }
  if (finished.failure.code != ErrorCode::kOk) {
    world_.check_failure(step_, finished.failure);
  } else {
    world_.check_result(step_, finished.done);
  }
  effects_.clear();
  machine_.reset();
  drop_all_work();
  if (step_ < world_.options().step_count) {
    // The program thinks about the result for a while.
    world_.post(*this, world_.random().between(Duration::zero(), world_.options().body_max),
                {.kind = EventKind::kNextStep});
    return;
  }
  world_.leave(*this);
}

void SimRank::drop_all_work() {
  waiting_.clear();
  waiting_begin_ = 0;
  for (SimWorker& worker : workers_) {
    worker.running = false;
    ++worker.run;
    worker.batch.clear();
  }
}

/// Afterwards no worker has nothing to run while leases wait.
void SimRank::put_to_work() {
  for (SimWorker& worker : workers_) {
    if (worker.running) {
      continue;
    }
    if (waiting_begin_ < waiting_.size()) {
      run_next(worker);
    } else if (!worker.batch.empty() && unit_count_left_ == 0) {
      seal(stage_, std::exchange(worker.batch, {}));
    }
  }
}

/// Precondition: a lease waits, and the worker runs none.
void SimRank::run_next(SimWorker& worker) {
  worker.lease = waiting_[waiting_begin_++];
  worker.running = true;
  Random& random = world_.random();
  const SimOptions& options = world_.options();
  Duration duration = random.between(options.body_max / 100, options.body_max) *
                      static_cast<Duration::rep>(slowness_);
  if (random.chance(options.faults[Fault::kBodyStalls])) {
    world_.count(Fault::kBodyStalls);
    duration += options.lease_duration * 2;
  }
  if (hangs(worker.lease)) {
    world_.count(Fault::kBodyHangs);
    ++worker.run;
    return;
  }
  world_.post(*this, duration,
              {.payload = ++worker.run,
               .kind = EventKind::kBodyEnds,
               .worker = static_cast<std::uint16_t>(&worker - workers_.data())});
}

/// Only what another attempt can do.
bool SimRank::hangs(const Lease& lease) const {
  return stage_ == Stage::kMap && shape_->shard_deadline > Duration::zero() && may_fail(lease) &&
         world_.random().chance(world_.options().faults[Fault::kBodyHangs]);
}

/// Two attempts are left to what goes wrong otherwise, and to a second rank beside this one.
bool SimRank::may_fail(const Lease& lease) const {
  return lease.attempt + 1 < world_.options().attempt_count_max;
}

void SimRank::end_run(std::uint16_t worker_index, std::uint32_t run) {
  SimWorker& worker = workers_[worker_index];
  if (worker.run != run || !worker.running) {
    return;
  }
  worker.running = false;
  const SimOptions& options = world_.options();
  if (worker.batch.empty()) {
    worker.batch.reserve(options.batch_shard_max);
  }
  worker.batch.push_back(worker.lease);
  shape_->make_ready(worker.lease.unit);
  if (stage_ == Stage::kMap && !has_plan_) {
    fail_batch(worker, ErrorCode::kUnavailable);
  } else if (poisoned(worker.lease)) {
    fail_batch(worker, ErrorCode::kUnknown);
  } else if (may_fail(worker.lease) && world_.random().chance(options.faults[Fault::kBodyFails])) {
    world_.count(Fault::kBodyFails);
    fail_batch(worker, ErrorCode::kUnknown);
  } else if (world_.random().chance(options.faults[Fault::kDiscard])) {
    world_.count(Fault::kDiscard);
    give_back_batch(worker);
  } else if (stage_ != Stage::kMap || shape_->map_units().ordered() ||
             worker.batch.size() >= options.batch_shard_max) {
    seal(stage_, std::exchange(worker.batch, {}));
  }
  if (waiting_begin_ == waiting_.size()) {
    put_to_work();
  } else if (!worker.running) {
    run_next(worker);
  }
  say_need();
}

/// The lease that was run last is the bad one.
void SimRank::fail_batch(SimWorker& worker, ErrorCode code) {
  world_.reached("a batch failed");
  machine_->batch_failed({.stage = stage_,
                          .bad_unit = worker.batch.back().unit,
                          .failure = {.code = code, .text = "the body failed"},
                          .batch = std::exchange(worker.batch, {})},
                         now(), effects_);
  carry_out_effects();
}

void SimRank::give_back_batch(SimWorker& worker) {
  world_.reached("a batch was given back");
  machine_->give_back(stage_, std::exchange(worker.batch, {}), now(), effects_);
  carry_out_effects();
}

void SimRank::seal(Stage stage, std::vector<Lease> batch) {
  const BlobHandle output = make_output(stage, batch);
  const std::span<const BlobHandle> inputs =
      output == BlobHandle{} ? inputs_of(batch.front().unit % shape_->partition_count)
                             : std::span<const BlobHandle>();
  if (std::any_of(inputs.begin(), inputs.end(),
                  [this](const BlobHandle& blob) { return world_.store().lost(blob); })) {
    world_.reached("partials could not be read, as their host was lost");
    const bool refused = world_.random().chance(0.5);
    machine_->batch_failed(
        {.stage = stage,
         .bad_unit = batch.front().unit,
         .failure = {.code = refused ? ErrorCode::kUnavailable : ErrorCode::kNotFound,
                     .text = "a partial cannot be read"},
         .batch = std::move(batch)},
        now(), effects_);
    carry_out_effects();
    return;
  }
  if (output == BlobHandle{}) {
    // The step ended while its partials were on their way.
    world_.reached("partials were gone when they were to be merged");
    machine_->give_back(stage, std::move(batch), now(), effects_);
    carry_out_effects();
    return;
  }
  const bool differs = world_.random().chance(world_.options().faults[Fault::kDiffers]);
  if (differs) {
    world_.count(Fault::kDiffers);
  }
  protocol::Report report{
      .step = step_, .stage = stage, .report = ++report_count_, .output = output};
  if (stage == Stage::kMap) {
    for (const std::uint64_t shard : world_.store().content_of(output).shards) {
      report.input_bytes += shape_->shard_bytes[shard];
    }
  }
  report.digest = differs ? world_.random().next() | 1U : digest_of(batch);
  report.batch = std::move(batch);
  world_.post_report(*this, world_.random().between(Duration::zero(), Duration(2ms)),
                     std::move(report));
}

void SimRank::hand_in(protocol::Report&& report) {
  if (step_ != report.step || machine_ == nullptr) {
    world_.reached("a batch was sealed in vain");
    return;
  }
  unsettled_.emplace_back(report.report, report.output);
  if (world_.options().driver_mutations.release_before_accept) {
    world_.expect(world_.store().release(report.output).empty(), "an output was released before");
  }
  machine_->batch_sealed(std::move(report), now(), effects_);
  carry_out_effects();
}

std::uint32_t SimRank::host() const {
  return world_.host_of(rank_);
}

bool SimRank::holds_poison(const Lease& lease) const {
  const protocol::MapUnits::ShardSpan shards = shape_->map_units().shards_of(lease.unit);
  return shards.begin <= *shape_->poison && *shape_->poison < shards.end;
}

std::vector<std::uint32_t> SimRank::shards_of(const std::vector<Lease>& batch) const {
  std::vector<std::uint32_t> shards;
  const protocol::MapUnits units = shape_->map_units();
  shards.reserve(batch.size() * units.shards_per_unit());
  for (const Lease& lease : batch) {
    if (!units.ordered() && lease.unit < units.shard_count) {
      shards.push_back(static_cast<std::uint32_t>(lease.unit));
      continue;
    }
    const protocol::MapUnits::ShardSpan span = units.shards_of(lease.unit);
    for (std::uint64_t shard = span.begin; shard < span.end; ++shard) {
      shards.push_back(static_cast<std::uint32_t>(shard));
    }
  }
  return shards;
}

void SimRank::schedule_tick() {
  const Instant deadline = machine_ == nullptr ? Instant::max() : machine_->next_deadline();
  if (deadline < timer_set_for_) {
    set_timer(deadline);
  }
}

void SimRank::set_timer(Instant local) {
  timer_set_for_ = local;
  const Duration delay =
      std::max(world_.clock(rank_).world(local) - world_.now(), Duration::zero());
  world_.post(*this, delay, {.payload = ++timer_, .kind = EventKind::kRankTick});
  if (world_.options().driver_mutations.double_timer) {
    world_.post(*this, delay, {.payload = timer_, .kind = EventKind::kRankTick});
  }
}

void SimRank::tick(std::uint32_t timer) {
  if (timer != timer_ && !world_.options().driver_mutations.double_timer) {
    return;
  }
  timer_set_for_ = Instant::max();
  if (machine_ != nullptr) {
    machine_->tick(now(), effects_);
    carry_out_effects();
  }
}

bool SimRank::drain() {
  if (machine_ == nullptr) {
    return false;
  }
  machine_->drain("the node is wanted", now(), effects_);
  draining_ = true;
  unit_count_left_ = 0;
  carry_out_effects();
  put_to_work();
  return true;
}

Instant SimRank::now() const {
  return world_.clock(rank_).local(world_.now());
}

}  // namespace pinion::sim
