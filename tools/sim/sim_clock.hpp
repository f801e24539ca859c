#pragma once

#include <pinion/core/clock.hpp>

namespace pinion::sim {

/// The clock of a rank: as fast as it likes, and it may jump.
class RankClock {
 public:
  RankClock() = default;
  /// Shows `local` at `world`, and runs `drift` too fast: 0.05 is 5 %.
  RankClock(Instant world, Instant local, double drift)
      : world_(world), local_(local), speed_(1 + drift) {}

  [[nodiscard]] Instant local(Instant world) const {
    return local_ + scaled(world - world_, speed_);
  }
  /// Not before the clock shows `local`, unless it jumps.
  [[nodiscard]] Instant world(Instant local) const {
    return world_ + scaled(local - local_, 1 / speed_) + Duration(1);
  }
  void jump(Duration by) { local_ += by; }

 private:
  static Duration scaled(Duration duration, double speed) {
    return speed == 1 ? duration
                      : Duration(static_cast<Duration::rep>(static_cast<double>(duration.count()) *
                                                            speed));
  }

  Instant world_ = {};
  Instant local_ = {};
  double speed_ = 1;
};

}  // namespace pinion::sim
