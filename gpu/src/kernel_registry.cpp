#include <pinion/gpu/kernel_registry.hpp>

#include <utility>

namespace pinion {

KernelBody for_each_shard(KernelBody body) {
  return [body = std::move(body)](const KernelCall& call) -> Status {
    constexpr std::size_t kBuffersOfShard = 3;
    if (call.buffers.size() <= kBuffersOfShard) {
      return body(call);
    }
    if (call.buffers.size() % kBuffersOfShard != 0) {
      return Status(ErrorCode::kInvalidArgument, "the kernel was given " +
                                                     std::to_string(call.buffers.size()) +
                                                     " buffers; it takes three for each shard");
    }
    for (std::size_t i = 0; i < call.buffers.size(); i += kBuffersOfShard) {
      PINION_RETURN_IF_ERROR(
          body({.arguments = call.arguments, .buffers = call.buffers.subspan(i, kBuffersOfShard)}));
    }
    return {};
  };
}

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
