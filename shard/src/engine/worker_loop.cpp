#include "engine/worker_loop.hpp"

#include <algorithm>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include <pinion/core/assert.hpp>
#include <pinion/shard/key_hash.hpp>
#include <pinion/shard/zeroed_pages.hpp>

#include "engine/batch_bytes.hpp"

namespace pinion::engine {
namespace {

using protocol::Failure;
using protocol::Lease;
using protocol::MapUnits;
using protocol::Stage;

// What a body without an aggregator gets.
class NoState final : public IAggregator {
 public:
  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override {
    return std::make_unique<NoState>();
  }
  void accumulate(const Part&) override {
    throw std::logic_error("emitted into a step without aggregator");
  }
  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>>) override {
    return Status(ErrorCode::kFailedPrecondition, "a step without aggregator has nothing to merge");
  }
  void finalize() override {}
  [[nodiscard]] Result<Blob> seal(IBlobStore&, Place, std::uint32_t) override { return Blob(); }
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override { return 0; }
};

Failure to_failure(const Status& status) {
  return {status.code(), std::string(status.message())};
}

// Half of the budget is for input: a worker holds one shard, one that feeds a device several. The
// budget of all ranks together is
// half of the memory that may be used, and a larger input than that memory does not stay in the
// page cache whatever we do.
ShardReaderOptions reader_options(const StepWork& work, Place place) {
  IJobContext& job = work.job;
  const std::uint64_t budget_bytes = job.memory().budget_bytes();
  std::size_t shard_count = job.executor().worker_count();
  if (work.devices != nullptr) {
    shard_count += work.devices->devices().size() * work.devices->depth();
  }
  return {.shard_bytes_max = budget_bytes / 2 / shard_count,
          .page_cache_bytes_max = budget_bytes * 2 * job.info().rank_count,
          .pages = {.pool = &job.pages(), .use = MemoryUse::kInput, .place = place}};
}

// The failure that `function` ends in, whichever way; kOk when it does not. States take their
// memory from `pages` meanwhile.
template <class Function>
Failure guarded(const PageSource& pages, Function function) {
  const PageScope scope(pages);
  try {
    Failure failure = function();
    // A body that has caught the refusal goes on without what it emitted.
    return failure.code == ErrorCode::kOk ? to_failure(scope.refusal()) : failure;
  } catch (const StateRefused& refused) {
    return to_failure(refused.status());
  } catch (const ShardError& error) {
    return to_failure(error.status());
  } catch (const std::bad_alloc&) {
    return {ErrorCode::kResourceExhausted, "out of memory"};
  } catch (const std::exception& error) {
    return {ErrorCode::kUnknown, error.what()};
  } catch (...) {
    return {ErrorCode::kUnknown, "threw something that is not a std::exception"};
  }
}

}  // namespace

WorkerLoop::WorkerLoop(const StepWork& work, StepBoard& board, Place place)
    : work_(work),
      board_(board),
      place_(place),
      worker_(work.job.executor().current_worker()),
      state_pages_({.pool = &work.job.pages(), .use = MemoryUse::kState, .place = place}),
      batch_bytes_(batch_bytes_of(work.job)),
      reader_(reader_options(work, place)) {
  board_.memory_turns().add(reader_);
}

WorkerLoop::~WorkerLoop() {
  board_.memory_turns().remove(reader_);
}

WorkerLoop::WorkerLoop(const StepWork& work, StepBoard& board, Place place, std::size_t device)
    : WorkerLoop(work, board, place) {
  // NOLINTNEXTLINE(*-prefer-member-initializer): a constructor that delegates has none.
  worker_ = work.devices->trace_row(device);
  feed_.emplace(FeedWork{.devices = *work.devices,
                         .device = device,
                         .kernel = work.spec.device->kernel,
                         .job_seed = work.job.info().seed,
                         .reader = reader_options(work, place)});
}

void WorkerLoop::run() {
  while (!feed_ || !feed_->is_lost()) {
    // With units on the device there is always something to do: what comes back from it.
    const Instant deadline = has_units_on_device() ? clock_.now() : batch_.deadline;
    const Next next = board_.next(batch_.leases, deadline, std::exchange(last_unit_, {}),
                                  feed_ ? feed_->device() : kWorkers);
    switch (next.step) {
      case NextStep::kRunUnit:
        run_unit(next);
        break;
      case NextStep::kSealBatch:
        if (has_units_on_device()) {
          static_cast<void>(land());
        } else {
          seal_batch();
        }
        break;
      case NextStep::kDropBatch:
        drop_batch();
        break;
      case NextStep::kEnd:
        return;
    }
  }
  leave_device();
}

void WorkerLoop::run_unit(const Next& next) {
  const Instant begin = clock_.now();
  waited_ = {};
  if (next.stage == Stage::kMap) {
    plan_ = next.plan;
    feed_ ? put_on_device(next.lease) : map(next.lease);
  } else {
    merge(next.stage, next.lease, *next.partials);
  }
  if (!feed_) {
    last_unit_ = std::max(clock_.now() - begin - waited_, Duration(1));
  }
}

void WorkerLoop::map(const Lease& lease) {
  // A shard that failed before works alone, so that it cannot spoil its neighbours again.
  const bool alone = work_.map_units.ordered() || lease.attempt > 1;
  if (alone && !batch_.leases.empty()) {
    seal_batch();
  }
  batch_.leases.push_back(lease);
  const MapUnits::ShardSpan shards = work_.map_units.shards_of(lease.unit);
  PINION_ASSERT(shards.count() > 0);
  for (std::uint64_t shard = shards.begin; shard < shards.end; ++shard) {
    if (shard > shards.begin && !board_.is_wanted(lease)) {
      drop_batch();
      return;
    }
    const Instant begin = clock_.now() - waited_;
    Failure failure = run_body(shard, lease);
    if (work_.devices != nullptr) {
      const bool done = failure.code == ErrorCode::kOk;
      const Duration time = clock_.now() - waited_ - begin;
      board_.measured(lease, done ? std::max(time, Duration(1)) : Duration());
    }
    if (failure.code == ErrorCode::kCancelled && !board_.is_wanted(lease)) {
      drop_batch();
      return;
    }
    if (failure.code == ErrorCode::kOk && shard + 1 < shards.end) {
      failure = check_room(shard);
    }
    if (failure.code != ErrorCode::kOk) {
      std::vector<Lease> leases = std::exchange(batch_, {}).leases;
      fail(Stage::kMap, lease.unit, std::move(failure), std::move(leases));
      return;
    }
  }
  if (alone || is_full()) {
    seal_batch();
  }
}

// Where a batch ends must not depend on how much memory there is, so one that is too large fails.
Failure WorkerLoop::check_room(std::uint64_t last_shard) const {
  const std::uint64_t room = work_.job.info().batch_bytes;
  const std::uint64_t held = batch_.state->memory_bytes();
  if (held < room) {
    return {};
  }
  return {ErrorCode::kResourceExhausted,
          "an ordered batch holds " + std::to_string(held) + " bytes after shard " +
              std::to_string(last_shard) + ", batch-bytes is " + std::to_string(room) +
              ", and its last shard is still to come; put fewer shards in a batch, as in "
              "ordered(1), make shards smaller, or raise batch-bytes"};
}

Failure WorkerLoop::run_body(std::uint64_t shard, const Lease& lease) {
  return named(guarded(state_pages_, [&] { return load_and_run(shard, lease); }), shard);
}

// With the words for what failed; success stays success.
Failure WorkerLoop::named(Failure failure, std::uint64_t shard) const {
  if (failure.code != ErrorCode::kOk) {
    const std::string name =
        *plan_ ? describe_shard(**plan_, shard) : "shard " + std::to_string(shard);
    failure.text = name + " on rank " + std::to_string(work_.job.info().rank) + ": " + failure.text;
  }
  return failure;
}

// What does not fit beside the shards of other workers may fit alone.
Failure WorkerLoop::load_and_run(std::uint64_t id, const Lease& lease) {
  if (!*plan_) {
    return to_failure(plan_->error());
  }
  open_batch();
  const auto load = [&] { return reader_.load(**plan_, id, lease.attempt, work_.job.info().seed); };
  {
    const auto together = board_.memory_turns().together();
    const Instant begin = clock_.now();
    const Result<Shard> shard = load();
    if (shard || !reader_.lacked_memory()) {
      return run_loaded(shard, begin);
    }
  }
  const Instant refused = clock_.now();
  const auto alone = board_.memory_turns().alone();
  const Instant begin = clock_.now();
  waited_ += begin - refused;
  if (!board_.is_wanted(lease)) {
    return {ErrorCode::kCancelled, "it was done while it waited for memory"};
  }
  return run_loaded(load(), begin);
}

Failure WorkerLoop::run_loaded(const Result<Shard>& shard, Instant begin) {
  if (!shard) {
    return to_failure(shard.error());
  }
  work_.spec.body(*shard, *batch_.state);
  if ((*plan_)->listing.kind() == InputKind::kBytes) {
    batch_.input_bytes += shard->end() - shard->begin();
  }
  trace("shard", shard->id(), begin);
  return {};
}

void WorkerLoop::open_batch() {
  if (batch_.state == nullptr) {
    const IAggregator* prototype = work_.spec.prototype;
    batch_.state = prototype != nullptr ? prototype->fresh() : std::make_unique<NoState>();
    batch_.deadline = clock_.now() + work_.job.info().batch_duration;
  }
}

bool WorkerLoop::is_full() const {
  return batch_.leases.size() >= work_.batch_shard_count ||
         batch_.state->memory_bytes() >= batch_bytes_ || clock_.now() >= batch_.deadline;
}

void WorkerLoop::seal_batch() {
  Batch batch = std::exchange(batch_, {});
  const std::uint64_t first_unit = batch.leases.front().unit;
  const std::uint64_t first_shard = work_.map_units.shards_of(first_unit).begin;
  Blob output;
  if (work_.partition_count > 0) {
    Result<Blob> sealed = seal(*batch.state, work_.partition_count, first_shard);
    if (!sealed) {
      const Status error = std::move(sealed).error().with_context(
          "sealing the batch of shard " + std::to_string(first_shard) + " on rank " +
          std::to_string(work_.job.info().rank));
      fail(Stage::kMap, first_unit, to_failure(error), std::move(batch.leases));
      return;
    }
    output = std::move(*sealed);
  }
  report(Stage::kMap, std::move(batch.leases), batch.input_bytes, std::move(output));
}

void WorkerLoop::drop_batch() {
  discard_device_units();
  const Batch batch = std::exchange(batch_, {});
  board_.finish(protocol::GiveBack{
      .step = work_.step, .stage = Stage::kMap, .leases = board_.still_ours(batch.leases)});
}

void WorkerLoop::put_on_device(const Lease& lease) {
  while (feed_->is_full()) {
    static_cast<void>(land());  // A batch that fails with that unit is gone, and a new one begins.
  }
  batch_.leases.push_back(lease);
  const Failure failure = named(guarded(state_pages_,
                                        [&] {
                                          open_batch();
                                          return to_failure(feed_->start(lease, plan_));
                                        }),
                                lease.unit);
  if (failure.code != ErrorCode::kOk) {
    board_.landed(lease, Duration(1), Duration());
    discard_device_units();
    fail(Stage::kMap, lease.unit, failure, std::exchange(batch_, {}).leases);
    return;
  }
  if (is_full() && land_all()) {
    seal_batch();
  }
}

bool WorkerLoop::land_all() {
  while (!feed_->is_empty()) {
    if (!land()) {
      return false;
    }
  }
  return true;
}

bool WorkerLoop::land() {
  const LandedUnit unit = feed_->land();
  plan_ = unit.plan;
  const Failure failure =
      named(guarded(state_pages_, [&] { return finish(unit); }), unit.lease.unit);
  const bool done = failure.code == ErrorCode::kOk && unit.status.ok();
  board_.landed(unit.lease, unit.on_device, done ? unit.busy : Duration());
  if (failure.code != ErrorCode::kOk) {
    discard_device_units();
    fail(Stage::kMap, unit.lease.unit, failure, std::exchange(batch_, {}).leases);
    return false;
  }
  batch_.input_bytes += unit.shard.end() - unit.shard.begin();
  trace("shard", unit.lease.unit, unit.begun);
  return true;
}

// What the device has not done is done here, as its bytes are at hand.
Failure WorkerLoop::finish(const LandedUnit& unit) {
  if (!unit.status.ok()) {
    if (feed_->is_lost()) {
      std::vector<std::uint64_t> units = feed_->undone();
      units.insert(units.begin(), unit.lease.unit);
      lose_device(unit.status, units);
    }
    work_.spec.body(unit.shard, *batch_.state);
    return {};
  }
  for (const DevicePiece& piece : unit.pieces) {
    work_.spec.device->finish(unit.shard, piece, *batch_.state);
  }
  return {};
}

void WorkerLoop::discard_device_units() {
  if (feed_) {
    feed_->cancel();
  }
  while (has_units_on_device()) {
    const LandedUnit unit = feed_->land();
    board_.landed(unit.lease, unit.on_device, Duration());
  }
}

// The device is lost: what was on it ends here, and this worker's part in the step.
void WorkerLoop::leave_device() {
  const Result<DeviceBuffer> refused = work_.devices->devices()[feed_->device()]->allocate(1);
  PINION_ASSERT(!refused);
  lose_device(refused.error(), feed_->undone());
  board_.retire(feed_->device());
  if (land_all() && !batch_.leases.empty()) {
    seal_batch();
  }
}

// This process may end here, and is the last to know which bytes the device had.
void WorkerLoop::lose_device(Status error, const std::vector<std::uint64_t>& units) {
  if (!units.empty() && *plan_) {
    error = std::move(error).with_context("with " + describe_shards(**plan_, units) + " on it");
  }
  work_.devices->lose(feed_->device(), error);
}

// Of all partials of the step, or of those that this host combines.
void WorkerLoop::merge(Stage stage, const Lease& lease, const Partials& partials) {
  const Instant begin = clock_.now();
  const auto partition = static_cast<std::uint32_t>(lease.unit % work_.partition_count);
  const bool is_last = stage == Stage::kMerge;
  Blob output;
  Failure failure = try_merge(stage, partition, partials, output);
  if (failure.code != ErrorCode::kOk) {
    failure.text = (is_last ? "merging partition " : "combining partition ") +
                   std::to_string(partition) + " on rank " + std::to_string(work_.job.info().rank) +
                   ": " + failure.text;
    fail(stage, lease.unit, std::move(failure), {lease});
    return;
  }
  trace(is_last ? "merge" : "combine", partition, begin);
  report(stage, {lease}, 0, std::move(output));
}

// What does not fit beside the merges of other workers may fit alone.
Failure WorkerLoop::try_merge(Stage stage, std::uint32_t partition, const Partials& partials,
                              Blob& output) {
  const auto merge_once = [&] {
    return guarded(state_pages_, [&]() -> Failure {
      if (!partials) {
        return to_failure(partials.error());
      }
      Result<Blob> merged = merge_partition(stage, partition, *partials);
      if (!merged) {
        return to_failure(merged.error());
      }
      output = std::move(*merged);
      return {};
    });
  };
  {
    const auto together = board_.memory_turns().together();
    Failure failure = merge_once();
    if (failure.code != ErrorCode::kResourceExhausted) {
      return failure;
    }
  }
  const auto alone = board_.memory_turns().alone();
  if (partials) {
    partials->forget_expected();
  }
  return merge_once();
}

Result<Blob> WorkerLoop::merge_partition(Stage stage, std::uint32_t partition,
                                         const OpenedPartials& partials) {
  if (work_.spec.prototype == nullptr) {
    return Status(ErrorCode::kInternal, "a step without aggregator was asked to merge");
  }
  // Until the state is sealed, which may have views of them.
  const Result<std::vector<Blob>> blobs = partials.partition(partition);
  if (!blobs) {
    return blobs.error();
  }
  std::vector<std::span<const std::byte>> parts;
  parts.reserve(blobs->size());
  for (const Blob& blob : *blobs) {
    parts.push_back(blob.bytes());
  }
  const std::unique_ptr<IAggregator> state = work_.spec.prototype->fresh();
  PINION_RETURN_IF_ERROR(state->merge(parts));
  if (stage == Stage::kMerge) {
    state->finalize();
  }
  return seal(*state, 1, partition);
}

Result<Blob> WorkerLoop::seal(IAggregator& state, std::uint32_t partition_count, std::uint64_t id) {
  const Instant begin = clock_.now();
  Blob blob;
  const Failure failure = guarded(state_pages_, [&]() -> Failure {
    Result<Blob> sealed = state.seal(work_.job.store(), place_, partition_count);
    if (!sealed) {
      return to_failure(sealed.error());
    }
    blob = std::move(*sealed);
    return {};
  });
  if (failure.code != ErrorCode::kOk) {
    return Status(failure.code, failure.text);
  }
  trace("seal", id, begin);
  return blob;
}

void WorkerLoop::report(Stage stage, std::vector<Lease> leases, std::uint64_t input_bytes,
                        Blob output) {
  SealedBatch sealed;
  sealed.report.step = work_.step;
  sealed.report.stage = stage;
  sealed.report.output = output.handle();
  if (work_.job.info().rank_count > 1) {
    sealed.report.digest = hash_bytes(output.bytes());
  }
  sealed.report.input_bytes = input_bytes;
  sealed.report.batch = std::move(leases);
  sealed.output = std::move(output);
  board_.finish(std::move(sealed));
}

void WorkerLoop::fail(Stage stage, std::uint64_t bad_unit, Failure failure,
                      std::vector<Lease> leases) {
  board_.finish(protocol::BatchFailed{.step = work_.step,
                                      .stage = stage,
                                      .bad_unit = bad_unit,
                                      .failure = std::move(failure),
                                      .batch = std::move(leases)});
}

void WorkerLoop::trace(const char* name, std::uint64_t id, Instant begin) {
  Trace& trace = work_.job.trace();
  if (trace.enabled()) {
    trace.record(worker_, {name, id, begin, clock_.now(), place_});
  }
}

}  // namespace pinion::engine
