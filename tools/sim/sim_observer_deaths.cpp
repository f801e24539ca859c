#include <vector>

#include "sim/sim_world.hpp"

// What the observer expects of units with which ranks die.

namespace pinion::sim {

using protocol::Stage;

/// The process of the rank that the coordinator knows, if there is one, has died. What it held
/// alone may have killed it; what it held beside others that last is not suspected of that.
void Observer::on_death(std::uint32_t rank) {
  const std::uint64_t most = world_.options().death_count_max;
  if (most == 0 || live_[rank] == 0) {
    return;
  }
  std::vector<Unit*> held;
  for (std::uint64_t number = 1; number <= steps_.size(); ++number) {
    for (const Stage stage : {Stage::kMap, Stage::kMerge}) {
      WatchedUnits& units = step(number).units[static_cast<std::size_t>(stage)];
      held.clear();
      std::uint64_t lasting_count = 0;
      for (std::size_t at = 0; at < units.size(); ++at) {
        for (const Grant& grant : units.grants_of(units[at])) {
          if (grant.counter != 0 && grant.rank == rank && grant.incarnation == live_[rank]) {
            held.push_back(&units[at]);
            lasting_count += grant.expires > world_.now() ? 1 : 0;
          }
        }
      }
      for (Unit* const unit : held) {
        if (lasting_count <= 1 && ++unit->death_count >= most) {
          deadly_.insert(number);
        }
      }
    }
  }
}

}  // namespace pinion::sim
