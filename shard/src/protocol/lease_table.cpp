#include "protocol/lease_table.hpp"

#include <algorithm>

#include <pinion/core/assert.hpp>

namespace pinion::protocol {
LeaseTable::LeaseTable(std::span<const UnitTraits> units, std::uint32_t rank_count)
    : queue_(units, rank_count), ranks_(rank_count) {
  queue_.put_all();
}

LeaseTable::Slot LeaseTable::find(const Lease& lease, Holder holder) const {
  const auto slot =
      static_cast<Slot>(lease.fence.counter & ((std::uint64_t{1} << FenceSource::kSlotBits) - 1));
  if (slot >= records_.size()) {
    return kNone;
  }
  const Record& record = records_[slot];
  return record.state != RecordState::kFree && record.counter == lease.fence.counter &&
                 record.unit == lease.unit && record.holder == holder
             ? slot
             : kNone;
}

Standing LeaseTable::standing(const Lease& lease, Holder holder) const {
  if (find(lease, holder) != kNone) {
    return Standing::kHeld;
  }
  const bool accepted =
      lease.unit < queue_.size() &&
      queue_.is_accepted(queue_.position_of(static_cast<std::uint32_t>(lease.unit)));
  return accepted ? Standing::kAccepted : Standing::kForeign;
}

void LeaseTable::grant(Holder holder, const GrantTerms& terms, FenceSource& fences,
                       std::vector<Lease>& leases) {
  if (ranks_[holder.rank].alone_count > 0) {
    return;
  }
  grant_troubled(holder, terms, fences, leases);
  if (ranks_[holder.rank].alone_count > 0) {
    return;
  }
  LeaseQueue::TakenFrom from;
  while (leases.size() < terms.unit_count_max && slots_left() > 0) {
    const PositionSet::Run run =
        queue_.take(holder.rank, from,
                    std::min<std::uint64_t>(terms.unit_count_max - leases.size(), slots_left()));
    if (run.count == 0) {
      return;
    }
    for (std::uint32_t position = run.begin; position < run.begin + run.count; ++position) {
      make(position, holder, terms, fences, leases.emplace_back());
    }
  }
}

/// What failed before comes first: the step cannot end without it. A unit that a rank died with is
/// run alone, so that the next death shows which one it was.
void LeaseTable::grant_troubled(Holder holder, const GrantTerms& terms, FenceSource& fences,
                                std::vector<Lease>& leases) {
  const auto may_have = [&](std::uint32_t position) {
    return queue_.may_run(holder.rank, position) && !kept_from(holder.rank, position);
  };
  if (ranks_[holder.rank].live_count == 0 && leases.empty() && terms.unit_count_max > 0) {
    const auto found = std::find_if(suspects_.begin(), suspects_.end(), may_have);
    if (found != suspects_.end()) {
      const std::uint32_t position = *found;
      suspects_.erase(found);
      make(position, holder, terms, fences, leases.emplace_back());
      return;
    }
  }
  for (auto at = retries_.begin();
       at != retries_.end() && leases.size() < terms.unit_count_max && slots_left() > 0;) {
    if (!may_have(*at)) {
      ++at;
      continue;
    }
    const std::uint32_t position = *at;
    at = retries_.erase(at);
    make(position, holder, terms, fences, leases.emplace_back());
  }
}

Lease LeaseTable::grant_second(Slot first, Holder holder, const GrantTerms& terms,
                               FenceSource& fences) {
  const std::uint32_t position = records_[first].position;
  PINION_ASSERT(!records_[first].has_twin && records_[first].holder.rank != holder.rank);
  Lease lease;
  make(position, holder, terms, fences, lease);
  const Slot second = find(lease, holder);
  records_[first].has_twin = true;
  records_[second].has_twin = true;
  seconds_[position] = {first, second};
  queue_.set_granted_again(position);
  return lease;
}

void LeaseTable::make(std::uint32_t position, Holder holder, const GrantTerms& terms,
                      FenceSource& fences, Lease& lease) {
  if (!lapsed_.empty()) {
    if (const auto lapsed = lapsed_.find(position); lapsed != lapsed_.end()) {
      drop(lapsed->second);
    }
  }
  Slot slot = static_cast<Slot>(records_.size());
  if (free_.empty()) {
    records_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  Record& record = records_[slot];
  const Fence fence = fences.next(slot);
  OfRank& rank = ranks_[holder.rank];
  const std::uint32_t unit = queue_.unit_at(position);
  record = {.counter = fence.counter,
            .granted = terms.now,
            .position = position,
            .unit = unit,
            .holder = holder,
            .next = rank.first,
            .state = RecordState::kLive};
  if (rank.first != kNone) {
    records_[rank.first].previous = slot;
  }
  rank.first = slot;
  ++rank.live_count;
  ++live_count_;
  start_time(slot, terms.expires);
  if (deadline_ > Duration::zero()) {
    note_due(slot);
  }
  std::uint32_t attempt = 1;
  if (const Trouble* trouble = trouble_of(unit); trouble != nullptr) {
    attempt += trouble->failure_count;
    record.alone = trouble->suspect;
    rank.alone_count += record.alone ? 1 : 0;
  }
  lease = {.unit = unit, .fence = fence, .attempt = attempt};
}

void LeaseTable::note_due(Slot slot) {
  constexpr std::size_t kSpareMax = 64;  // That are over and not worth looking for.
  if (due_.size() > 2 * live_count_ + kSpareMax) {
    std::erase_if(due_, [this](const Due& due) { return is_over(due); });
    due_begin_ = 0;
  }
  due_.push_back({.slot = slot, .counter = records_[slot].counter});
}

LeaseTable::Slot LeaseTable::find_overdue(Instant now) {
  while (due_begin_ < due_.size() && is_over(due_[due_begin_])) {
    ++due_begin_;
  }
  if (due_begin_ == due_.size() || due_time(due_[due_begin_]) > now) {
    return kNone;
  }
  return due_[due_begin_].slot;
}

void LeaseTable::extend(Slot slot, Instant expires) {
  Record& record = records_[slot];
  if (record.state == RecordState::kLapsed) {
    stop_waiting(record.position);
    lapsed_.erase(record.position);
    record.state = RecordState::kLive;
    ++live_count_;
    ++ranks_[record.holder.rank].live_count;
    ranks_[record.holder.rank].alone_count += record.alone ? 1 : 0;
  } else {
    stop_time(slot);
  }
  start_time(slot, expires);
}

void LeaseTable::accept(Slot slot, Instant now) {
  const Record& record = records_[slot];
  const std::uint32_t position = record.position;
  const bool lapsed = record.state == RecordState::kLapsed;
  profile_.add(now - record.granted, queue_.weight_at(position));
  if (record.has_twin) {
    drop_all_of(position);
  } else {
    drop(slot);
  }
  if (lapsed) {
    stop_waiting(position);
  }
  settle(position);
}

void LeaseTable::accept_unit(std::uint64_t unit) {
  const std::uint32_t position = queue_.position_of(static_cast<std::uint32_t>(unit));
  drop_all_of(position);
  if (!queue_.is_accepted(position)) {
    settle(position);
  }
}

void LeaseTable::settle(std::uint32_t position) {
  queue_.set_accepted(position, true);
  ++accepted_count_;
}

void LeaseTable::give_back(Slot slot) {
  const std::uint32_t position = records_[slot].position;
  const bool waits_already = records_[slot].state == RecordState::kLapsed;
  if (drop(slot) && !waits_already) {
    wait(position);
  }
}

const Trouble& LeaseTable::fail(Slot slot, const FailTerms& terms, const Failure& failure) {
  const std::uint32_t position = records_[slot].position;
  const std::uint32_t rank = records_[slot].holder.rank;
  const bool lapsed = records_[slot].state == RecordState::kLapsed;
  const bool waits_next = drop(slot);
  if (lapsed) {
    stop_waiting(position);
  }
  Trouble& trouble = trouble_at(position);
  trouble.failure_count += terms.counts ? 1 : 0;
  trouble.last = failure;
  const auto ranks_end = trouble.ranks.begin() + trouble.rank_count;
  if (terms.counts && trouble.rank_count < trouble.ranks.size() &&
      std::find(trouble.ranks.begin(), ranks_end, rank) == ranks_end) {
    trouble.ranks[trouble.rank_count++] = rank;
  }
  kept_.erase({trouble.kept_until, position});
  trouble.kept_rank = rank;
  trouble.kept_until = std::max(terms.kept_until, terms.ready_at);
  if (trouble.kept_until > terms.now) {
    kept_.emplace(trouble.kept_until, position);
  } else {
    trouble.kept_until = Instant::min();
  }
  trouble.ready_at = terms.ready_at > terms.now ? terms.ready_at : Instant::min();
  if (waits_next) {
    wait(position);
  }
  return trouble;
}

void LeaseTable::give_up(std::uint64_t unit) {
  const std::uint32_t position = queue_.position_of(static_cast<std::uint32_t>(unit));
  drop_all_of(position);
  trouble_at(position).given_up = true;
  ++given_up_count_;
}

void LeaseTable::give_up_all_but(std::uint64_t unit) {
  const std::uint32_t kept = queue_.position_of(static_cast<std::uint32_t>(unit));
  for (std::uint32_t position = 0; position < queue_.size(); ++position) {
    if (position != kept) {
      queue_.remove(position);
    }
  }
  given_up_count_ = queue_.size() - 1;
}

void LeaseTable::reopen(std::uint64_t unit) {
  const std::uint32_t position = queue_.position_of(static_cast<std::uint32_t>(unit));
  PINION_ASSERT(queue_.is_accepted(position));
  queue_.set_accepted(position, false);
  --accepted_count_;
  wait(position);
}

void LeaseTable::list(std::uint32_t rank, std::uint32_t epoch, std::vector<Lease>& leases) const {
  for (Slot slot = ranks_[rank].first; slot != kNone; slot = records_[slot].next) {
    leases.push_back({.unit = records_[slot].unit,
                      .fence = {.epoch = epoch, .counter = records_[slot].counter}});
  }
}

void LeaseTable::abandon(std::uint32_t rank, std::vector<std::uint64_t>& units) {
  const bool alone = ranks_[rank].live_count == 1;
  for (Slot slot = ranks_[rank].first; slot != kNone; slot = records_[slot].next) {
    const Record& record = records_[slot];
    if (record.state == RecordState::kLive) {
      Trouble& trouble = trouble_at(record.position);
      trouble.suspect = true;
      ++trouble.death_count;
      trouble.alone_death_count += alone ? 1 : 0;
      units.push_back(record.unit);
    }
  }
  withdraw(rank);
  std::sort(units.begin(), units.end());
}

void LeaseTable::withdraw(std::uint32_t rank) {
  while (ranks_[rank].first != kNone) {
    give_back(ranks_[rank].first);
  }
}

void LeaseTable::expire(Instant now, std::vector<std::uint32_t>& ranks) {
  while (soonest_ != kNone && records_[soonest_].expires <= now) {
    const Slot slot = soonest_;
    Record& record = records_[slot];
    ranks.push_back(record.holder.rank);
    if (record.has_twin) {
      drop(slot);
      continue;
    }
    stop_time(slot);
    count_out(record);
    record.state = RecordState::kLapsed;
    lapsed_[record.position] = slot;
    wait(record.position);
  }
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    const std::uint32_t position = delayed_.begin()->second;
    delayed_.erase(delayed_.begin());
    trouble_at(position).ready_at = Instant::min();
    wait(position);
  }
  while (!kept_.empty() && kept_.begin()->first <= now) {
    trouble_at(kept_.begin()->second).kept_until = Instant::min();
    kept_.erase(kept_.begin());
    ++return_count_;
  }
}

Instant LeaseTable::next_deadline() const noexcept {
  Instant deadline = soonest_ == kNone ? Instant::max() : records_[soonest_].expires;
  const auto due = std::find_if_not(due_.begin() + static_cast<std::ptrdiff_t>(due_begin_),
                                    due_.end(), [this](const Due& one) { return is_over(one); });
  if (due != due_.end()) {
    deadline = std::min(deadline, due_time(*due));
  }
  for (const auto* times : {&delayed_, &kept_}) {
    if (!times->empty()) {
      deadline = std::min(deadline, times->begin()->first);
    }
  }
  return deadline;
}

LeaseTable::Straggler LeaseTable::find_straggler(std::uint32_t helper, Instant now,
                                                 Duration least) const {
  constexpr std::uint64_t kEnough = 3;  // What fewer units took says too little.
  constexpr double kLateFactor = 1.5;
  Straggler found;
  if (profile_.count() < kEnough) {
    found.next = now;
    return found;
  }
  const double usual_rate = profile_.third_quartile();
  double worst = 0;
  for (Slot slot = soonest_; slot != kNone; slot = records_[slot].later) {
    const Record& record = records_[slot];
    if (record.has_twin || record.alone || record.holder.rank == helper ||
        !queue_.may_run(helper, record.position)) {
      continue;
    }
    const Duration limit = std::max(
        DurationProfile::expected(usual_rate * kLateFactor, queue_.weight_at(record.position)),
        least);
    const Duration run = now - record.granted;
    if (run < limit) {
      found.next = std::min(found.next, record.granted + limit);
      continue;
    }
    const double lateness = static_cast<double>(run.count()) / static_cast<double>(limit.count());
    if (lateness > worst) {
      worst = lateness;
      found.slot = slot;
    }
  }
  return found;
}

void LeaseTable::forget(std::uint32_t rank) {
  for (Slot slot = ranks_[rank].first; slot != kNone; slot = records_[slot].next) {
    stop_time(slot);
  }
}

bool LeaseTable::drop(Slot slot) {
  Record& record = records_[slot];
  stop_time(slot);
  if (record.state == RecordState::kLive) {
    count_out(record);
  } else {
    lapsed_.erase(record.position);
  }
  (record.previous == kNone ? ranks_[record.holder.rank].first : records_[record.previous].next) =
      record.next;
  if (record.next != kNone) {
    records_[record.next].previous = record.previous;
  }
  const bool had_twin = record.has_twin;
  if (had_twin) {
    const auto pair = seconds_.find(record.position);
    const Slot twin = pair->second.first == slot ? pair->second.second : pair->second.first;
    records_[twin].has_twin = false;
    seconds_.erase(pair);
    ++return_count_;
  }
  record.state = RecordState::kFree;
  record.counter = 0;
  free_.push_back(slot);
  return !had_twin;
}

/// Ends whatever leases the unit has, and its waiting.
void LeaseTable::drop_all_of(std::uint32_t position) {
  if (const auto pair = seconds_.find(position); pair != seconds_.end()) {
    const auto [first, second] = pair->second;
    drop(first);
    drop(second);
    return;
  }
  if (const auto lapsed = lapsed_.find(position); lapsed != lapsed_.end()) {
    drop(lapsed->second);
  }
  for (Record& record : records_) {
    if (record.state == RecordState::kLive && record.position == position) {
      drop(static_cast<Slot>(&record - records_.data()));
      return;
    }
  }
  stop_waiting(position);
}

/// Times of expiry come in order, so the latest is always the last.
void LeaseTable::start_time(Slot slot, Instant expires) {
  Record& record = records_[slot];
  record.expires = latest_ == kNone ? expires : std::max(expires, records_[latest_].expires);
  record.sooner = latest_;
  record.later = kNone;
  record.is_timed = true;
  (latest_ == kNone ? soonest_ : records_[latest_].later) = slot;
  latest_ = slot;
}

void LeaseTable::stop_time(Slot slot) {
  Record& record = records_[slot];
  if (!record.is_timed) {
    return;
  }
  (record.sooner == kNone ? soonest_ : records_[record.sooner].later) = record.later;
  (record.later == kNone ? latest_ : records_[record.later].sooner) = record.sooner;
  record.is_timed = false;
}

void LeaseTable::count_out(const Record& record) {
  OfRank& rank = ranks_[record.holder.rank];
  PINION_ASSERT(rank.live_count > 0 && live_count_ > 0);
  --rank.live_count;
  --live_count_;
  rank.alone_count -= record.alone ? 1 : 0;
}

void LeaseTable::wait(std::uint32_t position) {
  queue_.set_granted_again(position);
  ++return_count_;
  const Trouble* const trouble = trouble_of(queue_.unit_at(position));
  if (trouble == nullptr) {
    queue_.put(position);
  } else if (trouble->ready_at != Instant::min()) {
    delayed_.emplace(trouble->ready_at, position);
  } else {
    (trouble->suspect ? suspects_ : retries_).insert(position);
  }
}

void LeaseTable::stop_waiting(std::uint32_t position) {
  if (queue_.waits(position)) {
    queue_.remove(position);
  } else if (const Trouble* const trouble = trouble_of(queue_.unit_at(position))) {
    suspects_.erase(position);
    retries_.erase(position);
    delayed_.erase({trouble->ready_at, position});
  }
}

bool LeaseTable::waits(std::uint64_t unit) const {
  const std::uint32_t position = queue_.position_of(static_cast<std::uint32_t>(unit));
  return queue_.waits(position) || suspects_.contains(position) || retries_.contains(position);
}

/// Precondition: the unit does not wait among those without trouble.
Trouble& LeaseTable::trouble_at(std::uint32_t position) {
  return troubles_[queue_.unit_at(position)];
}

const Trouble* LeaseTable::trouble_of(std::uint64_t unit) const {
  if (troubles_.empty()) {
    return nullptr;
  }
  const auto found = troubles_.find(unit);
  return found == troubles_.end() ? nullptr : &found->second;
}

bool LeaseTable::kept_from(std::uint32_t rank, std::uint32_t position) const {
  const Trouble* const trouble = trouble_of(queue_.unit_at(position));
  return trouble != nullptr && trouble->kept_rank == rank && trouble->kept_until != Instant::min();
}

std::size_t LeaseTable::slots_left() const noexcept {
  return free_.size() + (std::size_t{1} << FenceSource::kSlotBits) - records_.size();
}

std::size_t LeaseTable::queue_memory_bytes() const noexcept {
  return queue_.memory_bytes();
}

}  // namespace pinion::protocol
