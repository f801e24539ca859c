#include <algorithm>
#include <utility>

#include "sim/sim_world.hpp"

// What the observer expects of the workers that plans are for.

namespace pinion::sim {

void Observer::on_make_plan(std::uint32_t rank, const protocol::MakePlan& make) {
  const protocol::Envelope planner = of_life(rank);
  const protocol::Envelope before = std::exchange(step(make.step).planner, planner);
  world_.reached("a step was planned again after its planner had died",
                 before.incarnation != 0 && live_[before.rank] != before.incarnation);
  auto& planned_for = step(make.step).planned_for;
  world_.expect(!planned_for || *planned_for == make.workers,
                "a plan is made again for other places");
  if (!planned_for) {
    check_nobody_is_left_out(make);
  }
  planned_for = make.workers;
}

/// Of those that live and have said where they work.
void Observer::check_nobody_is_left_out(const protocol::MakePlan& make) {
  for (std::uint32_t rank = 0; rank < live_.size(); ++rank) {
    const auto& [life, place] = places_[rank];
    if (life == 0 || life != live_[rank] || life == drained_[rank]) {
      continue;
    }
    world_.expect(std::any_of(make.workers.begin(), make.workers.end(),
                              [&place = place](const auto& at) { return at.place == place; }),
                  "the place of a rank is left out of a plan");
  }
}

}  // namespace pinion::sim
