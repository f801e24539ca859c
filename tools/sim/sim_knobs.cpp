#include "sim/sim_knobs.hpp"

#include <array>

#include <pinion/core/assert.hpp>

namespace pinion::sim {
namespace {

/// In the order of Knob.
constexpr std::array<KnobInfo, kKnobCount> kKnobs = {{
    {.name = "ranks", .least = 1, .most = 8},
    {.name = "steps", .least = 1, .most = 8},
    {.name = "shards", .least = 1, .most = 1000},
    {.name = "partitions", .least = 0, .most = 4},
    {.name = "workers", .least = 1, .most = 3},
    {.name = "leases", .least = 1, .most = 10},
    {.name = "batch", .least = 1, .most = 6},
    {.name = "body-us", .least = 2000, .most = 15'000, .grain = 1000},
    {.name = "latency-us", .least = 100, .most = 3000},
    {.name = "one-planner", .share = 0.4},
    {.name = "wanted", .least = 0, .most = 5},
    {.name = "hosts", .least = 1, .most = 4},
    {.name = "a host for each rank", .share = 0.3},
    {.name = "skip-bad", .share = 0.3},
    {.name = "only-shard", .share = 0.05},
    {.name = "devices", .share = 0.4},
    {.name = "combine", .share = 0.7},
    {.name = "deadline-ms", .share = 0.4, .least = 10, .most = 2000},
    {.name = "no faults", .share = 0.05},
    {.name = "chaos-ms", .least = 500, .most = 5000},
    {.name = "a step without shards", .share = 0.1},
    {.name = "ordered", .share = 0.4, .least = 1, .most = 5},
    {.name = "lease-ms", .share = 0.5, .least = 100, .most = 500},
    {.name = "heartbeat-ms", .share = 0.5, .least = 5, .most = 500},
    {.name = "patience-ms", .share = 0.5, .least = 1, .most = 500},
    {.name = "attempts", .share = 0.5, .least = 2, .most = 6},
    {.name = "deaths", .share = 0.2, .least = 2, .most = 3},
    {.name = "no-second-attempts", .share = 0.2},
}};
static_assert(kKnobs.back().name == "no-second-attempts");

}  // namespace

const KnobInfo& info(Knob knob) {
  return kKnobs[static_cast<std::size_t>(knob)];
}

std::span<const KnobInfo> knob_table() {
  return kKnobs;
}

bool comes(Knob knob, Random& random) {
  return random.chance(info(knob).share);
}

std::uint64_t draw(Knob knob, Random& random) {
  const KnobInfo& of = info(knob);
  PINION_ASSERT(!of.is_flag());
  return random.between(of.least / of.grain, of.most / of.grain) * of.grain;
}

}  // namespace pinion::sim
