#include "cuda/cuda_device.hpp"

#include <algorithm>
#include <string>

namespace pinion {
namespace {

// Of each stream that copies memory which is not registered: a page table's worth, which the
// device copies at nearly its full rate.
constexpr std::size_t kBounceBytes = std::size_t{2} << 20;

}  // namespace

Result<std::unique_ptr<IDeviceStream>> CudaDeviceStream::create(CudaDevice& device) {
  std::unique_ptr<CudaDeviceStream> stream(new CudaDeviceStream(device));
  PINION_RETURN_IF_ERROR(stream->open());
  return std::unique_ptr<IDeviceStream>(std::move(stream));
}

Status CudaDeviceStream::open() {
  ICudaRuntime& runtime = device_.runtime();
  const int ordinal = device_.ordinal_;
  PINION_RETURN_IF_ERROR(
      device_.note(runtime.create_stream(ordinal, stream_), "making a stream of the device"));
  PINION_RETURN_IF_ERROR(
      device_.note(runtime.create_event(ordinal, wait_event_), "making an event of the device"));
  Result<std::unique_ptr<EventWaiter>> waiter = EventWaiter::create(
      runtime, ordinal, [&device = device_](int native) { return device.note_work(native); });
  if (!waiter) {
    return std::move(waiter).error();
  }
  waiter_ = *std::move(waiter);
  return {};
}

// Errors are those of a device that does nothing any more.
CudaDeviceStream::~CudaDeviceStream() {
  ICudaRuntime& runtime = device_.runtime();
  const int ordinal = device_.ordinal_;
  if (waiter_ != nullptr) {
    reached().wait();
    waiter_.reset();
  }
  if (bounce_ != nullptr) {
    static_cast<void>(runtime.release_host(ordinal, bounce_));
  }
  if (wait_event_ != CudaEvent{}) {
    static_cast<void>(runtime.destroy_event(ordinal, wait_event_));
  }
  if (stream_ != CudaStream{}) {
    static_cast<void>(runtime.destroy_stream(ordinal, stream_));
  }
}

Status CudaDeviceStream::check(DeviceSpan span, std::size_t size_bytes) const {
  if (span.size_bytes != size_bytes) {
    return Status(ErrorCode::kOutOfRange,
                  "a copy between " + std::to_string(size_bytes) + " bytes of the host and " +
                      std::to_string(span.size_bytes) + " of the device; both must be as many");
  }
  if (!device_.contains(span)) {
    return Status(ErrorCode::kOutOfRange, "the " + std::to_string(span.size_bytes) + " bytes at " +
                                              std::to_string(span.address) +
                                              " lie in no buffer of the device");
  }
  return {};
}

Status CudaDeviceStream::make_bounce() {
  if (bounce_ != nullptr) {
    return {};
  }
  return device_.note(device_.runtime().allocate_host(device_.ordinal_, kBounceBytes, bounce_),
                      "taking host memory to copy by");
}

Status CudaDeviceStream::copy_in_pieces(std::uint64_t target, std::span<const std::byte> source) {
  ICudaRuntime& runtime = device_.runtime();
  PINION_RETURN_IF_ERROR(make_bounce());
  for (std::size_t done = 0; done < source.size(); done += kBounceBytes) {
    const std::size_t size_bytes = std::min(kBounceBytes, source.size() - done);
    const std::span<std::byte> piece(bounce_, size_bytes);
    PINION_RETURN_IF_ERROR(device_.note(
        runtime.copy_on_host(device_.ordinal_, stream_, piece, source.data() + done), "a copy"));
    PINION_RETURN_IF_ERROR(
        device_.note(runtime.copy_in(device_.ordinal_, stream_, target + done, piece), "a copy"));
  }
  return {};
}

Status CudaDeviceStream::copy_out_pieces(std::span<std::byte> target, std::uint64_t source) {
  ICudaRuntime& runtime = device_.runtime();
  PINION_RETURN_IF_ERROR(make_bounce());
  for (std::size_t done = 0; done < target.size(); done += kBounceBytes) {
    const std::size_t size_bytes = std::min(kBounceBytes, target.size() - done);
    const std::span<std::byte> piece(bounce_, size_bytes);
    PINION_RETURN_IF_ERROR(
        device_.note(runtime.copy_out(device_.ordinal_, stream_, piece, source + done), "a copy"));
    PINION_RETURN_IF_ERROR(device_.note(
        runtime.copy_on_host(device_.ordinal_, stream_, target.subspan(done, size_bytes), bounce_),
        "a copy"));
  }
  return {};
}

Status CudaDeviceStream::copy_in(DeviceSpan target, std::span<const std::byte> source) {
  PINION_RETURN_IF_ERROR(device_.status());
  PINION_RETURN_IF_ERROR(check(target, source.size()));
  if (source.empty()) {
    return {};
  }
  if (!device_.is_registered(source)) {
    return copy_in_pieces(target.address, source);
  }
  return device_.note(device_.runtime().copy_in(device_.ordinal_, stream_, target.address, source),
                      "a copy to the device");
}

Status CudaDeviceStream::copy_out(std::span<std::byte> target, DeviceSpan source) {
  PINION_RETURN_IF_ERROR(device_.status());
  PINION_RETURN_IF_ERROR(check(source, target.size()));
  if (target.empty()) {
    return {};
  }
  if (!device_.is_registered(target)) {
    return copy_out_pieces(target, source.address);
  }
  return device_.note(device_.runtime().copy_out(device_.ordinal_, stream_, target, source.address),
                      "a copy from the device");
}

Status CudaDeviceStream::launch(std::string_view kernel, std::span<const std::byte> arguments,
                                std::span<const DeviceSpan> buffers) {
  PINION_RETURN_IF_ERROR(device_.status());
  const CudaLaunch own = device_.runtime().find_kernel(kernel);
  const CudaLaunch found = own != nullptr ? own : CudaKernel::find(kernel);
  if (found == nullptr) {
    return Status(ErrorCode::kNotFound, "there is no kernel '" + std::string(kernel) +
                                            "' for CUDA; register it by that name in a .cu file "
                                            "of the program");
  }
  for (const DeviceSpan& buffer : buffers) {
    PINION_RETURN_IF_ERROR(check(buffer, buffer.size_bytes));
  }
  const CudaCall call = {
      .name = kernel, .launch = found, .arguments = arguments, .buffers = buffers};
  return device_.note(device_.runtime().launch(device_.ordinal_, stream_, call),
                      "kernel '" + std::string(kernel) + "'");
}

Status CudaDeviceStream::wait_for(const IDeviceStream& other) {
  PINION_RETURN_IF_ERROR(device_.status());
  const auto* const stream = dynamic_cast<const CudaDeviceStream*>(&other);
  if (stream == nullptr || &stream->device_ != &device_) {
    return Status(ErrorCode::kInvalidArgument,
                  "a stream can wait only for one of the same device; wait for its completion");
  }
  // The stream takes what the event stands for at this moment, so it may be recorded again at once.
  ICudaRuntime& runtime = device_.runtime();
  PINION_RETURN_IF_ERROR(device_.note(
      runtime.record(device_.ordinal_, stream->stream_, wait_event_), "marking a stream"));
  return device_.note(runtime.wait_in_stream(device_.ordinal_, stream_, wait_event_),
                      "waiting for a stream");
}

Completion CudaDeviceStream::reached() {
  CompletionSource source;
  Completion completion = source.completion();
  Status status = device_.status();
  if (status.ok()) {
    status = device_.note(waiter_->put(stream_, source), "marking a stream");
    if (status.ok()) {
      return completion;
    }
  }
  source.signal(std::move(status));
  return completion;
}

}  // namespace pinion
