#include "protocol/lease_table.hpp"

#include <algorithm>
#include <numeric>

#include <pinion/core/assert.hpp>

namespace pinion::protocol {

LeaseTable::LeaseTable(std::vector<std::uint64_t> weights, std::uint32_t rank_count)
    : units_(weights.size()), unit_at_(weights.size()), leased_counts_(rank_count) {
  std::iota(unit_at_.begin(), unit_at_.end(), std::uint64_t{0});
  std::stable_sort(unit_at_.begin(), unit_at_.end(), [&weights](std::uint64_t a, std::uint64_t b) {
    return weights[a] > weights[b];
  });
  for (std::uint64_t position = 0; position < unit_at_.size(); ++position) {
    const std::uint64_t unit = unit_at_[position];
    units_[unit].weight = weights[unit];
    units_[unit].queue_position = position;
    queue_.insert(queue_.end(), position);
  }
}

Standing LeaseTable::standing(const Lease& lease, Holder holder) const {
  if (lease.unit >= units_.size()) {
    return Standing::kForeign;
  }
  const Unit& unit = units_[lease.unit];
  if (unit.state == UnitState::kAccepted) {
    return Standing::kAccepted;
  }
  const bool newest = unit.fence_counter == lease.fence.counter && unit.fence_counter != 0;
  return newest && unit.holder == holder ? Standing::kHeld : Standing::kForeign;
}

std::vector<Lease> LeaseTable::grant(Holder holder, const GrantTerms& terms, FenceSource& fences) {
  std::vector<Lease> leases;
  bool has_suspect = holds_suspect(holder.rank);
  for (auto at = queue_.begin();
       at != queue_.end() && leases.size() < terms.unit_count_max && !has_suspect;) {
    const std::uint64_t id = unit_at_[*at];
    // A unit that a rank died with is run alone, so that the next death shows which one it was.
    const bool suspect = units_[id].death_count > 0;
    if (kept_from(holder.rank, id) ||
        (suspect && (!leases.empty() || leased_counts_[holder.rank] > 0))) {
      ++at;
      continue;
    }
    has_suspect = suspect;
    at = queue_.erase(at);
    shunned_.erase(id);
    Unit& unit = units_[id];
    const Fence fence = fences.next();
    unit.state = UnitState::kLeased;
    unit.fence_counter = fence.counter;
    unit.holder = holder;
    unit.expires = terms.expires;
    expiries_.emplace(terms.expires, id);
    ++leased_counts_[holder.rank];
    leases.push_back({.unit = id, .fence = fence, .attempt = unit.failure_count + 1});
  }
  return leases;
}

bool LeaseTable::holds_suspect(std::uint32_t rank) const {
  return std::any_of(expiries_.begin(), expiries_.end(), [&](const auto& entry) {
    const Unit& unit = units_[entry.second];
    return unit.holder.rank == rank && unit.death_count > 0;
  });
}

void LeaseTable::extend(std::uint64_t unit, Instant expires) {
  Unit& extended = units_[unit];
  if (extended.state == UnitState::kWaiting) {
    queue_.erase(extended.queue_position);
    extended.state = UnitState::kLeased;
    ++leased_counts_[extended.holder.rank];
  } else {
    expiries_.erase({extended.expires, unit});
  }
  extended.expires = std::max(extended.expires, expires);
  expiries_.emplace(extended.expires, unit);
}

void LeaseTable::accept(std::uint64_t unit) {
  end_lease(unit);
  queue_.erase(units_[unit].queue_position);
  shunned_.erase(unit);
  if (units_[unit].state != UnitState::kAccepted) {
    units_[unit].state = UnitState::kAccepted;
    ++accepted_count_;
  }
}

void LeaseTable::give_back(std::uint64_t unit) {
  end_lease(unit);
  units_[unit].holder = {};
  wait(unit);
}

std::uint32_t LeaseTable::fail(std::uint64_t unit, Instant shunned_until) {
  const std::uint32_t rank = units_[unit].holder.rank;
  give_back(unit);
  shunned_[unit] = {.rank = rank, .until = shunned_until};
  return ++units_[unit].failure_count;
}

std::vector<std::uint64_t> LeaseTable::abandon(std::uint32_t rank) {
  std::vector<std::uint64_t> abandoned;
  for (std::uint64_t unit = 0; unit < units_.size(); ++unit) {
    if (units_[unit].state == UnitState::kLeased && units_[unit].holder.rank == rank) {
      ++units_[unit].death_count;
      abandoned.push_back(unit);
    }
  }
  withdraw(rank);
  return abandoned;
}

void LeaseTable::withdraw(std::uint32_t rank) {
  for (std::uint64_t unit = 0; unit < units_.size(); ++unit) {
    if (units_[unit].state != UnitState::kAccepted && units_[unit].holder.rank == rank &&
        units_[unit].holder.incarnation != 0) {
      give_back(unit);
    }
  }
}

std::vector<std::uint32_t> LeaseTable::expire(Instant now) {
  std::vector<std::uint32_t> ranks;
  while (!expiries_.empty() && expiries_.begin()->first <= now) {
    const std::uint64_t unit = expiries_.begin()->second;
    ranks.push_back(units_[unit].holder.rank);
    end_lease(unit);
    wait(unit);
  }
  std::erase_if(shunned_, [now](const auto& entry) { return entry.second.until <= now; });
  return ranks;
}

Instant LeaseTable::next_deadline() const noexcept {
  Instant deadline = expiries_.empty() ? Instant::max() : expiries_.begin()->first;
  for (const auto& [unit, shunned] : shunned_) {
    deadline = std::min(deadline, shunned.until);
  }
  return deadline;
}

void LeaseTable::forget(std::uint32_t rank) {
  std::erase_if(expiries_, [this, rank](const std::pair<Instant, std::uint64_t>& expiry) {
    return units_[expiry.second].holder.rank == rank;
  });
}

void LeaseTable::end_lease(std::uint64_t unit) {
  Unit& ended = units_[unit];
  if (ended.state != UnitState::kLeased) {
    return;
  }
  expiries_.erase({ended.expires, unit});
  PINION_ASSERT(leased_counts_[ended.holder.rank] > 0);
  --leased_counts_[ended.holder.rank];
  ended.state = UnitState::kWaiting;
}

void LeaseTable::wait(std::uint64_t unit) {
  units_[unit].state = UnitState::kWaiting;
  queue_.insert(units_[unit].queue_position);
}

bool LeaseTable::kept_from(std::uint32_t rank, std::uint64_t unit) const {
  const auto shunned = shunned_.find(unit);
  return shunned != shunned_.end() && shunned->second.rank == rank;
}

}  // namespace pinion::protocol
