#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/input.hpp>
#include <pinion/shard/sort.hpp>
#include <pinion/shard/step.hpp>

namespace pinion::engine {

/// What a sort learns of its input before it reads it.
struct SortSample {
  std::uint64_t input_bytes = 0;
  std::vector<std::string> records = {};  ///< Of lines at most the first kSampledLineBytes.
};

inline constexpr std::uint64_t kSampledLineBytes = 64;

/// Reads records here and there, at places that follow from the job's seed. A step of its own: one
/// rank reads, all get the same. A sample is advice: what cannot be read is not in it.
/// Blocks and fails as run_step() does.
[[nodiscard]] Result<SortSample> take_sort_sample(IJobContext& job, const Input& input,
                                                  const RecordForm& form, CallSite where);

}  // namespace pinion::engine
