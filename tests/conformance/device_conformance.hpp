#pragma once

#include <pinion/core/device.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/timer.hpp>

namespace pinion {

/// How the device of a trial fails. Operations are copies and kernels.
enum class DeviceTrial : std::uint8_t {
  kHealthy,
  kOutOfMemoryOnce,      ///< The second allocation is refused.
  kRegistrationRefused,  ///< register_host() is.
  kWrongArchitecture,    ///< No kernel is built for the device.
  kSticky,               ///< The third operation fails.
  kLost,                 ///< It is gone 2 ms after it was made; an operation takes longer.
  kHang,                 ///< The third operation, a kernel, never ends.
};

/// The contract of IDevice and IDeviceStream as tests. `Host` makes the device under test, with a
/// kernel "twice_plus" that makes each byte b of its first buffer 2 b + a, a being its argument:
///
///   struct Host {
///     // Null when it cannot fail like that, or kHealthy where there is no such device; then
///     // static std::string why_not() says why, and everything is skipped.
///     static std::unique_ptr<Host> make(DeviceTrial trial);
///     IDevice& device();
///     IDevice& other_device();            // Another one, healthy.
///     ITimer& timer();                    // In the time of the device.
///     void wait(const Completion&);       // Lets that time pass.
///     static constexpr bool kTimeStandsStill = true;  // Where it passes in wait() only.
///     static constexpr std::uint64_t kBudgetBytes;         // At least 1 MiB.
///     static constexpr std::uint64_t kRegisteredBytesMax;  // At least 64 KiB.
///   };
///   INSTANTIATE_TYPED_TEST_SUITE_P(Mine, DeviceConformance, Host);
template <class Host>
class DeviceConformance : public ::testing::Test {
 protected:
  using Bytes = std::vector<std::byte>;
  static constexpr DeviceFault kNone = DeviceFault::kNone;

  void SetUp() override {
    if constexpr (requires { Host::why_not(); }) {
      if (host_ == nullptr) {
        GTEST_SKIP() << Host::why_not();
      }
    }
  }

  static Bytes pattern(std::size_t size_bytes, unsigned seed) {
    Bytes bytes(size_bytes);
    for (std::size_t i = 0; i < size_bytes; ++i) {
      bytes[i] = static_cast<std::byte>((i * 31 + (i >> 8) + seed) & 0xff);
    }
    return bytes;
  }

  static void twice_plus(Bytes& bytes, unsigned addend) {
    for (std::byte& byte : bytes) {
      byte = static_cast<std::byte>((2 * static_cast<unsigned>(byte) + addend) & 0xff);
    }
  }

  static Status launch(IDeviceStream& stream, DeviceSpan span, unsigned addend) {
    const std::byte argument{static_cast<unsigned char>(addend)};
    return stream.launch("twice_plus", std::span(&argument, 1), std::span(&span, 1));
  }

  // Whether the trial can go on. The device is one that fails as `trial` says.
  bool begin(DeviceTrial trial) {
    host_ = Host::make(trial);
    return host_ != nullptr;
  }
  IDevice& device() { return host_->device(); }

  std::unique_ptr<IDeviceStream> stream() {
    Result<std::unique_ptr<IDeviceStream>> made = device().create_stream();
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    return *std::move(made);
  }
  DeviceBuffer buffer(std::uint64_t size_bytes) {
    Result<DeviceBuffer> made = device().allocate(size_bytes);
    EXPECT_TRUE(made.has_value());
    return made ? *std::move(made) : DeviceBuffer();
  }

  ErrorCode outcome_of(const Completion& completion) {
    host_->wait(completion);
    return completion.status().code();
  }
  ErrorCode outcome_of(IDeviceStream& stream) { return outcome_of(stream.reached()); }

  // What has happened when this returns was due before.
  void let_pass(Duration span) {
    CompletionSource source;
    const Completion passed = source.completion();
    const auto shared = std::make_shared<CompletionSource>(std::move(source));
    ITimer& timer = host_->timer();
    timer.call_at(timer.clock().now() + span, [shared] { shared->signal({}); });
    host_->wait(passed);
  }

  Bytes read(IDeviceStream& stream, DeviceSpan source) {
    Bytes bytes(static_cast<std::size_t>(source.size_bytes));
    EXPECT_TRUE(stream.copy_out(bytes, source).ok());
    EXPECT_EQ(outcome_of(stream), ErrorCode::kOk);
    return bytes;
  }

  // Everything that can be asked of a device that does nothing any more.
  void expect_refusals(IDeviceStream& stream, const DeviceBuffer& buffer, ErrorCode code) {
    Bytes bytes(16);
    EXPECT_EQ(device().fault(), device_fault(code));
    EXPECT_EQ(stream.copy_in(buffer.span().part(0, 16), bytes).code(), code);
    EXPECT_EQ(stream.copy_out(bytes, buffer.span().part(0, 16)).code(), code);
    EXPECT_EQ(launch(stream, buffer.span(), 1).code(), code);
    EXPECT_EQ(stream.wait_for(stream).code(), code);
    EXPECT_EQ(outcome_of(stream), code);
    const auto allocated = device().allocate(16);
    EXPECT_EQ(allocated ? ErrorCode::kOk : allocated.error().code(), code);
    const auto registered = device().register_host(bytes);
    EXPECT_EQ(registered ? ErrorCode::kOk : registered.error().code(), code);
    const auto made = device().create_stream();
    EXPECT_EQ(made ? ErrorCode::kOk : made.error().code(), code);
    device().abandon();
    EXPECT_EQ(device().fault(), device_fault(code));
    EXPECT_EQ(device().usage().allocated_bytes, buffer.size_bytes());
  }

  std::unique_ptr<Host> host_ = Host::make(DeviceTrial::kHealthy);
};
TYPED_TEST_SUITE_P(DeviceConformance);

TYPED_TEST_P(DeviceConformance, SaysWhatItIs) {
  const DeviceInfo& info = this->device().info();
  EXPECT_EQ(info.place.kind, PlaceKind::kDevice);
  EXPECT_FALSE(info.name.empty());
  EXPECT_FALSE(info.uuid.empty());
  EXPECT_FALSE(info.architecture.empty());
  EXPECT_GE(info.memory_bytes, this->device().usage().budget_bytes);
  EXPECT_GE(info.copy_engine_count, 1u);
  EXPECT_EQ(this->device().usage().budget_bytes, TypeParam::kBudgetBytes);
  EXPECT_EQ(this->device().fault(), this->kNone);
}

TYPED_TEST_P(DeviceConformance, BringsBackTheBytesThatItWasGiven) {
  const auto stream = this->stream();
  for (const std::size_t size_bytes : {1u, 255u, 256u, 4097u, 100'000u}) {
    const DeviceBuffer buffer = this->buffer(size_bytes);
    const auto source = this->pattern(size_bytes, static_cast<unsigned>(size_bytes));
    ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
    EXPECT_EQ(this->read(*stream, buffer.span()), source) << size_bytes;
  }
}

TYPED_TEST_P(DeviceConformance, CopiesPartsToWhereTheyBelong) {
  const auto stream = this->stream();
  const DeviceBuffer buffer = this->buffer(1000);
  auto expected = this->pattern(1000, 1);
  const auto source = expected;
  ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
  const auto part = this->pattern(100, 77);
  ASSERT_TRUE(stream->copy_in(buffer.span().part(900, 100), part).ok());
  ASSERT_TRUE(stream->copy_in(buffer.span().part(1, 100), part).ok());
  ASSERT_TRUE(stream->copy_in(buffer.span().part(1000, 0), {}).ok());
  std::copy(part.begin(), part.end(), expected.begin() + 900);
  std::copy(part.begin(), part.end(), expected.begin() + 1);
  EXPECT_EQ(this->read(*stream, buffer.span()), expected);
  const auto middle = this->read(*stream, buffer.span().part(50, 70));
  EXPECT_TRUE(std::equal(middle.begin(), middle.end(), expected.begin() + 50));
}

TYPED_TEST_P(DeviceConformance, DoesTheWorkOfAStreamInItsOrder) {
  const auto stream = this->stream();
  const DeviceBuffer buffer = this->buffer(5000);
  auto expected = this->pattern(5000, 3);
  const auto source = expected;
  ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
  for (unsigned addend = 1; addend < 6; ++addend) {
    ASSERT_TRUE(this->launch(*stream, buffer.span(), addend).ok());
    this->twice_plus(expected, addend);
  }
  EXPECT_EQ(this->read(*stream, buffer.span()), expected);
}

TYPED_TEST_P(DeviceConformance, TakesTheArgumentsWithTheLaunch) {
  const auto stream = this->stream();
  const DeviceBuffer buffer = this->buffer(10);
  auto expected = this->pattern(10, 3);
  const auto source = expected;
  ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
  std::vector<std::byte> argument(1, std::byte{9});
  const DeviceSpan span = buffer.span();
  ASSERT_TRUE(stream->launch("twice_plus", argument, std::span(&span, 1)).ok());
  argument[0] = std::byte{0};
  this->twice_plus(expected, 9);
  EXPECT_EQ(this->read(*stream, buffer.span()), expected);
}

// Without the waits the copies out, which are put first or are quick, would see other bytes.
TYPED_TEST_P(DeviceConformance, WaitsForWhatIsInAnotherStream) {
  const auto in = this->stream();
  const auto execute = this->stream();
  const auto out = this->stream();
  constexpr std::size_t kRounds = 8;
  std::vector<DeviceBuffer> buffers;
  std::vector<std::vector<std::byte>> sources;
  std::vector<std::vector<std::byte>> targets(kRounds, std::vector<std::byte>(3000));
  for (unsigned round = 0; round < kRounds; ++round) {
    buffers.push_back(this->buffer(3000));
    sources.push_back(this->pattern(3000, round));
  }
  for (unsigned round = 0; round < kRounds; ++round) {
    const DeviceSpan span = buffers[round].span();
    ASSERT_TRUE(in->copy_in(span, sources[round]).ok());
    ASSERT_TRUE(execute->wait_for(*in).ok());
    ASSERT_TRUE(this->launch(*execute, span, round).ok());
    ASSERT_TRUE(out->wait_for(*execute).ok());
    ASSERT_TRUE(out->copy_out(targets[round], span).ok());
  }
  ASSERT_EQ(this->outcome_of(*out), ErrorCode::kOk);
  for (unsigned round = 0; round < kRounds; ++round) {
    this->twice_plus(sources[round], round);
    EXPECT_EQ(targets[round], sources[round]) << round;
  }
}

TYPED_TEST_P(DeviceConformance, RefusesToWaitForAStreamOfAnotherDevice) {
  const auto stream = this->stream();
  const auto other = this->host_->other_device().create_stream().value();
  EXPECT_EQ(stream->wait_for(*other).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(this->outcome_of(*stream), ErrorCode::kOk);
}

// What hangs holds up its own stream, and the engine that it has, and nothing else.
TYPED_TEST_P(DeviceConformance, DoesTheWorkOfStreamsBesideEachOther) {
  if (!this->begin(DeviceTrial::kHang)) {
    GTEST_SKIP() << "the back-end cannot hang when it is told to";
  }
  const auto hung = this->stream();
  const auto other = this->stream();
  const DeviceBuffer buffer = this->buffer(100);
  const auto source = this->pattern(100, 1);
  ASSERT_TRUE(hung->copy_in(buffer.span(), source).ok());
  ASSERT_TRUE(hung->copy_in(buffer.span(), source).ok());
  const Completion copied = hung->reached();
  ASSERT_TRUE(this->launch(*hung, buffer.span(), 1).ok());
  const Completion never = hung->reached();
  // The third to begin is the one that hangs.
  ASSERT_EQ(this->outcome_of(copied), ErrorCode::kOk);
  const DeviceBuffer second = this->buffer(100);
  ASSERT_TRUE(other->copy_in(second.span(), source).ok());
  EXPECT_EQ(this->read(*other, second.span()), source);
  EXPECT_FALSE(never.ready());
  this->device().abandon();
  EXPECT_EQ(this->outcome_of(never), ErrorCode::kDeadlineExceeded);
}

TYPED_TEST_P(DeviceConformance, RefusesCopiesOutOfRangeAndWorksOn) {
  const auto stream = this->stream();
  const DeviceBuffer buffer = this->buffer(100);
  const DeviceBuffer neighbour = this->buffer(100);
  const auto source = this->pattern(100, 5);
  ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
  ASSERT_TRUE(stream->copy_in(neighbour.span(), source).ok());
  DeviceSpan ended;
  { ended = this->buffer(100).span(); }
  const DeviceSpan whole = buffer.span();
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  for (const DeviceSpan span :
       {whole.part(1, 100), whole.part(100, 100), whole.part(kMost, 100), DeviceSpan{0, 100},
        DeviceSpan{kMost - 50, 100}, ended, whole.part(0, 99), whole.part(0, 101),
        whole.part(0, kMost), whole.part(0, 0)}) {
    std::vector<std::byte> bytes(100);
    EXPECT_EQ(stream->copy_in(span, bytes).code(), ErrorCode::kOutOfRange) << span.address;
    EXPECT_EQ(stream->copy_out(bytes, span).code(), ErrorCode::kOutOfRange) << span.address;
  }
  EXPECT_EQ(this->launch(*stream, whole.part(1, 100), 1).code(), ErrorCode::kOutOfRange);
  EXPECT_EQ(this->launch(*stream, ended, 1).code(), ErrorCode::kOutOfRange);
  EXPECT_EQ(this->device().fault(), this->kNone);
  EXPECT_EQ(this->read(*stream, buffer.span()), source);
  EXPECT_EQ(this->read(*stream, neighbour.span()), source);
}

TYPED_TEST_P(DeviceConformance, RefusesAKernelThatItDoesNotKnowAndWorksOn) {
  const auto stream = this->stream();
  const DeviceBuffer buffer = this->buffer(100);
  const DeviceSpan span = buffer.span();
  EXPECT_EQ(stream->launch("nobody's", {}, std::span(&span, 1)).code(), ErrorCode::kNotFound);
  ASSERT_TRUE(this->launch(*stream, span, 1).ok());
  EXPECT_EQ(this->outcome_of(*stream), ErrorCode::kOk);
}

TYPED_TEST_P(DeviceConformance, RefusesAKernelForAnotherArchitectureAndCopiesOn) {
  if (!this->begin(DeviceTrial::kWrongArchitecture)) {
    GTEST_SKIP() << "the back-end has kernels for its device";
  }
  const auto stream = this->stream();
  const DeviceBuffer buffer = this->buffer(100);
  const auto source = this->pattern(100, 5);
  ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
  EXPECT_EQ(this->launch(*stream, buffer.span(), 1).code(), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(this->device().fault(), this->kNone);
  EXPECT_EQ(this->read(*stream, buffer.span()), source);
}

TYPED_TEST_P(DeviceConformance, NeverExceedsItsBudgetAndGetsAllOfItBack) {
  IDevice& device = this->device();
  constexpr std::uint64_t kBudget = TypeParam::kBudgetBytes;
  for (int round = 0; round < 3; ++round) {
    std::vector<DeviceBuffer> buffers;
    for (std::uint64_t used = 0; used < kBudget; used += kBudget / 4) {
      EXPECT_EQ(device.usage().allocated_bytes, used);
      buffers.push_back(this->buffer(kBudget / 4));
    }
    for (const std::uint64_t size_bytes : {std::uint64_t{1}, kBudget, ~std::uint64_t{0}}) {
      const auto refused = device.allocate(size_bytes);
      ASSERT_FALSE(refused.has_value());
      EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
    }
    buffers.pop_back();
    EXPECT_TRUE(device.allocate(kBudget / 4).has_value());
    EXPECT_EQ(device.allocate(0).error().code(), ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(device.usage().allocated_bytes, 0u);
  EXPECT_EQ(device.fault(), this->kNone);
}

TYPED_TEST_P(DeviceConformance, SaysWhenItHasNoMemoryAndHasItLater) {
  if (!this->begin(DeviceTrial::kOutOfMemoryOnce)) {
    GTEST_SKIP() << "the back-end cannot run out of memory when it is told to";
  }
  const DeviceBuffer first = this->buffer(100);
  const auto refused = this->device().allocate(100);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(device_fault(refused.error().code()), DeviceFault::kOutOfMemory);
  const DeviceBuffer third = this->buffer(100);
  EXPECT_EQ(this->device().fault(), this->kNone);
  EXPECT_EQ(this->device().usage().allocated_bytes, 200u);
}

TYPED_TEST_P(DeviceConformance, RegistersHostMemoryWithinABudget) {
  IDevice& device = this->device();
  constexpr std::size_t kMost = TypeParam::kRegisteredBytesMax;
  std::vector<std::byte> memory(kMost + 8192);
  const std::span<std::byte> all = memory;
  EXPECT_FALSE(device.is_registered(all.first(1)));
  {
    const HostRegistration first = device.register_host(all.subspan(4096, 4096)).value();
    EXPECT_EQ(device.usage().registered_bytes, 4096u);
    EXPECT_TRUE(device.is_registered(all.subspan(4096, 4096)));
    EXPECT_TRUE(device.is_registered(all.subspan(5000, 10)));
    EXPECT_FALSE(device.is_registered(all.subspan(4095, 4096)));
    EXPECT_FALSE(device.is_registered(all.subspan(4096, 4097)));
    EXPECT_FALSE(device.is_registered(all.first(4096)));
    for (const std::span<std::byte> overlap :
         {all.subspan(4096, 4096), all.subspan(5000, 1), all.first(4097), all.first(16384)}) {
      EXPECT_EQ(device.register_host(overlap).error().code(), ErrorCode::kAlreadyExists);
    }
    const auto beyond = device.register_host(all.subspan(8192, kMost - 4096 + 1));
    ASSERT_FALSE(beyond.has_value());
    EXPECT_EQ(beyond.error().code(), ErrorCode::kResourceExhausted);
    const HostRegistration rest = device.register_host(all.subspan(8192, kMost - 4096)).value();
    EXPECT_EQ(device.usage().registered_bytes, device.usage().registered_budget_bytes);
    // Two registrations side by side are not one.
    EXPECT_FALSE(device.is_registered(all.subspan(4096, 5000)));
  }
  EXPECT_EQ(device.usage().registered_bytes, 0u);
  EXPECT_FALSE(device.is_registered(all.subspan(4096, 1)));
  EXPECT_EQ(device.register_host({}).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(device.register_host(all.first(kMost)).has_value());
}

TYPED_TEST_P(DeviceConformance, CopiesToAndFromRegisteredMemory) {
  const auto stream = this->stream();
  const DeviceBuffer buffer = this->buffer(5000);
  auto memory = this->pattern(10'000, 8);
  const std::span<std::byte> all = memory;
  const HostRegistration registration = this->device().register_host(all).value();
  ASSERT_TRUE(stream->copy_in(buffer.span(), all.first(5000)).ok());
  ASSERT_TRUE(stream->copy_out(all.subspan(5000), buffer.span()).ok());
  ASSERT_EQ(this->outcome_of(*stream), ErrorCode::kOk);
  EXPECT_TRUE(std::equal(all.begin(), all.begin() + 5000, all.begin() + 5000));
}

TYPED_TEST_P(DeviceConformance, CopiesMemoryThatTheSystemDoesNotRegister) {
  if (!this->begin(DeviceTrial::kRegistrationRefused)) {
    GTEST_SKIP() << "the back-end cannot refuse when it is told to";
  }
  const auto stream = this->stream();
  const DeviceBuffer buffer = this->buffer(5000);
  auto memory = this->pattern(5000, 8);
  const auto refused = this->device().register_host(memory);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kFailedPrecondition);
  EXPECT_FALSE(this->device().is_registered(memory));
  EXPECT_EQ(this->device().usage().registered_bytes, 0u);
  ASSERT_TRUE(stream->copy_in(buffer.span(), memory).ok());
  EXPECT_EQ(this->read(*stream, buffer.span()), memory);
}

TYPED_TEST_P(DeviceConformance, LetsACallbackPutMoreWork) {
  const auto stream = this->stream();
  const DeviceBuffer buffer = this->buffer(100);
  auto expected = this->pattern(100, 2);
  const auto source = expected;
  ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
  CompletionSource last;
  const Completion done = last.completion();
  unsigned left = 5;
  Completion::Callback next = [&](const Status& status) {
    if (left-- == 0 || !status.ok()) {
      last.signal(status);
      return;
    }
    EXPECT_TRUE(this->launch(*stream, buffer.span(), left).ok());
    stream->reached().on_ready(next);
  };
  stream->reached().on_ready(next);
  ASSERT_EQ(this->outcome_of(done), ErrorCode::kOk);
  for (unsigned addend = 5; addend-- > 0;) {
    this->twice_plus(expected, addend);
  }
  EXPECT_EQ(this->read(*stream, buffer.span()), expected);
}

TYPED_TEST_P(DeviceConformance, TakesWorkFromSeveralThreads) {
  constexpr unsigned kThreadCount = 4;
  struct Part {
    std::unique_ptr<IDeviceStream> stream = {};
    DeviceBuffer buffer = {};
    std::vector<std::byte> source = {};
    std::vector<std::byte> target = std::vector<std::byte>(2000);
  };
  std::vector<Part> parts(kThreadCount);
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < kThreadCount; ++thread) {
    threads.emplace_back([&, thread] {
      Part& part = parts[thread];
      part.stream = this->stream();
      part.buffer = this->buffer(2000);
      part.source = this->pattern(2000, thread);
      for (int round = 0; round < 10; ++round) {
        EXPECT_TRUE(this->device().allocate(1000).has_value());
        EXPECT_TRUE(part.stream->copy_in(part.buffer.span(), part.source).ok());
        EXPECT_TRUE(part.stream->copy_out(part.target, part.buffer.span()).ok());
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (Part& part : parts) {
    EXPECT_EQ(this->outcome_of(*part.stream), ErrorCode::kOk);
    EXPECT_EQ(part.target, part.source);
  }
}

TYPED_TEST_P(DeviceConformance, RefusesEverythingAfterAStickyFault) {
  if (!this->begin(DeviceTrial::kSticky)) {
    GTEST_SKIP() << "the back-end cannot fail when it is told to";
  }
  const auto stream = this->stream();
  const auto other = this->stream();
  {
    const DeviceBuffer buffer = this->buffer(100);
    const auto source = this->pattern(100, 1);
    ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
    ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
    const Completion before = stream->reached();
    ASSERT_TRUE(this->launch(*stream, buffer.span(), 1).ok());
    const Completion after = stream->reached();
    const Status waits = other->wait_for(*stream);
    if constexpr (requires { requires TypeParam::kTimeStandsStill; }) {
      EXPECT_TRUE(waits.ok()) << waits.message();
    } else {
      // Put before the fault comes, or refused for it: whoever is first.
      EXPECT_TRUE(waits.ok() || waits.code() == ErrorCode::kDataLoss) << waits.message();
    }
    const Completion elsewhere = other->reached();
    EXPECT_EQ(this->outcome_of(before), ErrorCode::kOk);
    EXPECT_EQ(this->outcome_of(after), ErrorCode::kDataLoss);
    EXPECT_EQ(this->outcome_of(elsewhere), ErrorCode::kDataLoss);
    this->expect_refusals(*stream, buffer, ErrorCode::kDataLoss);
  }
  EXPECT_EQ(this->device().usage().allocated_bytes, 0u);
}

TYPED_TEST_P(DeviceConformance, RefusesEverythingWhenItIsGone) {
  if (!this->begin(DeviceTrial::kLost)) {
    GTEST_SKIP() << "the back-end cannot go away when it is told to";
  }
  // All of it is put before the device is gone, or refused as it is: whoever comes first.
  const auto made = this->device().create_stream();
  const auto allocated = this->device().allocate(100);
  if (made && allocated) {
    const auto source = this->pattern(100, 1);
    const Status put = (*made)->copy_in(allocated->span(), source);
    EXPECT_TRUE(put.ok() || put.code() == ErrorCode::kUnavailable);
    EXPECT_EQ(this->outcome_of((*made)->reached()), ErrorCode::kUnavailable);
    this->expect_refusals(**made, *allocated, ErrorCode::kUnavailable);
  }
  this->let_pass(std::chrono::milliseconds(3));
  EXPECT_EQ(this->device().fault(), DeviceFault::kLost);
  EXPECT_EQ(this->device().create_stream().error().code(), ErrorCode::kUnavailable);
}

TYPED_TEST_P(DeviceConformance, IsAbandonedByAWatchdogWhenItHangs) {
  if (!this->begin(DeviceTrial::kHang)) {
    GTEST_SKIP() << "the back-end cannot hang when it is told to";
  }
  const auto stream = this->stream();
  const DeviceBuffer buffer = this->buffer(100);
  const auto source = this->pattern(100, 1);
  ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
  ASSERT_TRUE(stream->copy_in(buffer.span(), source).ok());
  ASSERT_TRUE(this->launch(*stream, buffer.span(), 1).ok());
  std::vector<std::byte> target(100, std::byte{42});
  ASSERT_TRUE(stream->copy_out(target, buffer.span()).ok());
  const Completion never = stream->reached();
  ITimer& timer = this->host_->timer();
  timer.call_at(timer.clock().now() + std::chrono::milliseconds(20), [&] {
    if (!never.ready()) {
      this->device().abandon();
    }
  });
  EXPECT_EQ(this->outcome_of(never), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(target, std::vector<std::byte>(100, std::byte{42}));
  this->expect_refusals(*stream, buffer, ErrorCode::kDeadlineExceeded);
}

REGISTER_TYPED_TEST_SUITE_P(
    DeviceConformance, SaysWhatItIs, BringsBackTheBytesThatItWasGiven, CopiesPartsToWhereTheyBelong,
    DoesTheWorkOfAStreamInItsOrder, TakesTheArgumentsWithTheLaunch, WaitsForWhatIsInAnotherStream,
    RefusesToWaitForAStreamOfAnotherDevice, DoesTheWorkOfStreamsBesideEachOther,
    RefusesCopiesOutOfRangeAndWorksOn, RefusesAKernelThatItDoesNotKnowAndWorksOn,
    RefusesAKernelForAnotherArchitectureAndCopiesOn, NeverExceedsItsBudgetAndGetsAllOfItBack,
    SaysWhenItHasNoMemoryAndHasItLater, RegistersHostMemoryWithinABudget,
    CopiesToAndFromRegisteredMemory, CopiesMemoryThatTheSystemDoesNotRegister,
    LetsACallbackPutMoreWork, TakesWorkFromSeveralThreads, RefusesEverythingAfterAStickyFault,
    RefusesEverythingWhenItIsGone, IsAbandonedByAWatchdogWhenItHangs);

}  // namespace pinion
