#pragma once

#include <string>
#include <vector>

namespace pinion {

/// "0-3,8" for 0 1 2 3 8, in any order.
[[nodiscard]] std::string format_cpus(std::vector<unsigned> cpus);

}  // namespace pinion
