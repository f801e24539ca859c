#pragma once

#include <cstdint>

namespace pinion::testing_support {

enum class AffinityFaultKind : std::uint8_t {
  kNone,
  kRefuse,  ///< EPERM.
  kNarrow,  ///< Success; but of the CPUs that are asked for, only the first is taken.
};

/// What this program's calls of sched_setaffinity() meet while it lives, on all threads. Link
/// affinity_fault.cpp, which stands in front of the system's.
class AffinityFault {
 public:
  explicit AffinityFault(AffinityFaultKind kind) noexcept;
  ~AffinityFault();
  AffinityFault(const AffinityFault&) = delete;
  AffinityFault& operator=(const AffinityFault&) = delete;
};

}  // namespace pinion::testing_support
