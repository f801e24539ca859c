#include <algorithm>

#include "sim/sim_world.hpp"

namespace pinion::sim {

using namespace std::chrono_literals;

namespace {

/// The faults that come to ranks by themselves.
constexpr Fault kOfTheirOwn[] = {Fault::kCrash,  Fault::kPause,     Fault::kPartition,
                                 Fault::kOneWay, Fault::kClockJump, Fault::kDrain};

double rate_of_ranks(const SimOptions& options) {
  double sum = 0;
  for (const Fault fault : kOfTheirOwn) {
    sum += options.faults[fault];
  }
  return sum * static_cast<double>(options.rank_count);
}

}  // namespace

void World::schedule_fault() {
  const double per_second = rate_of_ranks(options_) + options_.faults[Fault::kHeadCrash] +
                            options_.faults[Fault::kHostCrash];
  if (per_second > 0) {
    const double seconds = random_.fraction() * 2 / per_second;
    events_.at(now() + Duration(static_cast<Duration::rep>(seconds * 1e9)),
               {.kind = EventKind::kFault});
  }
}

void World::disturb() {
  const double of_ranks = rate_of_ranks(options_);
  const double of_head = options_.faults[Fault::kHeadCrash];
  double drawn = random_.fraction() * (of_ranks + of_head + options_.faults[Fault::kHostCrash]);
  if (drawn >= of_ranks + of_head) {
    crash_host(static_cast<std::uint32_t>(random_.below(options_.host_count)));
    return;
  }
  if (drawn >= of_ranks) {
    if (head_is_up_) {
      count(Fault::kHeadCrash);
      crash_head();
    }
    return;
  }
  drawn /= static_cast<double>(options_.rank_count);
  const auto rank = static_cast<std::uint32_t>(random_.below(options_.rank_count));
  RankState& state = ranks_[rank];
  const auto is = [&](Fault fault) {
    const bool drawn_here = drawn >= 0 && drawn < options_.faults[fault];
    drawn -= options_.faults[fault];
    if (drawn_here) {
      drawn = -1;
    }
    return drawn_here && state.presence == Presence::kUp;
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
  } else if (is(Fault::kDrain) && rank != options_.steadfast_rank && now() >= state.paused_until &&
             state.process->drain()) {
    count(Fault::kDrain);
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
    state.presence = Presence::kGone;
    ++over_count_;
    return;
  }
  state.presence = Presence::kStarting;
  start_soon(rank, Duration(1ms), Duration(60ms));
}

/// All at once, but known a while later. Never the host of the head, nor that of the rank that
/// always returns.
void World::crash_host(std::uint32_t host) {
  if (host == 0 || host == host_of(static_cast<std::uint32_t>(options_.steadfast_rank)) ||
      host_is_down_[host] || !head_is_up_) {
    return;
  }
  count(Fault::kHostCrash);
  host_is_down_[host] = true;
  store_.lose(host);
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    RankState& state = ranks_[rank];
    const bool takes_part =
        state.presence == Presence::kUp || state.presence == Presence::kStarting;
    if (host_of(rank) == host && takes_part) {
      state.trouble_since = now();
      state.process.reset();
      state.presence = Presence::kGone;
      ++over_count_;
    }
  }
  events_.at(now() + random_.between(Duration::zero(), options_.lease_duration * 2),
             {.life = epoch_, .payload = host, .kind = EventKind::kHostLossIsKnown});
}

/// Both ends see it, each in its own time; until then the process works on in vain.
void World::drop_connection(std::uint32_t rank) {
  RankState& state = ranks_[rank];
  if (state.presence != Presence::kUp || state.life_cut == state.life) {
    return;
  }
  count(Fault::kDrop);
  state.trouble_since = now();
  state.life_cut = state.life;
  lose(rank, true);
  events_.at(now() + random_.between(Duration::zero(), Duration(60ms)),
             {.rank = rank, .life = state.life, .kind = EventKind::kProcessEnds});
}

void World::lose(std::uint32_t rank, bool returns) {
  const RankState& state = ranks_[rank];
  protocol::Event lost = protocol::RankLost{.rank = rank,
                                            .incarnation = state.life - state.lives_of_epochs,
                                            .returns = returns,
                                            .reason = "killed by the simulation"};
  events_.at(now() + random_.between(Duration::zero(), Duration(30ms)),
             {.rank = rank,
              .life = state.life,
              .payload = to_coordinator_.put(std::move(lost)),
              .kind = EventKind::kLossIsKnown});
}

}  // namespace pinion::sim
