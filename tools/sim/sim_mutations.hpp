#pragma once

#include <span>
#include <string_view>

#include "sim/sim_options.hpp"

namespace pinion::sim {

/// A rule that can be broken on purpose, to prove that the simulation notices.
struct MutationInfo {
  std::string_view name;
  bool& (*flag)(SimOptions& options);
};

[[nodiscard]] std::span<const MutationInfo> mutation_table();

/// Nothing where there is no mutation of that name.
[[nodiscard]] const MutationInfo* find_mutation(std::string_view name);

}  // namespace pinion::sim
