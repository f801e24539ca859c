#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include <pinion/dag/graph.hpp>

#include "run_state.hpp"

namespace pinion {
namespace {

// Waits for several completions; the first error that comes is that of all.
class Joint {
 public:
  Joint(std::size_t count, Status status) : left_(count), status_(std::move(status)) {}

  // True: it was the last one.
  bool note(const Status& status) PINION_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (status_.ok() && !status.ok()) {
      status_ = status;
    }
    return --left_ == 0;
  }

  [[nodiscard]] Status status() PINION_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return status_;
  }

 private:
  Mutex mutex_;
  std::size_t left_ PINION_GUARDED_BY(mutex_);
  Status status_ PINION_GUARDED_BY(mutex_);
};

}  // namespace

// The task has ended when all that it waits for has.
void RunState::hold(std::uint32_t position, Ending ending) noexcept {
  const RetryPolicy& policy = tables->options_at(position).retry;
  std::uint64_t ticket = 0;
  Instant due = Instant::max();
  std::vector<Completion> completions = std::move(ending.completions);
  const auto joint = std::make_shared<Joint>(completions.size(), std::move(ending.status));
  strands.hold();
  {
    const MutexLock lock(mutex);
    BegunTask& task = begun[position];
    ticket = task.ticket = ++last_ticket;
    if (policy.attempt_limit > Duration::zero()) {
      due = task.begin + policy.attempt_limit;
    }
    if (policy.total_limit > Duration::zero()) {
      due = std::min(due, task.first_begin + policy.total_limit);
    }
    task.ending = std::move(ending);
  }
  if (due != Instant::max()) {
    options.timer->call_at(
        due, [run = Reference(*this), position, ticket] { run->pass_limit(position, ticket); });
  }
  for (const Completion& completion_of_part : completions) {
    completion_of_part.on_ready(
        [run = Reference(*this), position, ticket, joint](const Status& status) {
          if (joint->note(status)) {
            run->end_wait(position, ticket, joint->status());
          }
        });
  }
}

// Ignored when the wait has ended already, by a limit for example.
void RunState::end_wait(std::uint32_t position, std::uint64_t ticket, Status status) noexcept {
  {
    const MutexLock lock(mutex);
    const auto found = begun.find(position);
    if (found == begun.end() || found->second.ticket != ticket) {
      return;
    }
    found->second.ticket = 0;
    // Its task has not ended, so neither has the run.
    enders.fetch_add(1, std::memory_order_relaxed);
    if (!found->second.runs_again) {
      found->second.ending.status = std::move(status);
    }
  }
  send(place_of(position, position % static_cast<std::uint32_t>(places.size())),
       position | kResumed);
  let_end();
}

void RunState::pass_limit(std::uint32_t position, std::uint64_t ticket) noexcept {
  std::vector<Run*> children;
  {
    const MutexLock lock(mutex);
    const auto found = begun.find(position);
    if (found == begun.end() || found->second.ticket != ticket) {
      return;
    }
    children = found->second.ending.appended;
  }
  if (children.empty()) {
    const RetryPolicy& policy = tables->options_at(position).retry;
    return end_wait(
        position, ticket,
        Status(ErrorCode::kDeadlineExceeded,
               "what the task waits for did not come in time; its attempt_limit is " +
                   std::to_string(policy.attempt_limit.count()) + " ns, its total_limit " +
                   std::to_string(policy.total_limit.count()) + " ns (0: none)"));
  }
  // They are part of this run, which cannot end before they do.
  for (const Run* const child : children) {
    child->cancel();
  }
}

// True: the task will run again.
bool RunState::retry_later(std::uint32_t position, Ending& ending) noexcept {
  const RetryPolicy& policy = tables->options_at(position).retry;
  const ErrorCode code = ending.exception != nullptr ? ErrorCode::kUnknown : ending.status.code();
  if (policy.attempt_count_max <= 1 || !error_info(code).retryable || is_cancelled()) {
    return false;
  }
  Duration delay = {};
  std::uint64_t ticket = 0;
  Instant due = {};
  {
    const MutexLock lock(mutex);
    BegunTask& task = begun[position];
    if (++task.attempt_count >= policy.attempt_count_max) {
      return false;
    }
    delay = backoff(policy, position, task.attempt_count);
    if (delay > Duration::zero() || policy.total_limit > Duration::zero()) {
      due = now() + delay;
    }
    if (policy.total_limit > Duration::zero() && due - task.first_begin >= policy.total_limit) {
      return false;
    }
    strands.hold();  // Before a cancellation can end the wait.
    task.ending = std::exchange(ending, {});
    task.runs_again = true;
    ticket = task.ticket = ++last_ticket;
  }
  // A cancellation in between ends the wait itself, or is seen here.
  if (delay <= Duration::zero() || (flags.load(std::memory_order_seq_cst) & kCancelled) != 0) {
    end_wait(position, ticket, {});
  } else {
    options.timer->call_at(
        due, [run = Reference(*this), position, ticket] { run->end_wait(position, ticket, {}); });
  }
  return true;
}

void RunState::end_all_retries() noexcept {
  std::vector<std::pair<std::uint32_t, std::uint64_t>> waiting;
  {
    const MutexLock lock(mutex);
    for (const auto& [position, task] : begun) {
      if (task.runs_again && task.ticket != 0) {
        waiting.emplace_back(position, task.ticket);
      }
    }
  }
  for (const auto& [position, ticket] : waiting) {
    end_wait(position, ticket, {});
  }
}

// What the last attempt came to. True: it was not the last one.
bool RunState::take_ending(std::uint32_t position, Ending& ending) noexcept {
  const MutexLock lock(mutex);
  BegunTask& task = begun[position];
  ending = std::exchange(task.ending, {});
  return std::exchange(task.runs_again, false);
}

void RunState::note_begin(std::uint32_t position, Instant now) noexcept {
  const MutexLock lock(mutex);
  BegunTask& task = begun[position];
  task.begin = now;
  if (task.attempt_count == 0) {
    task.first_begin = now;
  }
}

std::uint32_t RunState::attempt_of(std::uint32_t position) {
  const MutexLock lock(mutex);
  const auto found = begun.find(position);
  return found == begun.end() ? 1 : found->second.attempt_count + 1;
}

Status RunState::append(std::uint32_t position, Graph graph, Ending& ending) {
  Result<CompiledGraph> compiled = std::move(graph).compile();
  if (!compiled) {
    return std::move(compiled).error();
  }
  RunOptions child_options = options;
  RunState* const state = compiled->tables_->take_state().release();
  std::unique_ptr<Run> child(new Run(state));
  Run* const part = child.get();
  child_options.seed = draw(std::uint64_t{position} << 32 | ending.appended.size(), kAppendedDraw);
  if (Status status = state->begin(compiled->tables_, *executor, child_options, root);
      !status.ok()) {
    child->state_ = nullptr;
    state->drop_reference();
    return status;
  }
  ending.completions.push_back(part->completion());
  ending.appended.push_back(part);
  {
    const MutexLock lock(mutex);
    appended.push_back(std::move(child));
  }
  if ((flags.load(std::memory_order_seq_cst) & kCancelled) != 0) {
    part->cancel();
  }
  return {};
}

}  // namespace pinion
