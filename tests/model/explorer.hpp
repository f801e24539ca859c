#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/assert.hpp>

namespace pinion::model {

struct ExploreOptions {
  /// Switches away from a body that could go on, in one schedule. Few find nearly all races.
  std::size_t preemption_count_max = SIZE_MAX;
  std::size_t schedule_count_max = 1'000'000;
  /// Operations in one schedule; more means that a body spins instead of using block_until().
  std::size_t operation_count_max = 10'000;
};

/// What one schedule runs: what the bodies share belongs into their captures.
struct Program {
  std::vector<std::function<void()>> bodies = {};  ///< Each is one thread; none throws.
  std::function<void()> check = [] {};             ///< After all bodies have ended.
};

struct Exploration {
  std::size_t schedule_count = 0;
  bool complete = false;     ///< Every schedule within the bound on preemptions was tried.
  std::string failure = {};  ///< The first broken require() with its schedule; empty: none.
};

/// Runs small thread bodies under every order of their operations on model::Atom, depth first. Each
/// body is a stack of its own, and exactly one runs at a time: what is explored is all
/// interleavings under sequential consistency, not the reorderings that weaker memory orders
/// permit.
class Explorer {
 public:
  explicit Explorer(const ExploreOptions& options) : options_(options) {}

  /// `make_program` is called before each schedule and must do the same each time.
  Exploration explore(const std::function<Program()>& make_program) {
    Exploration result;
    do {
      run_once(make_program);
      ++result.schedule_count;
      if (!failure_.empty()) {
        result.failure = failure_ + " in schedule" + schedule_;
        return result;
      }
      result.complete = !next_schedule();
    } while (!result.complete && result.schedule_count < options_.schedule_count_max);
    return result;
  }

  /// The one that explores on the calling thread, or null.
  [[nodiscard]] static Explorer*& active() noexcept {
    static thread_local constinit Explorer* explorer = nullptr;
    return explorer;
  }

  /// The body that runs, by its number in the program.
  [[nodiscard]] std::size_t current_body() const noexcept { return current_; }

  /// The point before each shared operation of a body, where another body may go first.
  void yield() {
    if (inside_body_) {
      switch_to(choose());
    }
  }

  /// One of `option_count` numbers from 0; each in some schedule.
  [[nodiscard]] std::size_t pick(std::size_t option_count) {
    PINION_ASSERT(inside_body_);
    return take(option_count);
  }

  void block_until(std::function<bool()> condition) {
    PINION_ASSERT(inside_body_);
    bodies_[current_].condition = std::move(condition);
    yield();
    bodies_[current_].condition = nullptr;
  }

  void fail(const std::string& words) {
    if (failure_.empty()) {
      failure_ = words;
    }
  }

 private:
  static constexpr std::size_t kStackSize = 256 * 1024;
  static constexpr std::size_t kNobody = SIZE_MAX;

  struct Body {
    std::function<void()> function = {};
    std::function<bool()> condition = {};
    bool ended = false;
    ucontext_t context = {};
  };
  struct Choice {
    std::size_t taken = 0;
    std::size_t option_count = 0;
  };

  void run_once(const std::function<Program()>& make_program) {
    const Program program = make_program();
    while (stacks_.size() < program.bodies.size()) {
      stacks_.push_back(std::make_unique<char[]>(kStackSize));
    }
    bodies_ = std::vector<Body>(program.bodies.size());
    for (std::size_t i = 0; i < bodies_.size(); ++i) {
      bodies_[i].function = program.bodies[i];
      prepare(bodies_[i].context, stacks_[i].get());
    }
    depth_ = 0;
    operation_count_ = 0;
    preemption_count_ = 0;
    current_ = kNobody;
    schedule_.clear();
    active() = this;
    inside_body_ = true;
    for (std::size_t body = choose(); body != kNobody; body = choose()) {
      switch_to(body);
      current_ = kNobody;
    }
    inside_body_ = false;
    if (failure_.empty()) {
      program.check();
    }
    active() = nullptr;
  }

  void prepare(ucontext_t& context, char* stack) {
    ::getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = kStackSize;
    context.uc_link = &outside_;
    ::makecontext(&context, &Explorer::enter, 0);
  }

  static void enter() {
    Explorer& self = *active();
    self.bodies_[self.current_].function();
    self.bodies_[self.current_].ended = true;
    // Returns to outside_, which chooses who goes on: so every function that was entered is left.
  }

  [[nodiscard]] bool can_run(std::size_t body) {
    if (body == kNobody || bodies_[body].ended) {
      return false;
    }
    // The condition looks at atoms, and a look of the explorer is not an operation of the body.
    inside_body_ = false;
    const bool runnable = !bodies_[body].condition || bodies_[body].condition();
    inside_body_ = true;
    return runnable;
  }

  // The body to go on. First the one that runs, so that the first schedule has no preemption.
  std::size_t choose() {
    if (++operation_count_ > options_.operation_count_max) {
      fail("the bodies do not end");
    }
    if (!failure_.empty()) {
      return kNobody;
    }
    std::vector<std::size_t> options;
    const bool goes_on = can_run(current_);
    if (goes_on) {
      options.push_back(current_);
    }
    bool all_ended = true;
    for (std::size_t body = 0; body < bodies_.size(); ++body) {
      all_ended = all_ended && bodies_[body].ended;
      const bool permitted = !goes_on || preemption_count_ < options_.preemption_count_max;
      if (body != current_ && permitted && can_run(body)) {
        options.push_back(body);
      }
    }
    if (options.empty()) {
      if (!all_ended) {
        fail("no body can go on");
      }
      return kNobody;
    }
    const std::size_t body = options[take(options.size())];
    preemption_count_ += goes_on && body != current_ ? 1 : 0;
    schedule_ += " " + std::to_string(body);
    return body;
  }

  // Repeats the path of this schedule as far as it is given, then takes the first way each time.
  std::size_t take(std::size_t option_count) {
    if (depth_ == path_.size()) {
      path_.push_back({.taken = 0, .option_count = option_count});
    }
    PINION_ASSERT(path_[depth_].option_count == option_count);  // Else the run is not repeatable.
    return path_[depth_++].taken;
  }

  // Moves on to the next path in depth-first order; false after the last.
  bool next_schedule() {
    while (!path_.empty() && path_.back().taken + 1 == path_.back().option_count) {
      path_.pop_back();
    }
    if (path_.empty()) {
      return false;
    }
    ++path_.back().taken;
    return true;
  }

  void switch_to(std::size_t body) {
    if (body == current_) {
      return;
    }
    ucontext_t& from = current_ == kNobody ? outside_ : bodies_[current_].context;
    current_ = body;
    ::swapcontext(&from, body == kNobody ? &outside_ : &bodies_[body].context);
  }

  const ExploreOptions options_;
  std::vector<std::unique_ptr<char[]>> stacks_;
  std::vector<Body> bodies_;
  ucontext_t outside_ = {};
  std::size_t current_ = kNobody;
  bool inside_body_ = false;
  std::vector<Choice> path_;
  std::size_t depth_ = 0;
  std::size_t operation_count_ = 0;
  std::size_t preemption_count_ = 0;
  std::string schedule_;
  std::string failure_;
};

/// Ends the exploration, with the schedule that led here, when `holds` is false.
inline void require(bool holds, const std::string& words) {
  PINION_ASSERT(Explorer::active() != nullptr);
  if (!holds) {
    Explorer::active()->fail(words);
  }
}

/// Where a thread would sleep or spin: lets others go until `condition`, which may look at atoms.
inline void block_until(std::function<bool()> condition) {
  PINION_ASSERT(Explorer::active() != nullptr);
  Explorer::active()->block_until(std::move(condition));
}

}  // namespace pinion::model
