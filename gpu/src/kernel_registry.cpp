#include <pinion/gpu/kernel_registry.hpp>

#include <utility>

namespace pinion {

Status KernelRegistry::add(std::string name, Kernel kernel) {
  if (name.empty()) {
    return Status(ErrorCode::kInvalidArgument, "a kernel needs a name");
  }
  if (!kernel.body) {
    return Status(ErrorCode::kInvalidArgument,
                  "kernel '" + name + "' has no CPU body; every kernel needs one");
  }
  const auto [position, added] = kernels_.try_emplace(std::move(name));
  if (!added) {
    return Status(ErrorCode::kAlreadyExists,
                  "there is a kernel '" + position->first + "' already; give it another name");
  }
  position->second = std::move(kernel);
  return {};
}

const Kernel* KernelRegistry::find(std::string_view name) const noexcept {
  const auto found = kernels_.find(name);
  return found == kernels_.end() ? nullptr : &found->second;
}

}  // namespace pinion
