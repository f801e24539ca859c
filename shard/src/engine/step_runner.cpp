#include "engine/step_runner.hpp"

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <pinion/shard/key_hash.hpp>
#include <pinion/shard/protocol/wire.hpp>

#include "engine/plan.hpp"
#include "engine/step_planning.hpp"

namespace pinion::engine {
namespace {

std::uint32_t batch_shard_count(const JobInfo& info) {
  return static_cast<std::uint32_t>(std::clamp<std::size_t>(info.batch_shard_count, 1, 1u << 16));
}

// For each worker a batch that it fills, and one that waits, so that it need not wait for a grant;
// where grants are shared out, three, if units are so short that they are gone at once.
constexpr std::uint32_t kLoneBatchesAhead = 1;
constexpr std::uint32_t kBatchesAheadMax = 3;

// For how long a worker has units ahead, while others may have nothing to do: long beside the time
// that a claim takes to be answered. Of units that take more than twice as long none waits.
constexpr Duration kAhead = std::chrono::milliseconds(20);

// What of other hosts is brought here before it is merged may have such a part of the memory.
constexpr std::uint64_t kExpectedShare = 8;

// Units that wait for each worker before it is known how long they take.
constexpr std::uint32_t kFirstAhead = 1;

// The devices that do shards of the step, if any. What a kernel adds up has no order, and what it
// gets are bytes.
IShardDevices* devices_for(IJobContext& job, const StepSpec& spec) {
  const bool has_kernel = spec.device && spec.input.kind == InputKind::kBytes &&
                          !spec.input.are_partitions && !spec.partitioning.is_ordered;
  return has_kernel ? job.devices() : nullptr;
}

std::uint32_t worker_count(IJobContext& job, const IShardDevices* devices) {
  const std::size_t feeders = devices != nullptr ? devices->devices().size() : 0;
  return static_cast<std::uint32_t>(job.executor().worker_count() + feeders);
}

// The leases of all batches that the workers fill.
std::uint32_t open_lease_count(IJobContext& job, const StepSpec& spec,
                               const IShardDevices* devices) {
  const std::uint32_t batch_lease_count =
      spec.partitioning.is_ordered ? 1 : batch_shard_count(job.info());
  return batch_lease_count * worker_count(job, devices);
}

std::uint32_t lease_count_max(IJobContext& job, const StepSpec& spec,
                              const IShardDevices* devices) {
  const std::uint32_t ahead = job.info().rank_count > 1 ? kBatchesAheadMax : kLoneBatchesAhead;
  return (1 + ahead) * open_lease_count(job, spec, devices);
}

Result<StepPlan> open_plan(IBlobStore& store, const BlobHandle& handle) {
  const Result<Blob> blob = store.open(handle);
  if (!blob) {
    return Status(blob.error()).with_context("opening the step's plan");
  }
  return decode(blob->bytes(), store);
}

// Whether that is how it looks when the host of the blob is lost.
bool is_out_of_reach(const JobInfo& info, const BlobHandle& blob, ErrorCode code) {
  return blob.host != info.host &&
         (code == ErrorCode::kUnavailable || code == ErrorCode::kNotFound);
}

// What the coordinator is told about a process once, at its first step.
std::optional<protocol::Register> registration_of(IJobContext& job, std::uint64_t step) {
  if (step != 1) {
    return std::nullopt;
  }
  const JobInfo& info = job.info();
  protocol::Register registration = {
      .process = {.high = info.job,
                  .low = std::uint64_t{info.rank} << 32 | std::uint64_t{info.incarnation}},
      .protocol_version = protocol::kProtocolVersion,
      .capacities = {.cpu_count = static_cast<std::uint32_t>(job.executor().worker_count()),
                     .memory_bytes = job.memory().budget_bytes()}};
  std::vector<std::uint64_t> placement;
  for (const auto& [place, worker_count] : workers_of(job.executor())) {
    const bool is_device = place.kind == PlaceKind::kDevice;
    registration.capacities.gpu_count += is_device ? 1 : 0;
    registration.places.push_back(place);
    registration.worker_counts.push_back(worker_count);
    placement.insert(placement.end(), {std::uint64_t{place.host}, std::uint64_t{place.index},
                                       std::uint64_t{is_device}, std::uint64_t{worker_count}});
  }
  registration.topology_digest = hash_bytes(std::as_bytes(std::span(placement)));
  return registration;
}

}  // namespace

StepRunner::StepRunner(IJobContext& job, const StepSpec& spec)
    : job_(job),
      spec_(spec),
      step_(job.begin_step()),
      devices_(devices_for(job, spec)),
      machine_({.lease_count_max = lease_count_max(job, spec, devices_),
                .registration = registration_of(job, step_)},
               {.step = step_, .fingerprint = spec.fingerprint, .description = spec.description}),
      board_(job.control()) {}

StepRunner::~StepRunner() {
  board_.end();
}

Result<StepOutcome> StepRunner::run() {
  machine_.start(clock_.now(), effects_);
  say_need();  // Before the first claim.
  carry_out_effects();
  while (!finished_ && broken_.ok()) {
    broken_ = await_event();
    carry_out_effects();
  }
  board_.end();
  if (!finished_) {
    return std::move(broken_).with_context("step " + std::to_string(step_));
  }
  return outcome();
}

Status StepRunner::await_event() {
  Result<std::vector<std::byte>> message = job_.control().receive(machine_.next_deadline());
  if (!message) {
    return std::move(message).error();
  }
  if (!message->empty()) {
    PINION_RETURN_IF_ERROR(take_message(*message));
  }
  take_finished();
  if (const Instant now = clock_.now(); now >= machine_.next_deadline()) {
    machine_.tick(now, effects_);
  }
  say_need();
  return {};
}

// A rank that has the job to itself takes what it can.
void StepRunner::say_need() {
  if (job_.info().rank_count == 1) {
    return;
  }
  // As many as can be under way at once.
  auto workers = static_cast<std::uint32_t>(job_.executor().worker_count());
  if (devices_ != nullptr) {
    workers += static_cast<std::uint32_t>(devices_->devices().size() * devices_->depth());
  }
  const std::uint32_t most = kBatchesAheadMax * open_lease_count(job_, spec_, devices_);
  std::uint32_t ahead = std::min(most, kFirstAhead * workers);
  if (const Duration unit = board_.unit_duration(); unit > Duration::zero()) {
    ahead = static_cast<std::uint32_t>(
        std::min<std::int64_t>(most, (workers * kAhead + unit / 2) / unit));
  }
  const std::uint32_t least = ahead == 0 ? workers - 1 : workers + ahead / 2;
  const auto unfinished = static_cast<std::uint32_t>(board_.unfinished_count(least));
  machine_.need(unfinished, {.least_count = least, .wanted_count = workers + ahead}, clock_.now(),
                effects_);
}

Status StepRunner::take_message(std::span<const std::byte> bytes) {
  const Result<protocol::Decoded> decoded = protocol::decode(bytes);
  if (!decoded) {
    return Status(decoded.error()).with_context("a message of the coordinator");
  }
  const JobInfo& info = job_.info();
  const protocol::Envelope expected = {info.job, info.epoch, info.rank, info.incarnation};
  if (decoded->envelope == expected) {
    machine_.receive(decoded->message, clock_.now(), effects_);
  }
  return {};
}

void StepRunner::take_finished() {
  for (Finished& finished : board_.take_finished()) {
    const Instant now = clock_.now();
    if (auto* sealed = std::get_if<SealedBatch>(&finished)) {
      sealed->report.report = ++last_report_;
      reported_.emplace(last_report_, Reported{.output = std::move(sealed->output),
                                               .first_unit = sealed->report.batch.front().unit});
      machine_.batch_sealed(std::move(sealed->report), now, effects_);
    } else if (auto* failed = std::get_if<protocol::BatchFailed>(&finished)) {
      machine_.batch_failed(std::move(*failed), now, effects_);
    } else if (auto& returned = std::get<protocol::GiveBack>(finished); !returned.leases.empty()) {
      machine_.give_back(returned.stage, std::move(returned.leases), now, effects_);
    }
  }
}

void StepRunner::carry_out_effects() {
  // Carrying out one may ask for more, which come after those that wait.
  while (!effects_.empty() && !finished_ && broken_.ok()) {
    for (const protocol::RankEffect& effect : std::exchange(effects_, {})) {
      std::visit([this](const auto& one) { carry_out(one); }, effect);
    }
  }
}

void StepRunner::carry_out(const protocol::SendMessage& effect) {
  if (!broken_.ok()) {
    return;
  }
  const JobInfo& info = job_.info();
  const protocol::Envelope envelope = {info.job, info.epoch, info.rank, info.incarnation};
  broken_ = job_.control().send(protocol::encode(envelope, effect.message));
}

void StepRunner::carry_out(const protocol::StartPlanning& effect) {
  // What the planner has read, standard input above all, cannot be read again by all.
  const bool has_plan = plan_ != nullptr && plan_->has_value();
  Result<SealedPlan> plan = has_plan ? seal_plan(job_, spec_, step_, **plan_)
                                     : make_plan(job_, spec_, step_, effect.workers);
  if (!plan) {
    machine_.plan_failed({plan.error().code(), std::string(plan.error().message())}, clock_.now(),
                         effects_);
    return;
  }
  sealed_plan_ = std::move(*plan);
  machine_.plan_ready(sealed_plan_->message, clock_.now(), effects_);
}

void StepRunner::carry_out(const protocol::UsePlan& effect) {
  if (plan_ == nullptr || !plan_->has_value()) {
    plan_ = std::make_shared<const OpenedPlan>(open_plan(job_.store(), effect.started.plan));
    board_.use_plan(plan_);
  }
  if (work_) {
    return;
  }
  work_.emplace(
      StepWork{.job = job_,
               .spec = spec_,
               .step = step_,
               .partition_count = effect.started.partition_count,
               .map_units = {.shard_count = effect.started.shard_count,
                             .ordered_batch_shard_count = effect.started.ordered_batch_shard_count},
               .batch_shard_count = batch_shard_count(job_.info()),
               .devices = plan_->has_value() ? devices_ : nullptr});
  start_workers();
  if (work_->devices != nullptr && broken_.ok()) {
    start_feeders();
  }
}

void StepRunner::start_feeders() {
  const std::span<IDevice* const> devices = devices_->devices();
  board_.use_devices(
      std::make_unique<UnitPlacement>(devices_->make_policy(), spec_.device->kernel, devices.size(),
                                      job_.executor().worker_count()),
      job_.info().incarnation > 1);
  for (std::size_t i = 0; i < devices.size(); ++i) {
    // One that is lost by now, be it since the last step, is told of and retired by its own loop.
    submit_loop(
        devices_->feeders(), devices[i]->info().place,
        [this, i, near = place_near(*devices[i])] { WorkerLoop(*work_, board_, near, i).run(); });
  }
}

// Where a worker that feeds the device has its memory: as near as the workers of this rank are.
Place StepRunner::place_near(const IDevice& device) const {
  const std::vector<WorkerGroup> groups = job_.executor().groups();
  const auto near = std::find_if(groups.begin(), groups.end(), [&](const WorkerGroup& group) {
    return group.place == device.info().near_memory;
  });
  return near != groups.end() ? near->place : groups.front().place;
}

void StepRunner::start_workers() {
  for (const WorkerGroup& group : job_.executor().groups()) {
    for (std::size_t i = 0; i < group.worker_count; ++i) {
      submit_loop(job_.executor(), group.place,
                  [this, place = group.place] { WorkerLoop(*work_, board_, place).run(); });
    }
  }
}

template <class Loop>
void StepRunner::submit_loop(Executor& executor, Place place, Loop loop) {
  if (!broken_.ok()) {
    return;
  }
  board_.loop_submitted();
  Status status = executor.submit(place, [this, loop] {
    loop();  // Everything of it is gone before the board may be.
    board_.loop_ended();
  });
  if (!status.ok()) {
    board_.loop_ended();
    broken_ = std::move(status);
  }
}

void StepRunner::carry_out(const protocol::UsePartials& effect) {
  Partials partials =
      OpenedPartials::open({.store = job_.store(),
                            .host = job_.info().host,
                            .epoch = job_.info().epoch,
                            .expected_bytes_max = job_.memory().budget_bytes() / kExpectedShare},
                           effect.inputs, work_ ? work_->partition_count : 0);
  partials_ = std::make_shared<const Partials>(
      partials ? std::move(partials)
               : std::move(partials).error().with_context("opening a partial of the step"));
  board_.use_partials(partials_);
}

void StepRunner::carry_out(const protocol::RunLeases& effect) {
  if (effect.stage == protocol::Stage::kMerge && partials_ != nullptr && partials_->has_value()) {
    for (const protocol::Lease& lease : effect.leases) {
      (*partials_)->expect(static_cast<std::uint32_t>(lease.unit));
    }
  }
  board_.add_units(effect.stage, effect.leases, effect.unit_count_left);
}

void StepRunner::carry_out(const protocol::DropLeases& effect) {
  board_.drop(effect.stage, effect.leases);
}

void StepRunner::carry_out(const protocol::BatchSettled& effect) {
  const auto settled = reported_.extract(effect.report);
  if (!settled.empty() && effect.stage == protocol::Stage::kMerge &&
      effect.failure.code == ErrorCode::kOk && spec_.on_merged) {
    spec_.on_merged(static_cast<std::uint32_t>(settled.mapped().first_unit));
  }
}

void StepRunner::carry_out(const protocol::NameSkipped& effect) {
  const std::string name = name_beside(effect.shard, effect.failure.text);
  if (!name.empty()) {
    machine_.observe("what step " + std::to_string(step_) + " goes on without is or begins with " +
                     name);
    machine_.tick(clock_.now(), effects_);
  }
}

void StepRunner::carry_out(const protocol::StepFinished& effect) {
  finished_ = effect;
}

// The shard with its input. Empty where that is not known, or `text` says it, as it does where a
// body failed.
std::string StepRunner::name_beside(std::uint64_t shard, const std::string& text) const {
  if (plan_ == nullptr || !plan_->has_value()) {
    return "";
  }
  std::string name = describe_shard(**plan_, shard);
  return text.find(name) == std::string::npos ? name : "";
}

Result<std::vector<Blob>> StepRunner::open_result() const {
  std::vector<Blob> blobs;
  blobs.reserve(finished_->done.partitions.size());
  for (const BlobHandle& partition : finished_->done.partitions) {
    Result<Blob> blob = job_.store().open(partition);
    if (!blob) {
      return why_not_opened(partition, std::move(blob).error());
    }
    blobs.push_back(std::move(*blob));
  }
  return blobs;
}

// A step that is done is not run again: what lay on a lost host is lost for good.
Status StepRunner::why_not_opened(const BlobHandle& partition, Status error) const {
  const std::string step = "step " + std::to_string(step_);
  if (!is_out_of_reach(job_.info(), partition, error.code())) {
    return std::move(error).with_context("opening the result of " + step);
  }
  // Without our own agent nothing is known of other hosts.
  if (Result<std::vector<std::byte>> heard = job_.control().receive(Instant::min()); !heard) {
    return std::move(heard).error().with_context(step);
  }
  return Status(ErrorCode::kDataLoss,
                "the result of " + step + " lay on host " + std::to_string(partition.host) +
                    ", which cannot be reached (" + std::string(error.message()) +
                    "); a step that is done is not run again, so run the job again");
}

Result<StepOutcome> StepRunner::outcome() const {
  const protocol::StepFinished& end = *finished_;
  if (end.failure.code != ErrorCode::kOk) {
    const std::string name = end.shard ? name_beside(*end.shard, end.failure.text) : "";
    return Status(end.failure.code,
                  end.failure.text + (name.empty() ? "" : "; it is or begins with " + name));
  }
  Result<std::vector<Blob>> partitions = std::vector<Blob>();
  if (spec_.opens_partitions) {
    partitions = open_result();
  }
  if (!partitions) {
    return std::move(partitions).error();
  }
  return StepOutcome{.handles = end.done.partitions,
                     .partitions = std::move(*partitions),
                     .shard_count = end.done.shard_count,
                     .input_bytes = end.done.input_bytes,
                     .skipped_shard_count = end.done.skipped_shard_count};
}

}  // namespace pinion::engine

namespace pinion {

Result<StepOutcome> run_step(IJobContext& job, const StepSpec& spec) {
  return engine::StepRunner(job, spec).run();
}

}  // namespace pinion
