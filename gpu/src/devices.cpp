#include <pinion/gpu/devices.hpp>

#include <string>
#include <utility>

#include <pinion/gpu/driver_report.hpp>
#include <pinion/numa/topology.hpp>

#include "cuda/cuda_devices.hpp"
#include "cuda/cuda_runtime.hpp"

namespace pinion {

Result<std::vector<std::unique_ptr<IDevice>>> open_devices(const DeviceOptions& options) {
  // Wrong options are wrong in every build, so a program finds them before it meets a GPU. Written
  // so that a NaN is refused too.
  if (!(options.memory_share > 0.0 && options.memory_share <= 1.0)) {
    return Status(ErrorCode::kInvalidArgument, "memory_share is " +
                                                   std::to_string(options.memory_share) +
                                                   "; it must be above 0 and at most 1");
  }
  Result<std::unique_ptr<ICudaRuntime>> runtime = load_cuda_runtime();
  if (!runtime) {
    return std::move(runtime).error();
  }
  Result<Topology> topology = Topology::of_this_machine();
  if (!topology) {
    return std::move(topology).error();
  }
  // Without it slices have no names of their parents, and only CUDA_VISIBLE_DEVICES hides devices.
  const Result<DriverReport> report = report_of_driver();
  const std::span<const DriverDevice> managed =
      report ? std::span<const DriverDevice>(report->devices) : std::span<const DriverDevice>();
  return open_cuda_devices(*std::move(runtime), managed, *topology, options);
}

}  // namespace pinion
