#pragma once

#include <algorithm>
#include <cstdint>

#include <pinion/core/job_context.hpp>

namespace pinion::engine {

/// The memory of a state at which its batch is sealed. A table that grows is there twice for a
/// moment, once of twice its size, and blobs may have the larger part of the budget: so a batch is
/// sealed before its next growth could be refused.
[[nodiscard]] inline std::uint64_t batch_bytes_of(IJobContext& job) {
  constexpr std::uint64_t kBudgetParts = 16;
  return std::min(job.info().batch_bytes,
                  job.memory().budget_bytes() / kBudgetParts / job.executor().worker_count());
}

}  // namespace pinion::engine
