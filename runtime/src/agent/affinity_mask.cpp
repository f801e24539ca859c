#include "agent/affinity_mask.hpp"

#include <algorithm>

namespace pinion {

std::vector<cpu_set_t> affinity_mask(std::span<const unsigned> cpus) {
  std::vector<cpu_set_t> sets;
  for (const unsigned cpu : cpus) {
    const unsigned index = cpu / CPU_SETSIZE;
    sets.resize(std::max<std::size_t>(sets.size(), index + 1), cpu_set_t{});
    CPU_SET(cpu % CPU_SETSIZE, &sets[index]);
  }
  return sets;
}

}  // namespace pinion
