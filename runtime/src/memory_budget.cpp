#include "memory_budget.hpp"

#include <limits>
#include <string>

#include <pinion/numa/memory_limits.hpp>

namespace pinion {
namespace {

// Below this, buffers and tables of the smallest step do not fit.
constexpr std::uint64_t kRankBytesMin = std::uint64_t{16} << 20;
constexpr std::uint64_t kWorkerBytesMin = std::uint64_t{8} << 20;

}  // namespace

Result<std::uint64_t> memory_budget_of(const Settings& settings, std::size_t rank_count) {
  if (settings.memory_bytes > 0) {
    return settings.memory_bytes;
  }
  const Result<MemoryLimits> limits = memory_limits();
  if (!limits) {
    return Status(limits.error());
  }
  return limits->limit.bytes / 2 / rank_count;
}

std::uint64_t available_bytes() {
  const Result<MemoryLimits> limits = memory_limits();
  return limits ? limits->available.bytes : std::numeric_limits<std::uint64_t>::max();
}

Result<MemoryLedger> make_ledger(std::uint64_t budget_bytes, std::size_t worker_count) {
  const std::uint64_t least = kRankBytesMin + worker_count * kWorkerBytesMin;
  if (budget_bytes < least) {
    return Status(ErrorCode::kResourceExhausted,
                  "this rank has a memory budget of " + std::to_string(budget_bytes) + " bytes; " +
                      std::to_string(worker_count) +
                      (worker_count == 1 ? " worker needs" : " workers need") + " at least " +
                      std::to_string(least) + "; raise memory-bytes, or lower workers");
  }
  return MemoryLedger({.budget_bytes = budget_bytes,
                       .blob_bytes_max = budget_bytes / 4 * 3,
                       .advice = "raise memory-bytes, or keep fewer results at once"});
}

}  // namespace pinion
