#include <pinion/gpu/devices.hpp>

#include <string>

namespace pinion {

Result<std::vector<std::unique_ptr<IDevice>>> open_devices(const DeviceOptions& options) {
  // Wrong options are wrong in every build, so a program finds them before it meets a GPU. Written
  // so that a NaN is refused too.
  if (!(options.memory_share > 0.0 && options.memory_share <= 1.0)) {
    return Status(ErrorCode::kInvalidArgument, "memory_share is " +
                                                   std::to_string(options.memory_share) +
                                                   "; it must be above 0 and at most 1");
  }
  return Status(ErrorCode::kUnimplemented,
                "this build of Pinion carries no GPU back-end; give the shards a CPU body");
}

}  // namespace pinion
