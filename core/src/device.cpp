#include <pinion/core/device.hpp>

namespace pinion {

std::string_view to_string(DeviceFault fault) noexcept {
  switch (fault) {
    case DeviceFault::kNone:
      return "none";
    case DeviceFault::kOutOfMemory:
      return "out of memory";
    case DeviceFault::kConfiguration:
      return "configuration";
    case DeviceFault::kSticky:
      return "sticky";
    case DeviceFault::kLost:
      return "lost";
    case DeviceFault::kHang:
      return "hang";
  }
  return "unknown";
}

DeviceFault device_fault(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kOk:
      return DeviceFault::kNone;
    case ErrorCode::kResourceExhausted:
      return DeviceFault::kOutOfMemory;
    case ErrorCode::kDataLoss:
      return DeviceFault::kSticky;
    case ErrorCode::kUnavailable:
      return DeviceFault::kLost;
    case ErrorCode::kDeadlineExceeded:
      return DeviceFault::kHang;
    default:
      return DeviceFault::kConfiguration;
  }
}

bool ends_device(DeviceFault fault) noexcept {
  return fault == DeviceFault::kSticky || fault == DeviceFault::kLost ||
         fault == DeviceFault::kHang;
}

std::uint64_t IDevice::begin_range(std::uint64_t) {
  return 0;
}

void IDevice::end_range(std::uint64_t) {}

}  // namespace pinion
