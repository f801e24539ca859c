#include "run_state.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include <pinion/core/detail/exception_status.hpp>

namespace pinion {
namespace {

// More names than this help nobody; errors() has them all.
constexpr std::size_t kNamedErrorsMax = 8;

constexpr std::align_val_t kValueAlignment{64};

std::string counted(std::uint64_t count, const char* words) {
  return std::to_string(count) + (count == 1 ? " task " : " tasks ") + words;
}

// Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators.
std::uint64_t mix(std::uint64_t bits) noexcept {
  bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ bits >> 27) * 0x94D049BB133111EBu;
  return bits ^ bits >> 31;
}

}  // namespace

RunState::RunState(const Tables& of)
    : counters(std::make_unique<std::atomic<std::uint32_t>[]>(of.task_count())) {
  arm(of);
  if (of.values_size > 0) {
    values.reset(static_cast<std::byte*>(::operator new(of.values_size, kValueAlignment)));
    std::memset(values.get(), 0, of.values_size);
  }
}

void RunState::arm(const Tables& of) noexcept {
  for (std::uint32_t position = 0; position < of.task_count(); ++position) {
    counters[position].store(of.records[position].predecessor_count(), std::memory_order_relaxed);
  }
  needs_arming = false;
}

void RunState::FreeValues::operator()(std::byte* memory) const noexcept {
  ::operator delete(memory, kValueAlignment);
}

Status RunState::begin(std::shared_ptr<Tables> of, Executor& on, const RunOptions& with,
                       RunState* parent) {
  tables = std::move(of);
  executor = &on;
  root = parent != nullptr ? parent : this;
  options = with;
  references.store(1, std::memory_order_relaxed);
  enders.store(1, std::memory_order_relaxed);
  make_lanes();
  PINION_RETURN_IF_ERROR(check_options());
  source.emplace();
  completion = source->completion();
  cancel_source.emplace();
  const bool is_careful = tables->has_limits || tables->has_compensations ||
                          options.trace != nullptr || options.record_states;
  flags.store(is_careful ? kCareful : 0, std::memory_order_relaxed);
  next_root.store(0, std::memory_order_relaxed);
  open_tasks.reset(tables->task_count());
  strands.reset();
  begin_way();
  if (tables->task_count() == 0) {
    finish();
    return {};
  }
  const std::size_t helper_count = way_chosen == RunWay::kSweep ? 1
                                   : way_chosen == RunWay::kWaves
                                       ? waves.slice_count(0)
                                       : std::min(lanes.size(), tables->roots.size());
  for (std::size_t i = 0; i < helper_count; ++i) {
    helper_calls.enter();
    Status status = call_helper(/*wait_if_full=*/i == 0, lanes[i]->place);
    if (!status.ok() && i == 0) {
      return status;
    }
  }
  return {};
}

Status RunState::check_options() const {
  if (tables->needs_timer && options.timer == nullptr) {
    return Status(ErrorCode::kInvalidArgument,
                  "tasks of the graph have a back-off or a limit of time, and the options of the "
                  "run have no timer; set RunOptions::timer");
  }
  if (tables->has_places) {
    for (std::uint32_t position = 0; position < tables->task_count(); ++position) {
      if (place_of(position, 0) == places.size()) {
        return Status(ErrorCode::kInvalidArgument,
                      "'" + tables->name_of(tables->task_of[position]) +
                          "' has a place that the executor has no workers at; name a place of the "
                          "executor's options");
      }
    }
  }
  return {};
}

// One lane a worker, in the order of the workers.
void RunState::make_lanes() {
  places.clear();
  std::size_t count = 0;
  for (const WorkerGroup& group : executor->groups()) {
    for (std::size_t i = 0; i < group.worker_count; ++i, ++count) {
      if (count == lanes.size()) {
        lanes.push_back(std::make_unique<Lane>());
      }
      Lane& lane = *lanes[count];
      lane.door.reset();
      lane.index = static_cast<std::uint32_t>(count);
      lane.place = static_cast<std::uint32_t>(places.size());
      lane.context.run_ = this;
      lane.context.ending_ = &lane.ending;
      lane.context.values_ = values.get();
      lane.part = {};
      lane.chain_next = kNone;
      lane.level = 0;
      lane.units_ended = 0;
      lane.left = lane.tasks_per_look;
      lane.unwell.clear();
    }
    places.push_back(group.place);
  }
  lanes.resize(count);
  if (inbox_count != places.size()) {
    inbox_count = places.size();
    inboxes = std::make_unique<Inbox<>[]>(inbox_count);
  }
}

// The last one arms the state for the next run and puts it where that finds it.
void RunState::drop_reference() noexcept {
  // Pairs with itself: what the others did comes before.
  if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    rearm();
    const std::shared_ptr<Tables> of = std::move(tables);
    of->give_back(std::unique_ptr<RunState>(this));
  }
}

void RunState::rearm() noexcept {
  std::vector<std::unique_ptr<Run>> children;
  {
    const MutexLock lock(mutex);
    children.swap(appended);
    errors.clear();
    compensations.clear();
    compensable.clear();
    begun.clear();
    outcomes_made.store(nullptr, std::memory_order_relaxed);
    outcomes_owner.reset();
    cancelled_made.store(nullptr, std::memory_order_relaxed);
    cancelled_owner.reset();
    // The counters wait for the next run, which may never come.
    if (std::exchange(dropped_count, 0) > 0) {
      take_dropped();
      needs_arming = std::exchange(is_settled, false) ||
                     way.load(std::memory_order_relaxed) == RunWay::kCounting;
    }
  }
  for (const detail::ValueSlot& slot : tables->values) {
    slot.destroy(values.get() + slot.offset);
  }
  for (const std::unique_ptr<Lane>& lane : lanes) {
    lane->skipped_count = 0;
    lane->ending = {};
  }
  completion.reset();
  source.reset();
}

RunProgress RunState::progress() noexcept {
  const std::uint64_t count = tables->task_count();
  RunProgress sum = {.task_count = count,
                     .ended_count = count - open_tasks.count(),
                     .way = way.load(std::memory_order_relaxed)};
  const MutexLock lock(mutex);
  for (const std::unique_ptr<Run>& child : appended) {
    const RunProgress part = child->progress();
    sum.task_count += part.task_count;
    sum.ended_count += part.ended_count;
  }
  return sum;
}

// The same for the same seed, whatever else the run does.
std::uint64_t RunState::draw(std::uint64_t number, std::uint64_t purpose) const noexcept {
  return mix(mix(options.seed + purpose * 0x9E3779B97F4A7C15u) + number * 0x9E3779B97F4A7C15u);
}

Duration RunState::backoff(const RetryPolicy& policy, std::uint32_t position,
                           std::uint32_t attempt_count) const noexcept {
  Duration longest = policy.backoff;
  for (std::uint32_t i = 1; i < attempt_count && longest < policy.backoff_max; ++i) {
    longest = longest > policy.backoff_max / 2 ? policy.backoff_max : 2 * longest;
  }
  longest = std::min(longest, policy.backoff_max);
  const std::uint64_t bits =
      draw(std::uint64_t{tables->task_of[position]} << 32 | attempt_count, kBackoffDraw);
  return Duration(
      static_cast<std::int64_t>(bits % (static_cast<std::uint64_t>(longest.count()) + 1)));
}

// Called once, by whoever closed the run.
void RunState::finish() noexcept {
  dropped_count = open_tasks.drop_rest();
  end_status = final_status();
  note_time();
  if (root == this && !end_status.ok()) {
    return compensate();
  }
  let_end();
}

void RunState::let_end() noexcept {
  // Pairs with itself: the last one sees how the run ended.
  if (enders.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    source->signal(std::move(end_status));
  }
}

Status RunState::final_status() {
  std::uint64_t skipped_count = dropped_count;
  for (const std::unique_ptr<Lane>& lane : lanes) {
    skipped_count += lane->skipped_count;
  }
  const MutexLock lock(mutex);
  if (!errors.empty()) {
    std::string words = counted(errors.size(), "failed");
    for (std::size_t i = 0; i < std::min(errors.size(), kNamedErrorsMax); ++i) {
      words += (i == 0 ? ": '" : "; '") + errors[i].task +
               "': " + std::string(errors[i].status.message());
    }
    if (errors.size() > kNamedErrorsMax) {
      words += "; ...";
    }
    if (skipped_count > 0) {
      words += "; " + counted(skipped_count, "did not begin");
    }
    return Status(errors.front().status.code(), std::move(words));
  }
  if (skipped_count > 0) {
    return Status(ErrorCode::kCancelled,
                  "the run was cancelled; " + counted(skipped_count, "did not begin"));
  }
  return {};
}

// One after the other, the task that ended last first. Goes on later after a back-off.
void RunState::compensate() noexcept {
  for (;;) {
    Compensable next;
    {
      const MutexLock lock(mutex);
      if (compensable.empty()) {
        break;
      }
      next = compensable.back();
    }
    const std::uint32_t task = next.run->tables->task_of[next.position];
    const TaskOptions& of = next.run->tables->options_at(next.position);
    if (!std::exchange(compensates_again, false)) {
      compensations.push_back({.task = {task},
                               .name = next.run->tables->name_of(task),
                               .attempt_id = next.run->draw(task, kAttemptIdDraw)});
    }
    CompensationRecord& record = compensations.back();
    ++record.call_count;
    try {
      record.status = of.compensation({.task = {task}, .attempt_id = record.attempt_id});
    } catch (...) {
      record.status = detail::status_of(std::current_exception());
    }
    if (record.status.ok() || !error_info(record.status.code()).retryable ||
        record.call_count >= of.retry.attempt_count_max) {
      const MutexLock lock(mutex);
      compensable.pop_back();
      continue;
    }
    compensates_again = true;
    const Duration delay = next.run->backoff(of.retry, next.position, record.call_count);
    if (delay > Duration::zero()) {
      return options.timer->call_at(now() + delay, [run = Reference(*this)] {
        if (!run->executor->submit(run->places[0], [run] { run->compensate(); }).ok()) {
          run->compensate();
        }
      });
    }
  }
  let_end();
}

}  // namespace pinion
