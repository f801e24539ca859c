#include "cpu_mask.hpp"

#include <algorithm>
#include <cerrno>

namespace pinion {

Result<CpuMask> CpuMask::of_calling_thread() {
  CpuMask mask;
  if (::sched_getaffinity(0, sizeof(mask.sets_), mask.sets_.data()) != 0) {
    return Status::from_errno(errno, "cannot read the affinity mask of the calling thread");
  }
  return mask;
}

CpuMask CpuMask::of_cpu(unsigned cpu) {
  return of_cpus({&cpu, 1});
}

CpuMask CpuMask::of_cpus(std::span<const unsigned> cpus) {
  CpuMask mask;
  for (const unsigned cpu : cpus) {
    PINION_ASSERT(cpu < kCpuCountMax);
    CPU_SET(cpu % CPU_SETSIZE, &mask.sets_[cpu / CPU_SETSIZE]);
  }
  return mask;
}

bool CpuMask::contains(unsigned cpu) const noexcept {
  return cpu < kCpuCountMax && CPU_ISSET(cpu % CPU_SETSIZE, &sets_[cpu / CPU_SETSIZE]);
}

std::vector<unsigned> CpuMask::cpus() const {
  std::vector<unsigned> cpus;
  for (unsigned cpu = 0; cpu < kCpuCountMax; ++cpu) {
    if (contains(cpu)) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

bool operator==(const CpuMask& a, const CpuMask& b) noexcept {
  return std::equal(
      a.sets_.begin(), a.sets_.end(), b.sets_.begin(),
      [](const cpu_set_t& first, const cpu_set_t& second) { return CPU_EQUAL(&first, &second); });
}

int CpuMask::bind_calling_thread() const noexcept {
  return ::sched_setaffinity(0, sizeof(sets_), sets_.data()) == 0 ? 0 : errno;
}

}  // namespace pinion
