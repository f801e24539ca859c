#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/clock.hpp>

namespace pinion::sim {

/// A grant of a unit, as it was seen from outside.
struct WatchedGrant {
  std::uint64_t counter = 0;  ///< 0: none.
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 0;
  Instant expires = {};
};

/// A unit, as it was seen from outside. Small, as a job has many, and they come in no order.
struct WatchedUnit {
  std::uint32_t grants = 0;  ///< Where its grants are. Of WatchedUnits.
  bool granted : 1 = false;
  bool granted_again : 1 = false;
  bool accepted : 1 = false;
  bool told : 1 = false;    ///< A rank knows that it is accepted.
  bool missed : 1 = false;  ///< Its deadline, at least once.
  std::uint8_t failure_count = 0;
  std::uint8_t death_count = 0;  ///< Of ranks that may have held nothing else.
};
static_assert(sizeof(WatchedUnit) == 8);

/// The units of one stage of a step, with the grants of those few that are worked on.
class WatchedUnits {
 public:
  /// Two where a second rank tries a late unit.
  struct alignas(64) Grants : std::array<WatchedGrant, 2> {};

  WatchedUnits() = default;
  explicit WatchedUnits(std::size_t count) : units_(count) {}

  [[nodiscard]] std::size_t size() const noexcept { return units_.size(); }
  [[nodiscard]] WatchedUnit& operator[](std::size_t unit) { return units_[unit]; }
  [[nodiscard]] const WatchedUnit& operator[](std::size_t unit) const { return units_[unit]; }
  [[nodiscard]] std::span<const WatchedUnit> all() const noexcept { return units_; }

  /// Those of a unit that was granted and is not accepted; of another there are none.
  [[nodiscard]] Grants& grants_of(const WatchedUnit& unit) { return grants_[unit.grants]; }
  [[nodiscard]] const Grants& grants_of(const WatchedUnit& unit) const {
    return grants_[unit.grants];
  }
  /// Another grant, which takes the place of one that is over, or of the second.
  void add_grant(WatchedUnit& unit, const WatchedGrant& grant) {
    if (unit.grants == 0) {
      unit.grants = open();
    }
    Grants& grants = grants_[unit.grants];
    grants[grants[0].counter == 0 ? 0 : 1] = grant;
  }
  void forget_grants(WatchedUnit& unit) {
    if (unit.grants != 0) {
      grants_[unit.grants] = {};
      free_.push_back(unit.grants);
      unit.grants = 0;
    }
  }

 private:
  std::uint32_t open() {
    if (free_.empty()) {
      grants_.emplace_back();
      return static_cast<std::uint32_t>(grants_.size() - 1);
    }
    const std::uint32_t place = free_.back();
    free_.pop_back();
    return place;
  }

  std::vector<WatchedUnit> units_;
  std::vector<Grants> grants_ = std::vector<Grants>(1);  // The first are of units without any.
  std::vector<std::uint32_t> free_;
};

}  // namespace pinion::sim
