#include "cuda/cuda_runtime.hpp"

namespace pinion {

Result<std::unique_ptr<ICudaRuntime>> load_cuda_runtime() {
  return Status(ErrorCode::kUnimplemented,
                "this build of Pinion carries no GPU back-end (PINION_CUDA); work runs on CPUs");
}

}  // namespace pinion
