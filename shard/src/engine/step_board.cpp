#include "engine/step_board.hpp"

#include <algorithm>
#include <chrono>

namespace pinion::engine {
namespace {

// How long an open batch waits for more leases. Long beside a round trip to the coordinator, short
// beside what people notice.
constexpr Duration kBatchPatience = std::chrono::milliseconds(50);

}  // namespace

void StepBoard::add_units(protocol::Stage stage, std::span<const protocol::Lease> leases,
                          std::uint64_t unit_count_left) {
  {
    MutexLock lock(mutex_);
    const bool is_alone = was_restarted_ && leases.size() == 1 && unfinished() == 0;
    const bool any_runner = placement_ && stage == protocol::Stage::kMap && !is_alone;
    for (const protocol::Lease& lease : leases) {
      if (any_runner && lease.attempt == 1) {
        unplaced_.push_back(lease);
      } else {
        units_.push_back({stage, lease});
      }
    }
    unit_count_left_ = unit_count_left;
    if (stage_ != stage) {
      stage_ = stage;
      unit_duration_ = {};
    }
  }
  changed_.notify_all();
}

void StepBoard::use_plan(std::shared_ptr<const OpenedPlan> plan) {
  MutexLock lock(mutex_);
  plan_ = std::move(plan);
}

void StepBoard::use_devices(std::unique_ptr<UnitPlacement> placement, bool was_restarted) {
  MutexLock lock(mutex_);
  was_restarted_ = was_restarted;
  placement_ = std::move(placement);
}

void StepBoard::use_partials(std::shared_ptr<const Partials> partials) {
  MutexLock lock(mutex_);
  partials_ = std::move(partials);
}

void StepBoard::drop(protocol::Stage stage, std::span<const protocol::Lease> leases) {
  {
    MutexLock lock(mutex_);
    for (const protocol::Lease& lease : leases) {
      dropped_.insert({stage, lease.fence});
    }
    std::erase_if(units_, [this](const Unit& unit) PINION_REQUIRES(mutex_) {
      return is_dropped(unit.stage, unit.lease);
    });
    if (placement_ && stage == protocol::Stage::kMap) {
      std::erase_if(unplaced_, [this](const protocol::Lease& lease) PINION_REQUIRES(mutex_) {
        return is_dropped(protocol::Stage::kMap, lease);
      });
      placement_->erase(leases);
    }
  }
  changed_.notify_all();
}

std::vector<Finished> StepBoard::take_finished() {
  MutexLock lock(mutex_);
  return std::exchange(finished_, {});
}

Duration StepBoard::unit_duration() {
  MutexLock lock(mutex_);
  return unit_duration_;
}

std::size_t StepBoard::unfinished_count(std::size_t least) {
  MutexLock lock(mutex_);
  least_count_ = least;
  return unfinished();
}

std::size_t StepBoard::unfinished() const {
  return units_.size() + unplaced_.size() + (placement_ ? placement_->waiting_count() : 0) +
         running_count_;
}

void StepBoard::loop_submitted() {
  MutexLock lock(mutex_);
  ++loop_count_;
}

void StepBoard::end() {
  MutexLock lock(mutex_);
  ended_ = true;
  changed_.notify_all();
  while (loop_count_ > 0) {
    changed_.wait(mutex_);
  }
}

Next StepBoard::next(std::span<const protocol::Lease> batch, Instant batch_deadline,
                     Duration last_unit, std::size_t runner) {
  const Instant seal_at = std::min(batch_deadline, clock_.now() + kBatchPatience);
  MutexLock lock(mutex_);
  if (last_unit > Duration::zero()) {
    end_unit(last_unit);
  }
  while (true) {
    if (ended_) {
      return {};
    }
    if (std::any_of(batch.begin(), batch.end(),
                    [this](const protocol::Lease& lease) PINION_REQUIRES(mutex_) {
                      return is_dropped(protocol::Stage::kMap, lease);
                    })) {
      return {.step = NextStep::kDropBatch};
    }
    if (const std::optional<Unit> unit = take(runner)) {
      ++running_count_;
      return {NextStep::kRunUnit, unit->stage, unit->lease, plan_, partials_};
    }
    if (batch.empty()) {
      changed_.wait(mutex_);
      continue;
    }
    if (unit_count_left_ == 0 || clock_.now() >= seal_at) {
      return {.step = NextStep::kSealBatch};
    }
    changed_.wait_until(mutex_, seal_at);
  }
}

void StepBoard::end_unit(Duration time) {
  --running_count_;
  if (unfinished() == least_count_) {
    control_.wake();
  }
  // Of the last eight or so.
  unit_duration_ += unit_duration_ == Duration::zero() ? time : (time - unit_duration_) / 8;
}

std::optional<StepBoard::Unit> StepBoard::take(std::size_t runner) {
  if (runner == kWorkers && !units_.empty()) {
    const Unit unit = units_.front();
    units_.pop_front();
    return unit;
  }
  if (!placement_) {
    return std::nullopt;
  }
  const Instant now = clock_.now();
  const std::size_t number = runner == kWorkers ? placement_->host() : runner;
  std::optional<protocol::Lease> lease = placement_->next(number, now);
  while (!lease && !unplaced_.empty() && placement_->takes_more()) {
    placement_->place(unplaced_.front(), **plan_, now);
    unplaced_.pop_front();
    changed_.notify_all();  // It may be another's.
    lease = placement_->next(number, now);
  }
  return lease ? std::optional<Unit>({protocol::Stage::kMap, *lease}) : std::nullopt;
}

void StepBoard::measured(const protocol::Lease& lease, Duration time) {
  MutexLock lock(mutex_);
  if (placement_) {
    placement_->ended(lease, time);
    changed_.notify_all();  // Who waited may do better now.
  }
}

void StepBoard::landed(const protocol::Lease& lease, Duration on_device, Duration busy) {
  MutexLock lock(mutex_);
  end_unit(on_device);
  placement_->ended(lease, busy);
  changed_.notify_all();
}

void StepBoard::retire(std::size_t device) {
  MutexLock lock(mutex_);
  const std::vector<protocol::Lease> leases = placement_->retire(device);
  unplaced_.insert(unplaced_.begin(), leases.begin(), leases.end());
  changed_.notify_all();
}

bool StepBoard::is_wanted(const protocol::Lease& lease) {
  MutexLock lock(mutex_);
  return !ended_ && !is_dropped(protocol::Stage::kMap, lease);
}

void StepBoard::finish(Finished finished) {
  {
    MutexLock lock(mutex_);
    finished_.push_back(std::move(finished));
  }
  control_.wake();
}

std::vector<protocol::Lease> StepBoard::still_ours(std::span<const protocol::Lease> batch) {
  MutexLock lock(mutex_);
  std::vector<protocol::Lease> ours;
  for (const protocol::Lease& lease : batch) {
    if (!is_dropped(protocol::Stage::kMap, lease)) {
      ours.push_back(lease);
    }
  }
  return ours;
}

void StepBoard::loop_ended() {
  MutexLock lock(mutex_);
  --loop_count_;
  // Under the lock: end() may destroy the board as soon as it sees the last loop gone.
  changed_.notify_all();
}

bool StepBoard::is_dropped(protocol::Stage stage, const protocol::Lease& lease) const {
  return !dropped_.empty() && dropped_.count({stage, lease.fence}) > 0;
}

}  // namespace pinion::engine
