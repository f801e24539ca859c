#include "emulated/engines.hpp"

#include <signal.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace pinion {

Engines::Engines(const EmulatedDeviceSpec& spec, ITimer& timer)
    : faults_(spec.faults),
      one_copy_engine_(spec.info.copy_engine_count == 1),
      name_("device " + std::to_string(spec.info.place.index)),
      timer_(timer) {}

void Engines::start() {
  if (!faults_.lost_at) {
    return;
  }
  const auto lose = [this] {
    end_with(Status(ErrorCode::kUnavailable, name_ + " is gone, as planted"));
  };
  if (*faults_.lost_at == Duration::zero()) {
    lose();
  } else {
    timer_.call_at(timer_.clock().now() + *faults_.lost_at, lose);
  }
}

std::shared_ptr<StreamQueue> Engines::open() {
  auto queue = std::make_shared<StreamQueue>();
  const MutexLock lock(mutex_);
  queues_.push_back(queue);
  return queue;
}

void Engines::close(const std::shared_ptr<StreamQueue>& queue) {
  const MutexLock lock(mutex_);
  std::erase(queues_, queue);
}

Status Engines::put(const std::shared_ptr<StreamQueue>& queue, Operation operation) {
  const MutexLock lock(mutex_);
  if (status_.ok()) {
    add(*queue, std::move(operation));
  }
  return status_;
}

Status Engines::put_wait(const std::shared_ptr<StreamQueue>& queue,
                         const std::shared_ptr<StreamQueue>& other) {
  const MutexLock lock(mutex_);
  if (status_.ok()) {
    add(*queue, {.other = other, .other_count = other->put_count});
  }
  return status_;
}

Completion Engines::put_mark(const std::shared_ptr<StreamQueue>& queue) {
  CompletionSource source;
  Completion completion = source.completion();
  Status error;
  {
    const MutexLock lock(mutex_);
    if (status_.ok()) {
      Operation mark;
      mark.source = std::move(source);
      add(*queue, std::move(mark));
      return completion;
    }
    error = status_;
  }
  source.signal(error);
  return completion;
}

void Engines::add(StreamQueue& queue, Operation operation) {
  operation.number = ++put_count_;
  queue.waiting.push_back(std::move(operation));
  ++queue.put_count;
  begin_all();
}

std::size_t Engines::engine_of(EngineKind kind) const noexcept {
  const bool shared = one_copy_engine_ && kind == EngineKind::kCopyOut;
  return static_cast<std::size_t>(shared ? EngineKind::kCopyIn : kind);
}

bool Engines::is_to_stop(EngineKind kind) const noexcept {
  switch (kind) {
    case EngineKind::kCopyIn:
      return faults_.stop_amid == EmulatedOperation::kCopyIn;
    case EngineKind::kCopyOut:
      return faults_.stop_amid == EmulatedOperation::kCopyOut;
    case EngineKind::kKernel:
      return faults_.stop_amid == EmulatedOperation::kKernel;
    case EngineKind::kNone:
      break;
  }
  return false;
}

bool Engines::may_begin(const StreamQueue& queue) const {
  if (queue.running || queue.waiting.empty()) {
    return false;
  }
  const Operation& first = queue.waiting.front();
  const bool waits = first.other != nullptr && first.other->passed_count < first.other_count;
  return !waits && (first.engine == EngineKind::kNone || !busy_[engine_of(first.engine)]);
}

std::shared_ptr<StreamQueue> Engines::next() const {
  std::shared_ptr<StreamQueue> first;
  for (const std::shared_ptr<StreamQueue>& queue : queues_) {
    if (may_begin(*queue) &&
        (first == nullptr || queue->waiting.front().number < first->waiting.front().number)) {
      first = queue;
    }
  }
  return first;
}

void Engines::begin_all() {
  while (const std::shared_ptr<StreamQueue> queue = next()) {
    begin(queue);
  }
}

void Engines::begin(const std::shared_ptr<StreamQueue>& queue) {
  const Operation& operation = queue->waiting.front();
  queue->running = true;
  if (operation.engine != EngineKind::kNone) {
    busy_[engine_of(operation.engine)] = true;
    ++begun_count_;
    if (begun_count_ == faults_.hang_at) {
      return;
    }
    queue->fails = begun_count_ == faults_.sticky_at;
  }
  timer_.call_at(timer_.clock().now() + operation.duration,
                 [this, queue, number = operation.number] { finish(queue, number); });
}

// The number tells whether the operation is still there: the work of the device may have ended
// between two of the three steps.
void Engines::finish(const std::shared_ptr<StreamQueue>& queue, std::uint64_t number) {
  std::function<Status()> effect;
  bool fails = false;
  bool stops = false;
  {
    const MutexLock lock(mutex_);
    if (queue->waiting.empty() || queue->waiting.front().number != number) {
      return;
    }
    effect = std::move(queue->waiting.front().effect);
    fails = queue->fails;
    stops = is_to_stop(queue->waiting.front().engine) && !std::exchange(has_stopped_, true);
    effect_running_ = true;
  }
  if (stops) {
    static_cast<void>(raise(SIGSTOP));
  }
  Status outcome;
  if (fails) {
    outcome = Status(ErrorCode::kDataLoss, name_ + " failed in an operation, as planted");
  } else if (effect) {
    outcome = effect();
  }
  std::optional<CompletionSource> source;
  {
    const MutexLock lock(mutex_);
    effect_running_ = false;
    effect_over_.notify_all();
    if (outcome.ok() && status_.ok()) {
      source = std::move(queue->waiting.front().source);
      if (queue->waiting.front().engine != EngineKind::kNone) {
        busy_[engine_of(queue->waiting.front().engine)] = false;
      }
      queue->waiting.pop_front();
      queue->running = false;
      ++queue->passed_count;
      begin_all();
    }
  }
  if (!outcome.ok() && outcome.code() != kNeverEnds) {
    end_with(outcome);
  } else if (source) {
    source->signal({});
  }
}

std::vector<CompletionSource> Engines::drop_all() {
  std::vector<Operation> dropped;
  for (const std::shared_ptr<StreamQueue>& queue : queues_) {
    std::move(queue->waiting.begin(), queue->waiting.end(), std::back_inserter(dropped));
    queue->waiting.clear();
    queue->running = false;
    queue->passed_count = queue->put_count;
  }
  busy_ = {};
  std::sort(dropped.begin(), dropped.end(),
            [](const Operation& a, const Operation& b) { return a.number < b.number; });
  std::vector<CompletionSource> sources;
  for (Operation& operation : dropped) {
    if (operation.source) {
      sources.push_back(*std::move(operation.source));
    }
  }
  return sources;
}

void Engines::end_with(const Status& error) {
  std::vector<CompletionSource> sources;
  {
    const MutexLock lock(mutex_);
    // Before the wait, so that nothing begins meanwhile.
    if (status_.ok()) {
      status_ = error;
      sources = drop_all();
    }
    while (effect_running_) {
      effect_over_.wait(mutex_);
    }
  }
  for (CompletionSource& source : sources) {
    source.signal(error);
  }
}

Status Engines::status() const {
  const MutexLock lock(mutex_);
  return status_;
}

}  // namespace pinion
