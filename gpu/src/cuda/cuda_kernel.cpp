#include <pinion/gpu/cuda_kernel.hpp>

#include <atomic>

namespace pinion {
namespace {

// Constants of the program, each known by being linked: they are put here before main() begins, or
// when a library that has some is loaded, and stay. Constant initialisation makes the order in
// which files are initialised matter nothing.
constinit std::atomic<const CudaKernel*> newest_kernel = nullptr;

}  // namespace

CudaKernel::CudaKernel(std::string_view name, CudaLaunch launch) noexcept
    : name_(name), launch_(launch), next_(newest_kernel.load(std::memory_order_relaxed)) {
  // Release: who finds this kernel sees its members.
  while (!newest_kernel.compare_exchange_weak(next_, this, std::memory_order_release,
                                              std::memory_order_relaxed)) {
  }
}

CudaLaunch CudaKernel::find(std::string_view name) noexcept {
  // Acquire: pairs with the release of the constructor.
  for (const CudaKernel* kernel = newest_kernel.load(std::memory_order_acquire); kernel != nullptr;
       kernel = kernel->next_) {
    if (kernel->name_ == name) {
      return kernel->launch_;
    }
  }
  return nullptr;
}

}  // namespace pinion
