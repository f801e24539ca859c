#include <pinion/gpu/pipeline.hpp>

#include <string>
#include <utility>

#include "pipeline_state.hpp"

namespace pinion {
namespace {

constexpr std::size_t kDepthMax = 8;

// Written so that a NaN is refused too.
Status check(const PipelineOptions& options) {
  if (options.depth < 1 || options.depth > kDepthMax) {
    return Status(ErrorCode::kInvalidArgument, "depth is " + std::to_string(options.depth) +
                                                   "; it must be 1 to " +
                                                   std::to_string(kDepthMax));
  }
  if (options.waiting_max == 0) {
    return Status(ErrorCode::kInvalidArgument, "waiting_max is 0; it must be at least 1");
  }
  if (options.batch_count_max == 0) {
    return Status(ErrorCode::kInvalidArgument, "batch_count_max is 0; it must be at least 1");
  }
  if (!(options.hang.factor >= 1.0) || options.hang.least <= Duration() ||
      options.hang.first <= Duration()) {
    return Status(ErrorCode::kInvalidArgument,
                  "hang.factor must be at least 1, hang.least and hang.first above 0");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Pipeline>> Pipeline::create(StagingPool& staging,
                                                   const KernelRegistry& kernels, ITimer& timer,
                                                   PipelineOptions options) {
  PINION_RETURN_IF_ERROR(check(options));
  auto state = std::make_shared<State>(staging, kernels, timer, std::move(options));
  PINION_RETURN_IF_ERROR(state->open_streams());
  return std::unique_ptr<Pipeline>(new Pipeline(std::move(state)));
}

Pipeline::Pipeline(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

Pipeline::~Pipeline() {
  state_->close();
}

Status Pipeline::submit(DeviceWork work) {
  return state_->submit(std::move(work));
}

PipelineUsage Pipeline::usage() const {
  return state_->usage();
}

}  // namespace pinion
