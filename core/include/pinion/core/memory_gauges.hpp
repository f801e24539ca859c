#pragma once

#include <array>
#include <cstdint>

#include <pinion/core/memory_ledger.hpp>
#include <pinion/core/metrics.hpp>
#include <pinion/core/page_pool.hpp>

namespace pinion {

/// What a process does with its memory, as gauges of its metrics: "memory peak bytes" and the same
/// of each use ("input peak bytes", ...), "pages reused" and "pages fresh", which count requests to
/// the pool, and "pages spare bytes".
///
/// Thread safety: set() may be called from any thread.
/// Lifetime: borrows the metrics.
class MemoryGauges {
 public:
  explicit MemoryGauges(Metrics& metrics);

  void set(const MemoryUsage& memory, const PagePoolUsage& pages) const noexcept;

 private:
  Metrics& metrics_;
  GaugeId peak_;
  std::array<GaugeId, kMemoryUseCount> use_peaks_;
  GaugeId reused_;
  GaugeId fresh_;
  GaugeId spare_;
};

}  // namespace pinion
