#include "balance.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include <pinion/core/assert.hpp>

namespace pinion {
namespace {

// Among many tasks one more exchange is worth little: the last of them ends at most one task late.
constexpr std::size_t kExchangedTasksMax = 256;

// A search in which so many steps have been taken ends with the best that was found: less than a
// millisecond, and all there are for a few tasks.
constexpr std::size_t kSearchStepsMax = 20'000;

// What is smaller is rounding.
constexpr double kLeastGain = 1e-9;

double least_time(const std::vector<BalanceOption>& options) {
  const auto faster = [](const BalanceOption& a, const BalanceOption& b) {
    return a.time < b.time;
  };
  return std::min_element(options.begin(), options.end(), faster)->time;
}

class Balance {
 public:
  explicit Balance(const BalanceProblem& problem)
      : problem_(problem), loads_(problem.loads), machines_(problem.tasks.size()) {}

  // The longest first, each to where it ends first.
  void fill_by_end() {
    for (const std::size_t task : longest_first()) {
      std::size_t best = 0;
      for (std::size_t machine = 1; machine < loads_.size(); ++machine) {
        best = ends_before(task, machine, best) ? machine : best;
      }
      PINION_ASSERT(can_run(task, best));
      put(task, best);
    }
  }

  // Each to where it is fastest.
  void fill_by_time() {
    for (std::size_t task = 0; task < machines_.size(); ++task) {
      std::size_t best = 0;
      for (std::size_t machine = 1; machine < loads_.size(); ++machine) {
        best = time(task, machine) < time(task, best) ? machine : best;
      }
      put(task, best);
    }
  }

  void improve() {
    if (machines_.size() > kExchangedTasksMax) {
      return;
    }
    while (improve_once()) {
    }
  }

  // By what each takes where it is fastest.
  [[nodiscard]] std::vector<std::size_t> longest_first() const {
    std::vector<double> least;
    for (const std::vector<BalanceOption>& options : problem_.tasks) {
      least.push_back(least_time(options));
    }
    std::vector<std::size_t> order(least.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return least[a] > least[b]; });
    return order;
  }

  [[nodiscard]] double end() const { return *std::max_element(loads_.begin(), loads_.end()); }
  [[nodiscard]] const std::vector<std::size_t>& machines() const { return machines_; }

 private:
  [[nodiscard]] double time(std::size_t task, std::size_t machine) const {
    return problem_.tasks[task][machine].time;
  }
  [[nodiscard]] bool can_run(std::size_t task, std::size_t machine) const {
    return time(task, machine) < std::numeric_limits<double>::infinity();
  }

  [[nodiscard]] bool ends_before(std::size_t task, std::size_t machine, std::size_t other) const {
    const double here = loads_[machine] + time(task, machine);
    const double there = loads_[other] + time(task, other);
    const std::vector<BalanceOption>& options = problem_.tasks[task];
    return here < there ||
           (here == there && options[machine].preferred && !options[other].preferred);
  }

  void put(std::size_t task, std::size_t machine) {
    machines_[task] = machine;
    loads_[machine] += time(task, machine);
  }
  void move(std::size_t task, std::size_t machine) {
    loads_[machines_[task]] -= time(task, machines_[task]);
    put(task, machine);
  }

  // Makes the machine that ends last end earlier, and no other one end as late.
  bool improve_once() {
    const auto last =
        static_cast<std::size_t>(std::max_element(loads_.begin(), loads_.end()) - loads_.begin());
    const double limit = loads_[last] * (1.0 - kLeastGain);
    for (std::size_t task = 0; task < machines_.size(); ++task) {
      if (machines_[task] == last && (move_away(task, limit) || exchange(task, limit))) {
        return true;
      }
    }
    return false;
  }

  bool move_away(std::size_t task, double limit) {
    for (std::size_t machine = 0; machine < loads_.size(); ++machine) {
      if (machine != machines_[task] && loads_[machine] + time(task, machine) < limit) {
        move(task, machine);
        return true;
      }
    }
    return false;
  }

  bool exchange(std::size_t task, double limit) {
    const std::size_t from = machines_[task];
    for (std::size_t other = 0; other < machines_.size(); ++other) {
      const std::size_t to = machines_[other];
      if (to != from && loads_[from] - time(task, from) + time(other, from) < limit &&
          loads_[to] - time(other, to) + time(task, to) < limit) {
        move(task, to);
        move(other, from);
        return true;
      }
    }
    return false;
  }

  const BalanceProblem& problem_;
  std::vector<double> loads_;
  std::vector<std::size_t> machines_;
};

// Tries all schedules that may be better than the best one known, those first in which each task
// goes to where it ends first.
class Search {
 public:
  Search(const BalanceProblem& problem, const Balance& known)
      : problem_(problem),
        order_(known.longest_first()),
        loads_(problem.loads),
        machines_(known.machines()),
        best_(known.machines()),
        best_end_(known.end()),
        total_(std::accumulate(problem.loads.begin(), problem.loads.end(), 0.0)) {
    for (const std::vector<BalanceOption>& options : problem.tasks) {
      rest_ += least_time(options);
    }
  }

  [[nodiscard]] const std::vector<std::size_t>& run() {
    place(0);
    return best_;
  }

 private:
  // All machines end together at best.
  [[nodiscard]] bool is_hopeless() const {
    return total_ + rest_ >= best_end_ * (1.0 - kLeastGain) * static_cast<double>(loads_.size());
  }

  void place(std::size_t position) {
    if (position == order_.size()) {
      best_ = machines_;
      best_end_ = *std::max_element(loads_.begin(), loads_.end());
      return;
    }
    const std::size_t task = order_[position];
    const double least = least_time(problem_.tasks[task]);
    rest_ -= least;
    for (const std::size_t machine : by_end(task)) {
      const double before = loads_[machine];
      const double time = problem_.tasks[task][machine].time;
      if (before + time >= best_end_ * (1.0 - kLeastGain) || ++steps_ > kSearchStepsMax) {
        break;
      }
      machines_[task] = machine;
      loads_[machine] = before + time;
      total_ += time;
      if (!is_hopeless()) {
        place(position + 1);
      }
      total_ -= time;
      loads_[machine] = before;
    }
    rest_ += least;
  }

  [[nodiscard]] std::vector<std::size_t> by_end(std::size_t task) const {
    const std::vector<BalanceOption>& options = problem_.tasks[task];
    std::vector<std::size_t> order(loads_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return loads_[a] + options[a].time < loads_[b] + options[b].time;
    });
    return order;
  }

  const BalanceProblem& problem_;
  const std::vector<std::size_t> order_;
  std::vector<double> loads_;
  std::vector<std::size_t> machines_;
  std::vector<std::size_t> best_;
  double best_end_;
  double rest_ = 0.0;  // What the tasks take that have no machine, each on its fastest.
  double total_;       // Of the loads.
  std::size_t steps_ = 0;
};

}  // namespace

std::vector<std::size_t> balance(const BalanceProblem& problem) {
  if (problem.tasks.empty()) {
    return {};
  }
  Balance by_end(problem);
  by_end.fill_by_end();
  by_end.improve();
  Balance by_time(problem);
  by_time.fill_by_time();
  by_time.improve();
  const Balance& better = by_time.end() < by_end.end() ? by_time : by_end;
  if (problem.tasks.size() > kExchangedTasksMax) {
    return better.machines();
  }
  return Search(problem, better).run();
}

}  // namespace pinion
