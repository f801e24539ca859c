#pragma once

#include <string>

#include <pinion/core/clock.hpp>

#include "sim/sim_world.hpp"

namespace pinion {

/// What a simulated job has done. `wall` is how long the simulation took.
[[nodiscard]] std::string sim_text(const sim::World& world, Duration wall);
[[nodiscard]] std::string sim_json(const sim::World& world, Duration wall,
                                   const std::string& violation);

}  // namespace pinion
