#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pinion/core/device.hpp>

// Devices that break their contract in one way each.

namespace pinion::testing {

/// Hands everything on to another stream.
class ForwardingStream : public IDeviceStream {
 public:
  explicit ForwardingStream(std::unique_ptr<IDeviceStream> inner) : inner_(std::move(inner)) {}

  Status copy_in(DeviceSpan target, std::span<const std::byte> source) override {
    return inner_->copy_in(target, source);
  }
  Status copy_out(std::span<std::byte> target, DeviceSpan source) override {
    return inner_->copy_out(target, source);
  }
  Status launch(std::string_view kernel, std::span<const std::byte> arguments,
                std::span<const DeviceSpan> buffers) override {
    return inner_->launch(kernel, arguments, buffers);
  }
  Status wait_for(const IDeviceStream& other) override {
    const auto* const stream = dynamic_cast<const ForwardingStream*>(&other);
    return inner_->wait_for(stream != nullptr ? *stream->inner_ : other);
  }
  Completion reached() override { return inner_->reached(); }

 protected:
  IDeviceStream& inner() { return *inner_; }

 private:
  const std::unique_ptr<IDeviceStream> inner_;
};

/// Hands everything on to another device, with streams of its own.
template <class Stream = ForwardingStream>
class ForwardingDevice : public IDevice {
 public:
  explicit ForwardingDevice(IDevice& inner) : inner_(inner) {}

  const DeviceInfo& info() const noexcept override { return inner_.info(); }
  DeviceUsage usage() const override { return inner_.usage(); }
  DeviceFault fault() const override { return inner_.fault(); }
  Result<DeviceBuffer> allocate(std::uint64_t size_bytes) override {
    return inner_.allocate(size_bytes);
  }
  Result<HostRegistration> register_host(std::span<std::byte> memory) override {
    return inner_.register_host(memory);
  }
  bool is_registered(std::span<const std::byte> memory) const override {
    return inner_.is_registered(memory);
  }
  Result<std::unique_ptr<IDeviceStream>> create_stream() override {
    Result<std::unique_ptr<IDeviceStream>> made = inner_.create_stream();
    if (!made) {
      return made;
    }
    return std::unique_ptr<IDeviceStream>(std::make_unique<Stream>(*std::move(made)));
  }
  std::uint64_t begin_range(std::uint64_t shard) override { return inner_.begin_range(shard); }
  void end_range(std::uint64_t range) override { inner_.end_range(range); }
  void abandon() override { inner_.abandon(); }

 protected:
  IDevice& inner() { return inner_; }

 private:
  IDevice& inner_;
};

struct StreamThatDoesNotWait : ForwardingStream {
  using ForwardingStream::ForwardingStream;
  Status wait_for(const IDeviceStream&) override { return {}; }
};

// Puts each launch before the one that came before it.
struct StreamThatSwaps : ForwardingStream {
  using ForwardingStream::ForwardingStream;
  Status launch(std::string_view kernel, std::span<const std::byte> arguments,
                std::span<const DeviceSpan> buffers) override {
    std::function<Status()> held =
        std::exchange(held_, [this, kernel = std::string(kernel),
                              copied = std::vector<std::byte>(arguments.begin(), arguments.end()),
                              spans = std::vector<DeviceSpan>(buffers.begin(), buffers.end())] {
          return inner().launch(kernel, copied, spans);
        });
    if (!held) {
      return {};
    }
    const Status status = std::exchange(held_, nullptr)();
    return status.ok() ? held() : status;
  }
  Status copy_out(std::span<std::byte> target, DeviceSpan source) override {
    const Status status = held_ ? std::exchange(held_, nullptr)() : Status();
    return status.ok() ? inner().copy_out(target, source) : status;
  }

 private:
  std::function<Status()> held_;
};

struct StreamThatSignalsEarly : ForwardingStream {
  using ForwardingStream::ForwardingStream;
  Completion reached() override {
    CompletionSource source;
    source.signal({});
    return source.completion();
  }
};

struct StreamThatTakesAnyCopy : ForwardingStream {
  using ForwardingStream::ForwardingStream;
  Status copy_in(DeviceSpan target, std::span<const std::byte> source) override {
    const Status status = inner().copy_in(target, source);
    return status.code() == ErrorCode::kOutOfRange ? Status() : status;
  }
};

struct StreamThatKeepsArgumentsByReference : ForwardingStream {
  using ForwardingStream::ForwardingStream;
  Status launch(std::string_view kernel, std::span<const std::byte> arguments,
                std::span<const DeviceSpan> buffers) override {
    held_ = [this, kernel = std::string(kernel), arguments,
             spans = std::vector<DeviceSpan>(buffers.begin(), buffers.end())] {
      return inner().launch(kernel, arguments, spans);
    };
    return {};
  }
  Status copy_out(std::span<std::byte> target, DeviceSpan source) override {
    const Status status = held_ ? std::exchange(held_, nullptr)() : Status();
    return status.ok() ? inner().copy_out(target, source) : status;
  }

 private:
  std::function<Status()> held_;
};

struct DeviceThatForgetsItsFault : ForwardingDevice<> {
  using ForwardingDevice::ForwardingDevice;
  DeviceFault fault() const override { return DeviceFault::kNone; }
};

struct DeviceThatKeepsMemory : ForwardingDevice<> {
  using ForwardingDevice::ForwardingDevice;
  Result<DeviceBuffer> allocate(std::uint64_t size_bytes) override {
    Result<DeviceBuffer> made = inner().allocate(size_bytes);
    if (!made) {
      return made;
    }
    kept_.push_back(*std::move(made));
    return DeviceBuffer(kept_.back().address(), size_bytes, nullptr);
  }

 private:
  std::deque<DeviceBuffer> kept_;
};

// Of one byte more than there is, as one who counts from 1.
struct DeviceThatExceedsItsBudget : ForwardingDevice<> {
  using ForwardingDevice::ForwardingDevice;
  Result<DeviceBuffer> allocate(std::uint64_t size_bytes) override {
    const DeviceUsage usage = inner().usage();
    const bool one_too_many = size_bytes == 1 && usage.allocated_bytes == usage.budget_bytes;
    return one_too_many ? DeviceBuffer(1, 1, nullptr) : inner().allocate(size_bytes);
  }
};

struct DeviceThatFindsAllMemoryRegistered : ForwardingDevice<> {
  using ForwardingDevice::ForwardingDevice;
  bool is_registered(std::span<const std::byte>) const override { return true; }
};

struct DeviceThatSaysItIsLost : ForwardingDevice<> {
  using ForwardingDevice::ForwardingDevice;
  Result<DeviceBuffer> allocate(std::uint64_t size_bytes) override {
    if (inner().fault() == DeviceFault::kSticky) {
      return Status(ErrorCode::kUnavailable, "the device is gone");
    }
    return inner().allocate(size_bytes);
  }
};

}  // namespace pinion::testing
