#pragma once

#include <sched.h>

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include <pinion/core/status.hpp>

namespace pinion {

/// A set of CPUs by their operating-system numbers, in the form that the kernel takes.
class CpuMask {
 public:
  /// The largest CPU number is one less.
  static constexpr unsigned kCpuCountMax = 8192;

  /// The affinity mask that the system reports for the calling thread.
  [[nodiscard]] static Result<CpuMask> of_calling_thread();

  /// Precondition: cpu < kCpuCountMax.
  [[nodiscard]] static CpuMask of_cpu(unsigned cpu);

  /// Precondition: each is less than kCpuCountMax.
  [[nodiscard]] static CpuMask of_cpus(std::span<const unsigned> cpus);

  [[nodiscard]] bool contains(unsigned cpu) const noexcept;
  [[nodiscard]] std::vector<unsigned> cpus() const;

  friend bool operator==(const CpuMask& a, const CpuMask& b) noexcept;

  /// Makes this the affinity mask of the calling thread. Returns 0 or an errno.
  [[nodiscard]] int bind_calling_thread() const noexcept;

 private:
  std::array<cpu_set_t, kCpuCountMax / CPU_SETSIZE> sets_ = {};
};

}  // namespace pinion
