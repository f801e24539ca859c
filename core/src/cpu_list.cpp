#include <pinion/core/detail/cpu_list.hpp>

#include <cstddef>

namespace pinion::detail {

std::string to_cpu_list(std::span<const unsigned> cpus) {
  std::string list;
  for (std::size_t first = 0; first < cpus.size();) {
    std::size_t last = first;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) {
      ++last;
    }
    list += (list.empty() ? "" : ",") + std::to_string(cpus[first]);
    if (last > first) {
      list += "-" + std::to_string(cpus[last]);
    }
    first = last + 1;
  }
  return list;
}

}  // namespace pinion::detail
