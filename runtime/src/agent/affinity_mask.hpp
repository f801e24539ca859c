#pragma once

#include <sched.h>

#include <span>
#include <vector>

namespace pinion {

/// The CPUs in the form that sched_setaffinity() takes, as long as the highest number needs: a
/// cpu_set_t alone ends at 1023. Empty for no CPU.
[[nodiscard]] std::vector<cpu_set_t> affinity_mask(std::span<const unsigned> cpus);

}  // namespace pinion
