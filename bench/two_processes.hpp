#pragma once

#include <sched.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace pinion {

/// Ends the process where a call of the system, which sets errno, went wrong.
inline void require(bool holds, const char* what) {
  if (!holds) {
    std::perror(what);
    std::_Exit(1);
  }
}

/// Binds the calling thread to the first (0) or the second (1) CPU that this process may use, so
/// that two processes have one each. Ends the process with status 77 where it may use one only.
inline void bind_to_cpu(std::size_t which) {
  cpu_set_t allowed;
  require(::sched_getaffinity(0, sizeof(allowed), &allowed) == 0, "sched_getaffinity");
  std::vector<std::size_t> cpus;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) {
      cpus.push_back(cpu);
    }
  }
  if (cpus.size() < 2) {
    std::fputs("this benchmark needs two CPUs\n", stderr);
    std::_Exit(77);
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpus[which], &one);
  require(::sched_setaffinity(0, sizeof(one), &one) == 0, "sched_setaffinity");
}

/// The upper one of two; 0 of nothing.
inline double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

}  // namespace pinion
