#pragma once

#include <compare>
#include <cstdint>

namespace pinion {

enum class PlaceKind : std::uint8_t { kNuma, kDevice };

/// Where work runs or bytes live: one NUMA node or one accelerator of one host.
/// A plain value: copy it, compare it, send it. `index` is the logical index hwloc or CUDA gives,
/// never an operating-system id.
struct Place {
  PlaceKind kind = PlaceKind::kNuma;
  std::uint16_t index = 0;
  std::uint32_t host = 0;

  friend auto operator<=>(const Place&, const Place&) = default;
};
static_assert(sizeof(Place) == 8, "Place travels inside every task header");

/// The order in which the places of a host follow each other.
[[nodiscard]] constexpr bool before_by_host(const Place& left, const Place& right) noexcept {
  return left.host != right.host ? left.host < right.host : left < right;
}

}  // namespace pinion
