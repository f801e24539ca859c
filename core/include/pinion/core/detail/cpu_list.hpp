#pragma once

#include <span>
#include <string>

namespace pinion::detail {

/// "0-3,8" for 0 1 2 3 8. Precondition: ascending.
[[nodiscard]] std::string to_cpu_list(std::span<const unsigned> cpus);

}  // namespace pinion::detail
