#include <pinion/core/completion.hpp>

#include <chrono>
#include <condition_variable>
#include <utility>

#include <pinion/core/detail/signal_list.hpp>
#include <pinion/core/thread_annotations.hpp>

#include "worker_thread.hpp"

namespace pinion {
namespace {

struct CallbackNode : detail::SignalList<>::Waiter {
  explicit CallbackNode(Completion::Callback body) : callback(std::move(body)) {}
  Completion::Callback callback;
};

}  // namespace

struct Completion::State {
  ~State();
  void attach(Callback callback);
  void signal(Status outcome) noexcept;
  void prepare_to_sleep() PINION_REQUIRES(mutex);

  Status status;  // Written before the signal, read after it.
  detail::SignalList<> list;
  bool signal_begun = false;  // The source's; nobody else looks.

  // For wait() only. Whoever sleeps first attaches the callback that wakes all, so that a signal
  // without sleepers takes no lock.
  Mutex mutex;
  std::condition_variable_any woken;
  bool has_alarm PINION_GUARDED_BY(mutex) = false;
};

// Every source signals before it lets go, so no waiter is left in the list.
Completion::State::~State() {
  PINION_ASSERT(list.signalled());
}

void Completion::State::attach(Callback callback) {
  auto node = std::make_unique<CallbackNode>(std::move(callback));
  if (list.attach(*node)) {
    static_cast<void>(node.release());  // signal() owns it.
  } else {
    node->callback(status);
  }
}

void Completion::State::signal(Status outcome) noexcept {
  PINION_ASSERT(!std::exchange(signal_begun, true));
  status = std::move(outcome);
  for (detail::SignalList<>::Waiter* waiter = list.signal(); waiter != nullptr;) {
    const std::unique_ptr<CallbackNode> node(static_cast<CallbackNode*>(waiter));
    waiter = waiter->next;
    node->callback(status);
  }
}

// The alarm takes the mutex, so it cannot come between a sleeper's look at the list and its sleep.
// If the signal came before the alarm was attached, the caller's look at the list finds it.
void Completion::State::prepare_to_sleep() {
  if (std::exchange(has_alarm, true)) {
    return;
  }
  auto alarm = std::make_unique<CallbackNode>([this](const Status&) {
    const MutexLock lock(mutex);
    woken.notify_all();
  });
  if (list.attach(*alarm)) {
    static_cast<void>(alarm.release());  // signal() owns it and keeps this state.
  }
}

bool Completion::ready() const noexcept {
  return state_->list.signalled();
}

const Status& Completion::status() const noexcept {
  PINION_ASSERT(ready());
  return state_->status;
}

void Completion::on_ready(Callback callback) const {
  PINION_ASSERT(callback != nullptr);
  // A callback may drop the last other reference.
  const std::shared_ptr<State> keep_alive = state_;
  keep_alive->attach(std::move(callback));
}

void Completion::wait() const {
  PINION_ASSERT(!detail::inside_task());
  State& state = *state_;
  const MutexLock lock(state.mutex);
  state.prepare_to_sleep();
  while (!state.list.signalled()) {
    state.woken.wait(state.mutex);
  }
}

bool Completion::wait_until(Instant deadline) const {
  PINION_ASSERT(!detail::inside_task());
  State& state = *state_;
  const MutexLock lock(state.mutex);
  state.prepare_to_sleep();
  while (!state.list.signalled()) {
    if (state.woken.wait_until(state.mutex, deadline) == std::cv_status::timeout) {
      return state.list.signalled();
    }
  }
  return true;
}

CompletionSource::CompletionSource() : state_(std::make_shared<Completion::State>()) {}

CompletionSource::~CompletionSource() {
  abandon();
}

CompletionSource& CompletionSource::operator=(CompletionSource&& other) noexcept {
  if (this != &other) {
    abandon();
    state_ = std::move(other.state_);
  }
  return *this;
}

void CompletionSource::abandon() noexcept {
  if (state_ && !state_->signal_begun) {
    signal(Status(ErrorCode::kAborted,
                  "abandoned: whoever was to complete this went away before it was done"));
  }
}

Completion CompletionSource::completion() const {
  PINION_ASSERT(state_ != nullptr);
  return Completion(state_);
}

void CompletionSource::signal(Status status) {
  PINION_ASSERT(state_ != nullptr);
  const std::shared_ptr<Completion::State> keep_alive = state_;
  keep_alive->signal(std::move(status));
}

}  // namespace pinion
