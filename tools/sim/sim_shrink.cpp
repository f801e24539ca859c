#include "sim/sim_shrink.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "sim/sim_world.hpp"

namespace pinion::sim {
namespace {

class Shrinker {
 public:
  Shrinker(const SimOptions& options, std::uint64_t run_count_max)
      : run_count_max_(run_count_max), smallest_{.options = options} {
    smallest_.violation = World(options).run();
    smallest_.run_count = 1;
  }

  /// Until nothing can be taken away any more.
  ShrunkCase shrink() {
    do {
      shrunk_ = false;
      for (const auto member : kNumbers) {
        shrink_number(member);
      }
      shrink_chaos();
      set_back_rules();
      for (std::size_t i = 0; i < kFaultCount; ++i) {
        drop_fault(static_cast<Fault>(i));
      }
    } while (shrunk_ && smallest_.run_count < run_count_max_);
    return smallest_;
  }

 private:
  using Number = std::uint64_t SimOptions::*;
  static constexpr std::array<Number, 8> kNumbers = {
      &SimOptions::rank_count,      &SimOptions::step_count,   &SimOptions::shard_count,
      &SimOptions::partition_count, &SimOptions::worker_count, &SimOptions::batch_shard_max,
      &SimOptions::lease_count_max, &SimOptions::host_count};

  /// To the least it may be, else by ever smaller steps.
  void shrink_number(Number member) {
    const std::uint64_t least = member == &SimOptions::partition_count ? 0 : 1;
    for (std::uint64_t step = smallest_.options.*member - least; step > 0; step /= 2) {
      while (smallest_.options.*member >= least + step && attempt([member, step](auto& options) {
               options.*member -= step;
               options.steadfast_rank = std::min(options.steadfast_rank, options.rank_count - 1);
               options.host_count = std::min(options.host_count, options.rank_count);
             })) {
      }
    }
  }

  void shrink_chaos() {
    while (smallest_.options.chaos_end > std::chrono::milliseconds(1) &&
           attempt([](SimOptions& options) {
             options.chaos_end =
                 std::chrono::duration_cast<std::chrono::milliseconds>(options.chaos_end / 2);
           })) {
    }
  }

  /// To what they are unless somebody says otherwise.
  void set_back_rules() {
    set_back(&SimOptions::shard_deadline);
    set_back(&SimOptions::lease_duration);
    set_back(&SimOptions::heartbeat);
    set_back(&SimOptions::plan_patience);
    set_back(&SimOptions::attempt_count_max);
    set_back(&SimOptions::death_count_max);
    set_back(&SimOptions::second_attempts);
  }

  template <class Rule>
  void set_back(Rule SimOptions::*rule) {
    const SimOptions usual;
    if (smallest_.options.*rule != usual.*rule) {
      attempt([rule, &usual](SimOptions& options) { options.*rule = usual.*rule; });
    }
  }

  void drop_fault(Fault fault) {
    if (smallest_.options.faults[fault] > 0) {
      attempt([fault](SimOptions& options) { options.faults.set(fault, 0); });
    }
  }

  bool attempt(const std::function<void(SimOptions&)>& change) {
    if (smallest_.run_count >= run_count_max_) {
      return false;
    }
    SimOptions changed = smallest_.options;
    change(changed);
    ++smallest_.run_count;
    std::string violation = World(changed).run();
    if (violation.empty()) {
      return false;
    }
    smallest_.options = changed;
    smallest_.violation = std::move(violation);
    shrunk_ = true;
    return true;
  }

  std::uint64_t run_count_max_;
  ShrunkCase smallest_;
  bool shrunk_ = false;
};

}  // namespace

ShrunkCase shrink(const SimOptions& options, std::uint64_t run_count_max) {
  return Shrinker(options, run_count_max).shrink();
}

}  // namespace pinion::sim
