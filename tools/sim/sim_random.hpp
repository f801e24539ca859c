#pragma once

#include <cstdint>
#include <random>

#include <pinion/core/clock.hpp>

namespace pinion::sim {

/// Everything that is left to chance in a run comes from one of these, so a seed replays it.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  /// Precondition: limit > 0.
  std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }
  std::uint64_t between(std::uint64_t least, std::uint64_t most) {
    return least + below(most - least + 1);
  }
  bool chance(double probability) {
    return static_cast<double>(below(1'000'000)) < probability * 1e6;
  }
  Duration between(Duration least, Duration most) {
    return least + Duration(below(static_cast<std::uint64_t>((most - least).count()) + 1));
  }

 private:
  std::mt19937_64 engine_;
};

/// Spreads the bits of a number: equal numbers stay equal, close ones become far.
inline std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15U;
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31U);
}

}  // namespace pinion::sim
