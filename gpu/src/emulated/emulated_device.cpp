#include "emulated/emulated_device.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "run_body.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

// An input, an output and scratch memory.
constexpr std::size_t kBuffersOfShard = 3;

// To the nanosecond above. A rate of 0 is none.
Duration time_for(std::uint64_t size_bytes, std::uint64_t rate) {
  if (rate == 0) {
    return {};
  }
  __extension__ using Wide = unsigned __int128;
  const Wide nanoseconds = (Wide{size_bytes} * kNanosecondsPerSecond + rate - 1) / rate;
  return Duration(static_cast<Duration::rep>(nanoseconds));
}

Duration scaled(Duration duration, double factor) {
  if (factor == 1.0) {
    return duration;  // Exact, however long.
  }
  return Duration(
      static_cast<Duration::rep>(std::ceil(static_cast<double>(duration.count()) * factor)));
}

// The work named memory that was given back before the work was over: a GPU would read whatever is
// there.
Status no_such_memory() {
  return Status(ErrorCode::kDataLoss, "an operation met a device buffer that has ended");
}

}  // namespace

void EmulatedTimeLine::wait(const Completion& completion) const {
  if (virtual_time == nullptr) {
    completion.wait();
    return;
  }
  const bool ready = virtual_time->run_until(completion);
  PINION_ASSERT(ready);
}

EmulatedDevice::EmulatedDevice(const EmulatedDeviceSpec& spec, EmulatedEffects effects,
                               const KernelRegistry& kernels, EmulatedTimeLine time)
    : spec_(spec),
      effects_(effects),
      kernels_(kernels),
      time_(time),
      memory_(spec, effects),
      engines_(spec, time.timer) {}

DeviceFault EmulatedDevice::fault() const {
  return device_fault(engines_.status().code());
}

Result<DeviceBuffer> EmulatedDevice::allocate(std::uint64_t size_bytes) {
  PINION_RETURN_IF_ERROR(engines_.status());
  return memory_.allocate(size_bytes);
}

Result<HostRegistration> EmulatedDevice::register_host(std::span<std::byte> memory) {
  PINION_RETURN_IF_ERROR(engines_.status());
  return memory_.register_host(memory);
}

bool EmulatedDevice::is_registered(std::span<const std::byte> memory) const {
  return memory_.is_registered(memory);
}

Result<std::unique_ptr<IDeviceStream>> EmulatedDevice::create_stream() {
  PINION_RETURN_IF_ERROR(engines_.status());
  return std::unique_ptr<IDeviceStream>(new EmulatedStream(*this));
}

void EmulatedDevice::abandon() {
  const std::string words = "device " + std::to_string(spec_.info.place.index) +
                            " was abandoned, as its work did not end in time";
  if (spec_.faults.cannot_be_abandoned && engines_.status().ok()) {
    exit_with(
        Status(ErrorCode::kDeadlineExceeded, words + "; this process ends with it, as planted"));
  }
  engines_.end_with(Status(ErrorCode::kDeadlineExceeded, words));
}

Duration EmulatedDevice::copy_time(std::span<const std::byte> memory, std::uint64_t rate) const {
  const bool direct = memory_.is_registered(memory);
  const Duration time =
      time_for(memory.size(), direct ? rate : std::min(rate, spec_.pageable_rate));
  return scaled(spec_.latency + time, spec_.faults.slow_factor);
}

Duration EmulatedDevice::kernel_time(const KernelCost& cost, std::uint64_t size_bytes) const {
  const Duration time = cost.launch + time_for(size_bytes, cost.bytes_per_second);
  return scaled(spec_.latency + scaled(time, spec_.kernel_factor), spec_.faults.slow_factor);
}

EmulatedStream::EmulatedStream(EmulatedDevice& device)
    : device_(device), queue_(device.engines_.open()) {}

EmulatedStream::~EmulatedStream() {
  device_.time_.wait(reached());
  device_.engines_.close(queue_);
}

Status EmulatedStream::check(DeviceSpan span, std::size_t size_bytes) const {
  if (span.size_bytes != size_bytes) {
    return Status(ErrorCode::kOutOfRange,
                  "a copy between " + std::to_string(size_bytes) + " bytes of the host and " +
                      std::to_string(span.size_bytes) + " of the device; both must be as many");
  }
  if (!device_.memory_.contains(span)) {
    return Status(ErrorCode::kOutOfRange, "the " + std::to_string(span.size_bytes) + " bytes at " +
                                              std::to_string(span.address) +
                                              " lie in no buffer of the device");
  }
  return {};
}

Status EmulatedStream::copy_in(DeviceSpan target, std::span<const std::byte> source) {
  PINION_RETURN_IF_ERROR(device_.engines_.status());
  PINION_RETURN_IF_ERROR(check(target, source.size()));
  Operation copy{.engine = EngineKind::kCopyIn,
                 .duration = device_.copy_time(source, device_.spec_.copy_in_rate)};
  if (device_.effects_ == EmulatedEffects::kAll && !source.empty()) {
    copy.effect = [&memory = device_.memory_, target, source]() -> Status {
      const std::shared_ptr<std::byte[]> bytes = memory.find(target);
      if (bytes == nullptr) {
        return no_such_memory();
      }
      std::memcpy(bytes.get(), source.data(), source.size());
      return {};
    };
  }
  return device_.engines_.put(queue_, std::move(copy));
}

Status EmulatedStream::copy_out(std::span<std::byte> target, DeviceSpan source) {
  PINION_RETURN_IF_ERROR(device_.engines_.status());
  PINION_RETURN_IF_ERROR(check(source, target.size()));
  Operation copy{.engine = EngineKind::kCopyOut,
                 .duration = device_.copy_time(target, device_.spec_.copy_out_rate)};
  if (device_.effects_ == EmulatedEffects::kAll && !target.empty()) {
    copy.effect = [&memory = device_.memory_, target, source]() -> Status {
      const std::shared_ptr<std::byte[]> bytes = memory.find(source);
      if (bytes == nullptr) {
        return no_such_memory();
      }
      std::memcpy(target.data(), bytes.get(), target.size());
      return {};
    };
  }
  return device_.engines_.put(queue_, std::move(copy));
}

Status EmulatedStream::launch(std::string_view kernel, std::span<const std::byte> arguments,
                              std::span<const DeviceSpan> buffers) {
  PINION_RETURN_IF_ERROR(device_.engines_.status());
  const Kernel* const found = device_.kernels_.find(kernel);
  if (found == nullptr) {
    return Status(ErrorCode::kNotFound,
                  "there is no kernel '" + std::string(kernel) + "'; register it by that name");
  }
  if (device_.spec_.faults.wrong_architecture) {
    return Status(ErrorCode::kFailedPrecondition,
                  "kernel '" + std::string(kernel) + "' is not built for " +
                      device_.spec_.info.architecture + ", as planted");
  }
  for (const DeviceSpan& buffer : buffers) {
    PINION_RETURN_IF_ERROR(check(buffer, buffer.size_bytes));
  }
  std::uint64_t size_bytes = buffers.empty() ? 0 : buffers.front().size_bytes;
  for (std::size_t i = kBuffersOfShard; found->takes_batches && i < buffers.size();
       i += kBuffersOfShard) {
    size_bytes += buffers[i].size_bytes;
  }
  Operation run{.engine = EngineKind::kKernel,
                .duration = device_.kernel_time(found->cost, size_bytes)};
  if (device_.effects_ == EmulatedEffects::kAll) {
    run.effect = [&memory = device_.memory_, found,
                  copied = std::vector<std::byte>(arguments.begin(), arguments.end()),
                  spans = std::vector<DeviceSpan>(buffers.begin(), buffers.end())]() -> Status {
      std::vector<std::shared_ptr<std::byte[]>> kept;
      std::vector<std::span<std::byte>> parts;
      for (const DeviceSpan& span : spans) {
        kept.push_back(memory.find(span));
        if (kept.back() == nullptr) {
          return no_such_memory();
        }
        parts.emplace_back(kept.back().get(), static_cast<std::size_t>(span.size_bytes));
      }
      Status status = run_body(found->body, {.arguments = copied, .buffers = parts});
      const bool is_fault = !status.ok() && status.code() != Engines::kNeverEnds;
      return is_fault ? Status(ErrorCode::kDataLoss, status.to_string()) : std::move(status);
    };
  }
  return device_.engines_.put(queue_, std::move(run));
}

Status EmulatedStream::wait_for(const IDeviceStream& other) {
  const auto* const stream = dynamic_cast<const EmulatedStream*>(&other);
  if (stream == nullptr || &stream->device_ != &device_) {
    return Status(ErrorCode::kInvalidArgument,
                  "a stream can wait only for one of the same device; wait for its completion");
  }
  return device_.engines_.put_wait(queue_, stream->queue_);
}

Completion EmulatedStream::reached() {
  return device_.engines_.put_mark(queue_);
}

}  // namespace pinion
