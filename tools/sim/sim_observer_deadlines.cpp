#include <algorithm>
#include <cstdint>
#include <string>

#include "sim/sim_world.hpp"

// What the observer expects of shards that have a deadline.

namespace pinion::sim {

using protocol::Lease;
using protocol::Stage;

void Observer::on_missed(const protocol::Envelope& from, std::uint64_t number, const Lease& lease) {
  const auto due = std::find_if(due_.begin(), due_.end(), [&lease](const Due& one) {
    return one.lease.fence == lease.fence;
  });
  if (due == due_.end() || due->when > world_.now()) {
    world_.fail("a lease of unit " + std::to_string(lease.unit) +
                " is taken away before its deadline");
    return;
  }
  due_.erase(due);
  WatchedUnits& units = units_of(number, Stage::kMap);
  Unit& unit = units[lease.unit];
  WatchedUnits::Grants& grants = units.grants_of(unit);
  Grant& grant = *grant_in(grants, from, lease);
  world_.reached("a shard missed its deadline");
  world_.reached("a shard missed its deadline whose lease had run out",
                 grant.expires <= world_.now());
  grant = {};
  world_.reached("a shard missed its deadline while a second rank tried it",
                 grants[0].counter != 0 || grants[1].counter != 0);
  unit.missed = true;
  count_failure(number, unit);
}

void Observer::count_failure(std::uint64_t number, Unit& unit) {
  const std::uint64_t most = world_.options().attempt_count_max;
  if (unit.failure_count < most) {
    ++unit.failure_count;
  }
  if (unit.missed && unit.failure_count == most) {
    worn_out_.insert(number);
  }
}

/// The lease that it is about, if that is still to be accepted or taken away.
const Observer::Grant* Observer::grant_of(const Due& due) {
  const Unit* const unit = find(due.step, Stage::kMap, due.lease.unit);
  return unit == nullptr || unit->accepted || step(due.step).ended
             ? nullptr
             : find(due.holder, due.step, Stage::kMap, due.lease);
}

/// The coordinator hears of the time at each deadline. A lease that has run out is over before,
/// when a second rank had the unit then.
void Observer::check_deadlines() {
  while (!due_.empty() && grant_of(due_.front()) == nullptr) {
    due_.pop_front();
  }
  for (const Due& due : due_) {
    if (due.when >= world_.now()) {
      return;
    }
    const Grant* const grant = grant_of(due);
    const bool may_be_over =
        grant == nullptr || (grant->expires <= world_.now() &&
                             find(due.step, Stage::kMap, due.lease.unit)->granted_again);
    world_.expect(may_be_over, "a shard missed its deadline unnoticed");
  }
}

}  // namespace pinion::sim
