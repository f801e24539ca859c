#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pinion {

struct RankIdentity {
  std::uint32_t rank = 0;
  std::uint32_t rank_count = 1;
  std::uint32_t host = 0;
  std::uint32_t local_rank = 0;  ///< Among those of its host.
  std::uint32_t local_rank_count = 1;
  std::uint32_t incarnation = 1;
  std::string gpu_bus_id = {};  ///< Of the GPU that it was put near to; empty: of none.

  /// What CUDA calls the only GPU that the rank is to see; empty: it sees what this process does.
  std::string visible_gpu = {};
};

/// The variables that tell a rank who it is: Pinion's, and the names that scripts written for other
/// launchers read.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> rank_variables(
    const RankIdentity& identity);

/// The variables that would tell a rank of another launcher's server, which is not ours to talk to.
/// A rank has none of them: an MPI program finds nobody to join then, and is alone.
[[nodiscard]] std::vector<std::string> foreign_variables();

/// Whether no program may choose the value: one of rank_variables() or foreign_variables().
[[nodiscard]] bool is_rank_variable(std::string_view name);

}  // namespace pinion
