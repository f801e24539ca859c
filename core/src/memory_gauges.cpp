#include <pinion/core/memory_gauges.hpp>

#include <string>

namespace pinion {

MemoryGauges::MemoryGauges(Metrics& metrics)
    : metrics_(metrics),
      peak_(metrics.gauge("memory peak bytes")),
      use_peaks_(),
      reused_(metrics.gauge("pages reused")),
      fresh_(metrics.gauge("pages fresh")),
      spare_(metrics.gauge("pages spare bytes")) {
  for (std::size_t use = 0; use < kMemoryUseCount; ++use) {
    use_peaks_[use] =
        metrics.gauge(std::string(to_string(static_cast<MemoryUse>(use))) + " peak bytes");
  }
}

void MemoryGauges::set(const MemoryUsage& memory, const PagePoolUsage& pages) const noexcept {
  metrics_.set(peak_, memory.total.peak_bytes);
  for (std::size_t use = 0; use < kMemoryUseCount; ++use) {
    metrics_.set(use_peaks_[use], memory.uses[use].peak_bytes);
  }
  metrics_.set(reused_, pages.reused_count);
  metrics_.set(fresh_, pages.fresh_count);
  metrics_.set(spare_, pages.spare_bytes);
}

}  // namespace pinion
