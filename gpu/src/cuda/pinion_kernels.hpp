#pragma once

#include <string_view>

#include <pinion/gpu/cuda_kernel.hpp>

namespace pinion {

/// The kernel of that name of <pinion/gpu/kernels.hpp>; null when it is none of them.
[[nodiscard]] CudaLaunch find_pinion_kernel(std::string_view name) noexcept;

}  // namespace pinion
