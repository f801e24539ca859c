#pragma once

#include <cstddef>
#include <vector>

namespace pinion {

/// A task on one of the machines.
struct BalanceOption {
  double time = 0.0;       ///< Infinite when it cannot run there.
  bool preferred = false;  ///< Between machines on which it ends at the same time.
};

struct BalanceProblem {
  std::vector<double> loads = {};                      ///< Of each machine, to begin with.
  std::vector<std::vector<BalanceOption>> tasks = {};  ///< For each task, by machine.
};

/// A machine for each task, so that the last of them ends early: each in turn, the longest first,
/// to where it ends first; then moved and exchanged as long as that is better; then a search for
/// what is better still, within a bound of steps. Of many tasks only the first is done.
/// Precondition: each task can run somewhere.
[[nodiscard]] std::vector<std::size_t> balance(const BalanceProblem& problem);

}  // namespace pinion
