#pragma once

#include <cstdint>

#include <pinion/core/clock.hpp>

namespace pinion::sim {

/// Spreads the bits of a number: equal numbers stay equal, close ones become far.
constexpr std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15U;
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31U);
}

/// Everything that is left to chance in a run comes from one of these, so a seed replays it.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() { return mix(state_ += 0xd1b54a32d192ed03U); }

  /// Precondition: limit > 0.
  std::uint64_t below(std::uint64_t limit) {
    return limit <= 0xffffffffU ? ((next() >> 32U) * limit) >> 32U : next() % limit;
  }
  std::uint64_t between(std::uint64_t least, std::uint64_t most) {
    return least + below(most - least + 1);
  }
  Duration between(Duration least, Duration most) {
    return least + Duration(below(static_cast<std::uint64_t>((most - least).count()) + 1));
  }
  double fraction() { return static_cast<double>(next() >> 11U) * 0x1p-53; }
  bool chance(double probability) { return probability > 0 && fraction() < probability; }

 private:
  std::uint64_t state_;
};

}  // namespace pinion::sim
