#include <pinion/gpu/kernels.hpp>

#include <array>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using testing::ElementsAre;

class PinionKernels : public testing::Test {
 protected:
  PinionKernels() { EXPECT_TRUE(add_pinion_kernels(kernels_).ok()); }

  // What the kernel's twin makes of the input, in as many bytes as it says. They begin as ones, and
  // at an odd address, as where a twin runs in place of a kernel.
  std::vector<std::byte> run(const DeviceKernel& kernel, std::span<const std::byte> input) {
    const std::size_t output_bytes = kernel.sizes(input.size()).output_bytes;
    std::vector<std::byte> memory(1 + input.size() + output_bytes, std::byte{0xff});
    const std::array buffers = {std::span(memory).subspan(1, input.size()),
                                std::span(memory).subspan(1 + input.size()),
                                std::span<std::byte>()};
    std::copy(input.begin(), input.end(), buffers[0].begin());
    const Kernel* const found = kernels_.find(kernel.name);
    EXPECT_NE(found, nullptr) << kernel.name;
    const Status status = found->body({.arguments = kernel.arguments, .buffers = buffers});
    EXPECT_TRUE(status.ok()) << status.to_string();
    return {buffers[1].begin(), buffers[1].end()};
  }

  template <class Value>
  static std::vector<Value> values_of(std::span<const std::byte> bytes) {
    std::vector<Value> values(bytes.size() / sizeof(Value));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(Value));
    return values;
  }

  // With three bytes behind, which are no whole value.
  template <class Value>
  static std::vector<std::byte> input_of(const std::vector<Value>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(Value) + 3, std::byte{0x7f});
    std::memcpy(bytes.data(), values.data(), values.size() * sizeof(Value));
    return bytes;
  }

  KernelRegistry kernels_;
};

TEST_F(PinionKernels, ScaleNumbers) {
  const DeviceKernel kernel = map_scale_f64({.factor = 2.0, .offset = 1.0});
  const auto output = run(kernel, input_of<double>({1.0, -3.0, 0.5}));
  EXPECT_THAT(values_of<double>(output), ElementsAre(3.0, -5.0, 2.0));
  EXPECT_TRUE(run(kernel, {}).empty());
}

TEST_F(PinionKernels, SumNumbers) {
  EXPECT_THAT(values_of<double>(run(reduce_sum_f64(), input_of<double>({1.0, -3.0, 0.5}))),
              ElementsAre(-1.5));
  EXPECT_THAT(values_of<double>(run(reduce_sum_f64(), {})), ElementsAre(0.0));
}

TEST_F(PinionKernels, CountBytes) {
  const std::string text = "abba\xff";
  const auto counts = values_of<std::uint64_t>(run(histogram_u8(), std::as_bytes(std::span(text))));
  std::vector<std::uint64_t> expected(256);
  expected['a'] = 2;
  expected['b'] = 2;
  expected[255] = 1;
  EXPECT_EQ(counts, expected);
  EXPECT_EQ(values_of<std::uint64_t>(run(histogram_u8(), {})), std::vector<std::uint64_t>(256));
}

TEST_F(PinionKernels, SumTheValuesOfKeys) {
  const auto output = run(keyed_sum_u32_f64(), input_of<KeyedF64>({{.key = 7, .value = 1.0},
                                                                   {.key = 3, .unused = 9},
                                                                   {.key = 7, .value = 0.5},
                                                                   {.key = 3, .value = -2.0}}));
  EXPECT_EQ(output.size(), sizeof(KeyedSumHead) + 4 * sizeof(KeyedF64));
  EXPECT_EQ(values_of<KeyedSumHead>(output)[0].key_count, 2u);
  const auto sums = values_of<KeyedF64>(std::span(output).subspan(sizeof(KeyedSumHead)));
  EXPECT_EQ(sums[0].key, 3u);
  EXPECT_EQ(sums[0].unused, 0u);
  EXPECT_EQ(sums[0].value, -2.0);
  EXPECT_EQ(sums[1].key, 7u);
  EXPECT_EQ(sums[1].value, 1.5);
  EXPECT_EQ(values_of<KeyedSumHead>(run(keyed_sum_u32_f64(), {}))[0].key_count, 0u);
}

TEST_F(PinionKernels, DoSeveralShardsAsEachAlone) {
  const std::vector<std::byte> inputs[] = {
      input_of<double>({1.0, -3.0, 0.5, 8.0}), input_of<double>({2.5, 4.0}), {}};
  for (const DeviceKernel& kernel : {map_scale_f64({.factor = 2.0, .offset = 1.0}),
                                     reduce_sum_f64(), histogram_u8(), keyed_sum_u32_f64()}) {
    SCOPED_TRACE(kernel.name);
    EXPECT_TRUE(kernel.takes_batches);
    EXPECT_TRUE(kernels_.find(kernel.name)->takes_batches);
    std::vector<std::vector<std::byte>> kept;
    std::vector<std::span<std::byte>> buffers;
    for (const std::vector<std::byte>& input : inputs) {
      kept.push_back(input);
      kept.emplace_back(kernel.sizes(input.size()).output_bytes, std::byte{0xff});
    }
    for (std::size_t i = 0; i < kept.size(); i += 2) {
      buffers.insert(buffers.end(), {kept[i], kept[i + 1], {}});
    }
    const KernelBody& body = kernels_.find(kernel.name)->body;
    ASSERT_TRUE(body({.arguments = kernel.arguments, .buffers = buffers}).ok());
    for (std::size_t i = 0; i < kept.size(); i += 2) {
      EXPECT_EQ(kept[i + 1], run(kernel, kept[i]));
    }
    buffers.pop_back();
    EXPECT_EQ(body({.arguments = kernel.arguments, .buffers = buffers}).code(),
              ErrorCode::kInvalidArgument);
  }
}

TEST_F(PinionKernels, RefuseOtherArgumentsAndAnOutputThatIsTooSmall) {
  std::vector<std::byte> memory(64);
  const std::array buffers = {std::span(memory).first(32), std::span(memory).subspan(32, 4)};
  for (const DeviceKernel& kernel :
       {map_scale_f64({}), reduce_sum_f64(), histogram_u8(), keyed_sum_u32_f64()}) {
    SCOPED_TRACE(kernel.name);
    const KernelBody& body = kernels_.find(kernel.name)->body;
    EXPECT_EQ(body({.arguments = kernel.arguments, .buffers = buffers}).code(),
              ErrorCode::kInvalidArgument);
    EXPECT_EQ(body({.arguments = std::span(memory).first(5), .buffers = buffers}).code(),
              ErrorCode::kInvalidArgument);
    EXPECT_EQ(body({.arguments = kernel.arguments}).code(), ErrorCode::kInvalidArgument);
  }
}

TEST_F(PinionKernels, AreAddedOnce) {
  EXPECT_EQ(add_pinion_kernels(kernels_).code(), ErrorCode::kAlreadyExists);
}

}  // namespace
}  // namespace pinion
