#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>

namespace pinion::sim {

/// Virtual time: what is to happen, earliest first, ties in the order in which they were added.
class EventQueue {
 public:
  /// An action may answer with a later time: then it is asked again at that time, in its old place
  /// among the others of that time.
  using Action = std::function<std::optional<Instant>()>;

  [[nodiscard]] Instant now() const noexcept { return now_; }

  void at(Instant when, Action action) {
    push({std::max(when, now_), ++count_, std::move(action)});
  }
  void after(Duration delay, Action action) { at(now_ + delay, std::move(action)); }

  /// False when nothing is left to happen.
  bool run_next() {
    if (heap_.empty()) {
      return false;
    }
    std::pop_heap(heap_.begin(), heap_.end(), later);
    Event event = std::move(heap_.back());
    heap_.pop_back();
    now_ = event.when;
    if (const std::optional<Instant> again = event.action()) {
      event.when = *again;
      push(std::move(event));
    }
    return true;
  }

 private:
  struct Event {
    Instant when;
    std::uint64_t order;
    Action action;
  };

  static bool later(const Event& a, const Event& b) {
    return a.when != b.when ? a.when > b.when : a.order > b.order;
  }

  void push(Event event) {
    heap_.push_back(std::move(event));
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  Instant now_{std::chrono::seconds(1)};
  std::uint64_t count_ = 0;
  std::vector<Event> heap_;
};

}  // namespace pinion::sim
