#include "affinity_fault.hpp"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <vector>

namespace {

using pinion::testing_support::AffinityFaultKind;

std::atomic<AffinityFaultKind> fault = AffinityFaultKind::kNone;

int set_affinity(pid_t thread, std::size_t size, const void* mask) noexcept {
  return static_cast<int>(::syscall(SYS_sched_setaffinity, thread, size, mask));
}

}  // namespace

namespace pinion::testing_support {

AffinityFault::AffinityFault(AffinityFaultKind kind) noexcept {
  fault = kind;
}

AffinityFault::~AffinityFault() {
  fault = AffinityFaultKind::kNone;
}

}  // namespace pinion::testing_support

extern "C" int sched_setaffinity(pid_t thread, std::size_t size, const cpu_set_t* mask) noexcept {
  if (fault == AffinityFaultKind::kRefuse) {
    errno = EPERM;
    return -1;
  }
  if (fault == AffinityFaultKind::kNone) {
    return set_affinity(thread, size, mask);
  }
  std::vector<unsigned char> first(size);
  for (std::size_t cpu = 0; cpu < size * 8; ++cpu) {
    if (CPU_ISSET_S(cpu, size, mask)) {
      CPU_SET_S(cpu, size, reinterpret_cast<cpu_set_t*>(first.data()));
      break;
    }
  }
  return set_affinity(thread, size, first.data());
}
