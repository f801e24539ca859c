#include "stage_pool.hpp"

#include <algorithm>
#include <utility>

#include "ucx_context.hpp"

namespace pinion {
namespace {

// Those of a few pulls; what more pulls need at once is registered for each.
constexpr std::size_t kFreeMax = 16;

// Of which chunks are not much longer, so that most stages fit most chunks.
constexpr std::size_t kGranule = std::size_t{256} << 10;

}  // namespace

Result<std::unique_ptr<Stage>> Stage::create(ucp_context_h context, std::size_t size) {
  std::unique_ptr<Stage> stage(new Stage(context, size));
  ucp_mem_map_params_t params = {};
  params.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                      UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE;
  params.address = stage->bytes_.get();
  params.length = size;
  params.memory_type = UCS_MEMORY_TYPE_HOST;
  if (const ucs_status_t status = ucx().ucp_mem_map(context, &params, &stage->memory_);
      status != UCS_OK) {
    stage->memory_ = nullptr;
    return ucx_error(status, "register memory for RDMA (see ulimit -l)");
  }
  void* key = nullptr;
  std::size_t key_size = 0;
  if (const ucs_status_t status = ucx().ucp_rkey_pack(context, stage->memory_, &key, &key_size);
      status != UCS_OK) {
    return ucx_error(status, "pack the key of memory for RDMA");
  }
  const auto* const first = static_cast<const std::byte*>(key);
  stage->key_.assign(first, first + key_size);
  ucx().ucp_rkey_buffer_release(key);
  return stage;
}

Stage::~Stage() {
  if (memory_ != nullptr) {
    ucx().ucp_mem_unmap(context_, memory_);
  }
}

Result<std::unique_ptr<Stage>> StagePool::take(ucp_context_h context, std::size_t size) {
  const auto fits = std::ranges::find_if(
      free_, [size](const std::unique_ptr<Stage>& stage) { return stage->bytes().size() >= size; });
  if (fits == free_.end()) {
    return Stage::create(context, (size + kGranule - 1) / kGranule * kGranule);
  }
  std::unique_ptr<Stage> stage = std::move(*fits);
  free_.erase(fits);
  return stage;
}

void StagePool::give_back(std::unique_ptr<Stage> stage) {
  if (free_.size() < kFreeMax) {
    free_.push_back(std::move(stage));
  }
}

}  // namespace pinion
