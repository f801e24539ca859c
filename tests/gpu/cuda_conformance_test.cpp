// The contract of devices on the first GPU of this process; and the kernels of Pinion on it beside
// their CPU twins. Where there is no GPU all is skipped, with the reason.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/gpu/devices.hpp>
#include <pinion/gpu/emulated_devices.hpp>
#include <pinion/gpu/kernels.hpp>
#include <pinion/numa/topology.hpp>

#include "conformance/device_conformance.hpp"
#include "cuda/cuda_device.hpp"
#include "cuda/cuda_devices.hpp"
#include "test_kernels.hpp"

namespace pinion {
namespace {

// The first GPU, within budgets that a test can exceed.
class CudaHost {
 public:
  static constexpr std::uint64_t kBudgetBytes = std::uint64_t{64} << 20;
  static constexpr std::size_t kRegisteredBytesMax = std::size_t{16} << 20;

  static std::unique_ptr<CudaHost> make(DeviceTrial trial) {
    if (trial != DeviceTrial::kHealthy || !why_not().empty()) {
      return nullptr;
    }
    return std::make_unique<CudaHost>();
  }

  static const std::string& why_not() {
    static const std::string reason = [] {
      const auto devices = open_devices({});
      return devices ? std::string() : devices.error().to_string();
    }();
    return reason;
  }

  CudaHost()
      : session_(std::make_shared<CudaSession>(load_cuda_runtime().value())),
        device_(session_, 0, open_devices({}).value()[0]->info(),
                {.memory_bytes = kBudgetBytes, .registered_bytes = kRegisteredBytesMax}),
        other_(EmulatedDevices::create(parse_emulation_spec("emu:1,mem=1m").value(), kernels_)
                   .value()) {}

  IDevice& device() { return device_; }
  IDevice& other_device() { return *other_->devices()[0]; }
  ITimer& timer() { return *timer_; }
  void wait(const Completion& completion) { completion.wait(); }

 private:
  const KernelRegistry kernels_{};
  const std::shared_ptr<CudaSession> session_;
  CudaDevice device_;
  const std::unique_ptr<EmulatedDevices> other_;
  const std::unique_ptr<SystemTimer> timer_ = SystemTimer::create().value();
};

INSTANTIATE_TYPED_TEST_SUITE_P(Cuda, DeviceConformance, CudaHost);

using Bytes = std::vector<std::byte>;

template <class Value>
Bytes bytes_of(const std::vector<Value>& values) {
  Bytes bytes(values.size() * sizeof(Value));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

template <class Value>
std::vector<Value> values_of(std::span<const std::byte> bytes) {
  std::vector<Value> values(bytes.size() / sizeof(Value));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(Value));
  return values;
}

// The output of a kernel of Pinion, by the GPU and by its CPU twin.
class CudaKernels : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!CudaHost::why_not().empty()) {
      GTEST_SKIP() << CudaHost::why_not();
    }
    host_ = std::make_unique<CudaHost>();
    ASSERT_TRUE(add_pinion_kernels(kernels_).ok());
  }

  Bytes on_device(std::string_view kernel, const Bytes& arguments, const Bytes& input,
                  KernelSizes sizes) {
    IDevice& device = host_->device();
    const auto stream = device.create_stream().value();
    const auto take = [&](std::uint64_t size_bytes) {
      return device.allocate(std::max<std::uint64_t>(size_bytes, 1)).value();
    };
    const DeviceBuffer in = take(input.size());
    const DeviceBuffer out = take(sizes.output_bytes);
    const DeviceBuffer scratch = take(sizes.scratch_bytes);
    const DeviceSpan buffers[] = {in.span().part(0, input.size()),
                                  out.span().part(0, sizes.output_bytes),
                                  scratch.span().part(0, sizes.scratch_bytes)};
    Bytes output(static_cast<std::size_t>(sizes.output_bytes));
    EXPECT_TRUE(stream->copy_in(buffers[0], input).ok());
    const Status launched = stream->launch(kernel, arguments, buffers);
    EXPECT_TRUE(launched.ok()) << launched.to_string();
    EXPECT_TRUE(stream->copy_out(output, buffers[1]).ok());
    const Completion done = stream->reached();
    done.wait();
    EXPECT_TRUE(done.status().ok()) << done.status().to_string();
    return output;
  }

  Bytes on_host(std::string_view kernel, const Bytes& arguments, Bytes input, KernelSizes sizes) {
    Bytes output(static_cast<std::size_t>(sizes.output_bytes));
    const std::span<std::byte> buffers[] = {input, output};
    EXPECT_TRUE(kernels_.find(kernel)->body({.arguments = arguments, .buffers = buffers}).ok());
    return output;
  }

  KernelRegistry kernels_;
  std::unique_ptr<CudaHost> host_;
};

constexpr std::size_t kCounts[] = {0, 1, 255, 4096, 100'003};

TEST_F(CudaKernels, MapAsTheirTwin) {
  for (const std::size_t count : kCounts) {
    std::vector<double> values(count);
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = static_cast<double>(i) * 0.25 - 7.0;
    }
    const Bytes input = bytes_of(values);
    const Bytes arguments = bytes_of(std::vector{MapScaleF64{.factor = 2.0, .offset = 0.5}});
    const KernelSizes sizes = map_scale_f64_sizes(input.size());
    EXPECT_EQ(on_device(kMapScaleF64, arguments, input, sizes),
              on_host(kMapScaleF64, arguments, input, sizes));
  }
}

// Whole numbers, so that every order of adding gives the same.
TEST_F(CudaKernels, SumAsTheirTwin) {
  for (const std::size_t count : kCounts) {
    std::vector<double> values(count);
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = static_cast<double>(i % 1000) - 400.0;
    }
    const Bytes input = bytes_of(values);
    const KernelSizes sizes = reduce_sum_f64_sizes(input.size());
    EXPECT_EQ(values_of<double>(on_device(kReduceSumF64, {}, input, sizes)),
              values_of<double>(on_host(kReduceSumF64, {}, input, sizes)));
  }
}

TEST_F(CudaKernels, CountAsTheirTwin) {
  for (const std::size_t count : kCounts) {
    Bytes input(count);
    for (std::size_t i = 0; i < count; ++i) {
      input[i] = static_cast<std::byte>((i * i) & 0xff);
    }
    const KernelSizes sizes = histogram_u8_sizes(count);
    EXPECT_EQ(on_device(kHistogramU8, {}, input, sizes), on_host(kHistogramU8, {}, input, sizes));
  }
}

// More shards in one launch than a kernel's arguments hold, of all sizes, also of none.
TEST_F(CudaKernels, DoSeveralShardsInOneLaunchAsTheirTwin) {
  constexpr std::size_t kShardCount = 150;
  constexpr std::uint64_t kRoom = 16 * 1024;  // Of an input, and of an output.
  const Bytes scale = bytes_of(std::vector{MapScaleF64{.factor = 2.0, .offset = 0.5}});
  for (const auto& [kernel, arguments] :
       {std::pair(map_scale_f64({.factor = 2.0, .offset = 0.5}), scale),
        std::pair(reduce_sum_f64(), Bytes()), std::pair(histogram_u8(), Bytes()),
        std::pair(keyed_sum_u32_f64(), Bytes())}) {
    SCOPED_TRACE(kernel.name);
    Bytes host_memory(2 * kShardCount * kRoom);
    std::vector<double> values(host_memory.size() / sizeof(double));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<double>(i % 1000) - 400.0;
    }
    std::memcpy(host_memory.data(), values.data(), host_memory.size());
    IDevice& device = host_->device();
    const auto stream = device.create_stream().value();
    const DeviceBuffer memory = device.allocate(host_memory.size()).value();
    const std::uint64_t scratch_bytes = kernel.sizes(kRoom).scratch_bytes;
    const DeviceBuffer scratch = device.allocate(std::max<std::uint64_t>(scratch_bytes, 1)).value();
    std::vector<DeviceSpan> on_device;
    std::vector<std::span<std::byte>> on_host;
    for (std::size_t shard = 0; shard < kShardCount; ++shard) {
      const std::uint64_t input_bytes = shard * 37 % 800 * sizeof(KeyedF64);
      const std::uint64_t offset = 2 * shard * kRoom;
      const std::uint64_t output_bytes = kernel.sizes(input_bytes).output_bytes;
      on_device.push_back(memory.span().part(offset, input_bytes));
      on_device.push_back(memory.span().part(offset + kRoom, output_bytes));
      on_device.push_back(scratch.span().part(0, scratch_bytes));
      on_host.push_back(std::span(host_memory).subspan(offset, input_bytes));
      on_host.push_back(std::span(host_memory).subspan(offset + kRoom, output_bytes));
      on_host.emplace_back();
    }
    ASSERT_TRUE(stream->copy_in(memory.span(), host_memory).ok());
    const Status launched = stream->launch(kernel.name, arguments, on_device);
    ASSERT_TRUE(launched.ok()) << launched.to_string();
    Bytes device_memory(host_memory.size());
    ASSERT_TRUE(stream->copy_out(device_memory, memory.span()).ok());
    const Completion done = stream->reached();
    done.wait();
    ASSERT_TRUE(done.status().ok()) << done.status().to_string();
    ASSERT_TRUE(
        kernels_.find(kernel.name)->body({.arguments = arguments, .buffers = on_host}).ok());
    EXPECT_TRUE(device_memory == host_memory);
  }
}

TEST_F(CudaKernels, SumByKeyAsTheirTwin) {
  for (const std::size_t count : kCounts) {
    std::vector<KeyedF64> records(count);
    for (std::size_t i = 0; i < count; ++i) {
      records[i] = {.key = static_cast<std::uint32_t>(i * 2'654'435'761u) >> (i % 2 == 0 ? 0 : 24),
                    .unused = 7,
                    .value = static_cast<double>(i % 100)};
    }
    const Bytes input = bytes_of(records);
    const KernelSizes sizes = keyed_sum_u32_f64_sizes(input.size());
    Bytes device = on_device(kKeyedSumU32F64, {}, input, sizes);
    Bytes host = on_host(kKeyedSumU32F64, {}, input, sizes);
    const auto head = values_of<KeyedSumHead>(host).front();
    const std::size_t written = sizeof(KeyedSumHead) + head.key_count * sizeof(KeyedF64);
    device.resize(written);  // What follows is undefined.
    host.resize(written);
    EXPECT_EQ(device, host);
  }
}

}  // namespace
}  // namespace pinion
