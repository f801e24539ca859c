#include "sim/sim_world.hpp"

#include <algorithm>

namespace pinion::sim {

using namespace std::chrono_literals;

void World::schedule_chaos() {
  if (options_.chaos_interval == Duration::zero()) {
    return;
  }
  const Duration delay = random_.between(Duration(1ms), options_.chaos_interval * 2);
  events_.after(delay, [this, end = now() + options_.chaos_end]() -> std::optional<Instant> {
    if (now() >= end) {
      return std::nullopt;
    }
    disturb();
    return now() + random_.between(Duration(1ms), options_.chaos_interval * 2);
  });
}

void World::disturb() {
  const auto rank = static_cast<std::uint32_t>(random_.below(options_.rank_count));
  RankState& state = ranks_[rank];
  if (state.life != Life::kUp) {
    return;
  }
  if (random_.chance(0.5)) {
    ++probes_.pauses;
    // A pause is never cut short: what waits for its end keeps its order.
    state.process->paused_until =
        std::max(state.process->paused_until,
                 now() + random_.between(Duration(1ms), options_.lease_duration * 5 / 2));
  } else {
    crash(rank);
  }
}

/// The process dies. What was on its way to it is lost; what it sent may still arrive, before or
/// after the word of its death, which may even come after its next life has joined.
void World::crash(std::uint32_t rank) {
  RankState& state = ranks_[rank];
  ++probes_.crashes;
  state.process.reset();
  const bool returns = rank == options_.steadfast_rank || random_.chance(0.8);
  const std::uint32_t incarnation = state.incarnation;
  const protocol::RankLost lost{.rank = rank,
                                .incarnation = incarnation,
                                .returns = returns,
                                .reason = "killed by the simulation"};
  events_.after(random_.between(Duration::zero(), Duration(30ms)), [this, lost] {
    feed(lost);
    return std::nullopt;
  });
  if (!returns) {
    ++probes_.deaths_for_good;
    state.life = Life::kGone;
    return;
  }
  state.life = Life::kStarting;
  events_.after(random_.between(Duration(1ms), Duration(60ms)), [this, rank] {
    start_process(rank);
    return std::nullopt;
  });
}

}  // namespace pinion::sim
