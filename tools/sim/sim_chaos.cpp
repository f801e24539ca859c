#include <algorithm>

#include "sim/sim_world.hpp"

namespace pinion::sim {

using namespace std::chrono_literals;

namespace {

/// The faults that come by themselves, each as often as there are ranks.
constexpr Fault kOfTheirOwn[] = {Fault::kCrash, Fault::kPause, Fault::kPartition, Fault::kOneWay,
                                 Fault::kClockJump};

double rate(const SimOptions& options) {
  double sum = 0;
  for (const Fault fault : kOfTheirOwn) {
    sum += options.faults[fault];
  }
  return sum * static_cast<double>(options.rank_count);
}

}  // namespace

void World::schedule_fault() {
  const double per_second = rate(options_);
  if (per_second > 0) {
    const double seconds = random_.fraction() * 2 / per_second;
    events_.at(now() + Duration(static_cast<Duration::rep>(seconds * 1e9)),
               {.kind = EventKind::kFault});
  }
}

void World::disturb() {
  double drawn = random_.fraction() * rate(options_) / static_cast<double>(options_.rank_count);
  const auto rank = static_cast<std::uint32_t>(random_.below(options_.rank_count));
  RankState& state = ranks_[rank];
  const auto is = [&](Fault fault) {
    const bool drawn_here = drawn >= 0 && drawn < options_.faults[fault];
    drawn -= options_.faults[fault];
    if (drawn_here) {
      drawn = -1;
    }
    return drawn_here && state.life == Life::kUp;
  };
  if (is(Fault::kCrash)) {
    count(Fault::kCrash);
    crash(rank);
  } else if (is(Fault::kPause)) {
    count(Fault::kPause);
    const Duration pause = random_.between(Duration(1ms), options_.lease_duration * 5 / 2);
    reached("a pause was longer than a lease", pause > lease_end());
    state.trouble_since = now();
    // A pause is never cut short: what waits for its end keeps its order.
    state.paused_until = std::max(state.paused_until, now() + pause);
  } else if (is(Fault::kPartition)) {
    count(Fault::kPartition);
    cut_off(true);
  } else if (is(Fault::kOneWay)) {
    count(Fault::kOneWay);
    cut_off(false);
  } else if (is(Fault::kClockJump)) {
    count(Fault::kClockJump);
    const Duration jump = random_.between(Duration(1ms), options_.lease_duration * 2);
    const bool back = random_.chance(0.5);
    reached("the clock of a rank went back", back);
    state.clock.jump(back ? -jump : jump);
  }
}

/// Ranks that follow each other, as those of a host do. What is on its way waits; the links keep
/// their order.
void World::cut_off(bool both_directions) {
  const std::uint64_t count = random_.between(1, std::max<std::uint64_t>(1, ranks_.size() / 2));
  const std::uint64_t first = random_.below(ranks_.size());
  const Instant until = now() + random_.between(Duration(1ms), options_.lease_duration * 5 / 2);
  const bool to_coordinator = both_directions || random_.chance(0.5);
  for (std::uint64_t i = 0; i < count; ++i) {
    RankState& state = ranks_[(first + i) % ranks_.size()];
    state.trouble_since = now();
    if (to_coordinator) {
      state.to_coordinator.blocked_until = std::max(state.to_coordinator.blocked_until, until);
    }
    if (both_directions || !to_coordinator) {
      state.to_rank.blocked_until = std::max(state.to_rank.blocked_until, until);
    }
  }
}

/// The process dies. What was on its way to it is lost; what it sent may still arrive, before or
/// after the word of its death, which may even come after its next life has joined.
void World::crash(std::uint32_t rank) {
  RankState& state = ranks_[rank];
  state.trouble_since = now();
  state.process.reset();
  const bool returns =
      rank == options_.steadfast_rank || !random_.chance(options_.faults[Fault::kGone]);
  lose(rank, returns);
  if (!returns) {
    count(Fault::kGone);
    reached("a rank died for good");
    state.life = Life::kGone;
    ++over_count_;
    return;
  }
  state.life = Life::kStarting;
  events_.at(now() + random_.between(Duration(1ms), Duration(60ms)),
             {.rank = rank, .kind = EventKind::kStartProcess});
}

/// Both ends see it, each in its own time; until then the process works on in vain.
void World::drop_connection(std::uint32_t rank) {
  RankState& state = ranks_[rank];
  if (state.life != Life::kUp || state.incarnation_cut == state.incarnation) {
    return;
  }
  count(Fault::kDrop);
  state.trouble_since = now();
  state.incarnation_cut = state.incarnation;
  lose(rank, true);
  events_.at(now() + random_.between(Duration::zero(), Duration(60ms)),
             {.rank = rank, .incarnation = state.incarnation, .kind = EventKind::kProcessEnds});
}

void World::lose(std::uint32_t rank, bool returns) {
  protocol::Event lost = protocol::RankLost{.rank = rank,
                                            .incarnation = ranks_[rank].incarnation,
                                            .returns = returns,
                                            .reason = "killed by the simulation"};
  events_.at(now() + random_.between(Duration::zero(), Duration(30ms)),
             {.rank = rank,
              .payload = to_coordinator_.put(std::move(lost)),
              .kind = EventKind::kLossIsKnown});
}

}  // namespace pinion::sim
