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
    for (const protocol::Lease& lease : leases) {
      units_.push_back({stage, lease});
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
  return units_.size() + running_count_;
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
                     Duration last_unit) {
  const Instant seal_at = std::min(batch_deadline, clock_.now() + kBatchPatience);
  MutexLock lock(mutex_);
  if (last_unit > Duration::zero()) {
    --running_count_;
    if (units_.size() + running_count_ == least_count_) {
      control_.wake();
    }
    // Of the last eight or so.
    unit_duration_ +=
        unit_duration_ == Duration::zero() ? last_unit : (last_unit - unit_duration_) / 8;
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
    if (!units_.empty()) {
      const Unit unit = units_.front();
      units_.pop_front();
      ++running_count_;
      return {NextStep::kRunUnit, unit.stage, unit.lease, plan_, partials_};
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
