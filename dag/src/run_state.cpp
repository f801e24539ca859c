#include "run_state.hpp"

#include <algorithm>
#include <exception>
#include <new>
#include <string>
#include <utility>

namespace pinion {
namespace {

using detail::BodyEnd;

// More names than this help nobody; errors() has them all.
constexpr std::size_t kNamedErrorsMax = 8;

Status status_of(const std::exception_ptr& exception) {
  std::string what = "an exception that is not a std::exception";
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {  // Its words are there already.
  }
  return Status(ErrorCode::kUnknown, std::move(what));
}

std::string counted(std::uint64_t count, const char* words) {
  return std::to_string(count) + (count == 1 ? " task " : " tasks ") + words;
}

}  // namespace

RunState::RunState(const Tables& of)
    : counters(std::make_unique<std::atomic<std::uint32_t>[]>(of.task_count())) {
  for (std::uint32_t position = 0; position < of.task_count(); ++position) {
    counters[position].store(of.records[position].predecessor_count(), std::memory_order_relaxed);
  }
}

Status RunState::begin(std::shared_ptr<Tables> of, Executor& on, const RunOptions& with) {
  tables = std::move(of);
  executor = &on;
  options = with;
  places.clear();
  for (const WorkerGroup& group : on.groups()) {
    places.push_back(group.place);
  }
  while (lanes.size() > on.worker_count()) {
    lanes.pop_back();
  }
  while (lanes.size() < on.worker_count()) {
    lanes.push_back(std::make_unique<Lane>());
    lanes.back()->index = static_cast<std::uint32_t>(lanes.size() - 1);
    lanes.back()->context.run_ = this;
    lanes.back()->context.ending_ = &lanes.back()->ending;
  }
  source.emplace();
  completion = source->completion();
  cancel_source.emplace();
  flags.store(0, std::memory_order_relaxed);
  next_root.store(0, std::memory_order_relaxed);
  references.store(1, std::memory_order_relaxed);
  open_tasks.reset(tables->task_count());
  if (tables->task_count() == 0) {
    finish();
    return {};
  }
  const std::size_t helper_count = std::min(lanes.size(), tables->roots.size());
  for (std::size_t i = 0; i < helper_count; ++i) {
    helper_calls.enter();
    Status status = call_helper(/*wait_if_full=*/i == 0);
    if (!status.ok() && i == 0) {
      return status;
    }
  }
  return {};
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
  const MutexLock lock(mutex);
  errors.clear();
  outcomes_made.store(nullptr, std::memory_order_relaxed);
  outcomes_owner.reset();
  cancelled_made.store(nullptr, std::memory_order_relaxed);
  cancelled_owner.reset();
  for (const std::unique_ptr<Lane>& lane : lanes) {
    lane->skipped_count = 0;
    lane->ending = {};
  }
  completion.reset();
  source.reset();
}

void RunState::cancel() noexcept {
  cancel_source->cancel();
  flags.fetch_or(kCancelled, std::memory_order_relaxed);
}

void RunState::cancel(std::uint32_t position) {
  const MutexLock lock(mutex);
  if (cancelled_owner == nullptr) {
    cancelled_owner = std::make_unique<std::atomic<bool>[]>(tables->task_count());
    cancelled_made.store(cancelled_owner.get(), std::memory_order_release);
  }
  cancelled_owner[position].store(true, std::memory_order_relaxed);
  flags.fetch_or(kSomeCancelled, std::memory_order_release);  // Pairs with begin_rare().
}

// Runs the task, unless something forbids it.
BodyEnd RunState::begin_rare(Lane& lane, TaskRecord& record, std::uint32_t entry) noexcept {
  const std::uint32_t position = entry & ~kMark;
  // Pairs with cancel(): who sees the bit sees the list.
  const std::uint32_t why = flags.load(std::memory_order_acquire);
  TaskState state = TaskState::kCancelled;
  if (entry != position) {
    state = TaskState::kSkipped;
  } else if ((why & kCancelled) == 0 &&
             ((why & kSomeCancelled) == 0 ||
              !cancelled_made.load(std::memory_order_relaxed)[position].load(
                  std::memory_order_relaxed))) {
    return run_task(lane, record, position);
  }
  outcomes().states[position].store(state, std::memory_order_relaxed);
  ++lane.skipped_count;
  return BodyEnd::kSkipped;
}

void RunState::end_rare(Lane& lane, std::uint32_t position, BodyEnd end) noexcept {
  if (end == BodyEnd::kFailed) {
    fail(position, std::exchange(lane.ending, {}));
  }
  skip_successors(lane, position);
}

void RunState::fail(std::uint32_t position, Ending ending) noexcept {
  if (ending.exception != nullptr) {
    ending.status = status_of(ending.exception);
  }
  outcomes().states[position].store(TaskState::kFailed, std::memory_order_relaxed);
  {
    const MutexLock lock(mutex);
    errors.push_back({.task = tables->name_of(tables->task_of[position]),
                      .status = std::move(ending.status),
                      .exception = std::move(ending.exception)});
  }
  if (options.on_failure == OnFailure::kStop) {
    cancel();
  }
}

void RunState::skip_successors(Lane& lane, std::uint32_t position) noexcept {
  Outcomes& all = outcomes();
  const std::uint32_t cause =
      all.states[position].load(std::memory_order_relaxed) == TaskState::kSkipped
          ? all.causes[position].load(std::memory_order_relaxed)
          : position;
  const TaskRecord* const record = &tables->records[position];
  if (record->chained()) {
    all.causes[position + 1].store(cause, std::memory_order_relaxed);
    lane.ready.push((position + 1) | kMark);
    return;
  }
  for (std::uint32_t i = record->first_successor; i < record[1].first_successor; ++i) {
    const std::uint32_t successor = tables->successors[i];
    std::uint32_t entry = successor | kMark;
    // Handed on by the count. Any of several causes will do.
    all.causes[successor & ~kMark].store(cause, std::memory_order_relaxed);
    if (successor == entry || count_down_marking(counters[successor], successor, entry)) {
      lane.ready.push(entry);
    }
  }
}

Outcomes& RunState::outcomes() noexcept {
  // Pairs with the store below.
  if (Outcomes* const made = outcomes_made.load(std::memory_order_acquire)) {
    return *made;
  }
  const MutexLock lock(mutex);
  if (outcomes_owner == nullptr) {
    outcomes_owner = std::make_unique<Outcomes>(tables->task_count());
    outcomes_made.store(outcomes_owner.get(), std::memory_order_release);
  }
  return *outcomes_owner;
}

// Called once, by whoever ended the last task.
void RunState::finish() noexcept {
  Status status = final_status();
  source->signal(std::move(status));
}

Status RunState::final_status() {
  std::uint64_t skipped_count = 0;
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

TaskId TaskContext::task() const noexcept {
  return {run_->tables->task_of[position_]};
}

bool TaskContext::cancelled() const noexcept {
  return (run_->flags.load(std::memory_order_relaxed) & RunState::kCancelled) != 0;
}

CancelToken TaskContext::cancel_token() const noexcept {
  return run_->cancel_source->token();
}

void TaskContext::cancel_run() noexcept {
  run_->cancel();
}

namespace detail {

BodyEnd end_with(TaskContext& context, Status status) {
  context.ending_->status = std::move(status);
  return BodyEnd::kFailed;
}

}  // namespace detail
}  // namespace pinion
