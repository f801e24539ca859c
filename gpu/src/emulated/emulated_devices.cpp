#include <pinion/gpu/emulated_devices.hpp>

#include <string>
#include <utility>
#include <vector>

#include "emulated/emulated_device.hpp"

namespace pinion {
namespace {

Status refuse(const EmulatedDeviceSpec& spec, const std::string& what) {
  return Status(
      ErrorCode::kInvalidArgument,
      what + " of emulated device " + std::to_string(spec.info.place.index) + " must be above 0");
}

// Written so that a NaN is refused too.
Status check(const EmulatedDeviceSpec& spec) {
  if (spec.info.memory_bytes == 0) {
    return refuse(spec, "the memory");
  }
  if (spec.info.copy_engine_count == 0) {
    return refuse(spec, "the number of copy engines");
  }
  if (spec.copy_in_rate == 0 || spec.copy_out_rate == 0 || spec.pageable_rate == 0) {
    return refuse(spec, "each rate");
  }
  if (!(spec.kernel_factor > 0.0) || !(spec.faults.slow_factor > 0.0)) {
    return refuse(spec, "each factor");
  }
  return {};
}

}  // namespace

// The timer ends first: what waits in it names devices.
struct EmulatedDevices::State {
  std::vector<std::unique_ptr<EmulatedDevice>> owned;
  std::vector<IDevice*> devices;
  std::unique_ptr<ITimer> timer;
  VirtualTime* virtual_time = nullptr;

  [[nodiscard]] EmulatedTimeLine time_line() const { return {*timer, virtual_time}; }
};

Result<std::unique_ptr<EmulatedDevices>> EmulatedDevices::create(const EmulationSpec& spec,
                                                                 const KernelRegistry& kernels) {
  if (spec.devices.empty()) {
    return Status(ErrorCode::kInvalidArgument, "an emulation of no device; it needs at least 1");
  }
  for (const EmulatedDeviceSpec& device : spec.devices) {
    PINION_RETURN_IF_ERROR(check(device));
  }
  auto state = std::make_unique<State>();
  if (spec.time == EmulatedTime::kVirtual) {
    auto time = std::make_unique<VirtualTime>();
    state->virtual_time = time.get();
    state->timer = std::move(time);
  } else {
    Result<std::unique_ptr<SystemTimer>> timer = SystemTimer::create();
    if (!timer) {
      return std::move(timer).error();
    }
    state->timer = *std::move(timer);
  }
  for (const EmulatedDeviceSpec& device : spec.devices) {
    state->owned.push_back(
        std::make_unique<EmulatedDevice>(device, spec.effects, kernels, state->time_line()));
    state->devices.push_back(state->owned.back().get());
  }
  for (const std::unique_ptr<EmulatedDevice>& device : state->owned) {
    device->start();
  }
  return std::unique_ptr<EmulatedDevices>(new EmulatedDevices(std::move(state)));
}

EmulatedDevices::EmulatedDevices(std::unique_ptr<State> state) noexcept
    : state_(std::move(state)) {}
EmulatedDevices::~EmulatedDevices() = default;

std::span<IDevice* const> EmulatedDevices::devices() const noexcept {
  return state_->devices;
}

ITimer& EmulatedDevices::timer() noexcept {
  return *state_->timer;
}

VirtualTime* EmulatedDevices::virtual_time() noexcept {
  return state_->virtual_time;
}

void EmulatedDevices::wait(const Completion& completion) {
  state_->time_line().wait(completion);
}

}  // namespace pinion
