#include <pinion/numa/binding.hpp>

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "recorded_machines.hpp"

namespace pinion {
namespace {

using ::testing::HasSubstr;

class Binding : public ::testing::Test {
 protected:
  void SetUp() override {
    memory_ = mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory_, MAP_FAILED);
  }
  void TearDown() override { munmap(memory_, size()); }

  static std::size_t size() { return 4 * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
  std::span<std::byte> pages() { return {static_cast<std::byte*>(memory_), size()}; }

  Topology topology_ = Topology::of_this_machine().value();
  void* memory_ = nullptr;
};

bool system_refuses(const Result<Place>& place) {
  return !place && (place.error().code() == ErrorCode::kPermissionDenied ||
                    place.error().code() == ErrorCode::kUnimplemented);
}

TEST_F(Binding, PutsPagesOnEveryNodeThatIsAskedFor) {
  for (const NumaNode& node : topology_.nodes()) {
    if (!node.memory_usable || node.memory_bytes == 0) {
      continue;
    }
    ASSERT_EQ(madvise(memory_, size(), MADV_DONTNEED), 0);
    const Status status = bind_memory(pages(), topology_, node.place);
    ASSERT_TRUE(status.ok()) << status.to_string();
    std::memset(memory_, 1, size());
    const Result<Place> place = where_is(pages().data() + size() - 1, topology_);
    if (system_refuses(place)) {
      GTEST_SKIP() << "the system does not tell where pages lie: " << place.error().to_string();
    }
    ASSERT_TRUE(place) << place.error().to_string();
    EXPECT_EQ(*place, node.place);
  }
}

TEST_F(Binding, RefusesAPlaceThatIsNotThere) {
  const auto beyond = static_cast<std::uint16_t>(topology_.nodes().size());
  const Status node = bind_memory(pages(), topology_, {PlaceKind::kNuma, beyond, 0});
  EXPECT_EQ(node.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(std::string(node.message()), HasSubstr("NUMA node " + std::to_string(beyond)));
  const Status device = bind_memory(pages(), topology_, {PlaceKind::kDevice, 0, 0});
  EXPECT_EQ(device.code(), ErrorCode::kInvalidArgument);
}

TEST_F(Binding, RefusesMemoryThatBeginsInsideAPage) {
  const Status status = bind_memory(pages().subspan(1), topology_, topology_.nodes().front().place);
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
}

TEST_F(Binding, AllocatesMemoryWhereItIsAskedFor) {
  const Place home = topology_.nearest_memory(topology_.nodes().front().place);
  Result<BoundMemory> memory = BoundMemory::allocate(size() - 1, topology_, home);
  ASSERT_TRUE(memory) << memory.error().to_string();
  ASSERT_EQ(memory->bytes().size(), size() - 1);
  std::byte* const address = memory->bytes().data();
  std::memset(address, 1, memory->bytes().size());
  BoundMemory moved = std::move(memory).value();
  EXPECT_EQ(moved.bytes().data(), address);
  const Result<Place> place = where_is(address, topology_);
  if (system_refuses(place)) {
    GTEST_SKIP() << "the system does not tell where pages lie: " << place.error().to_string();
  }
  EXPECT_EQ(place.value(), home);
  moved = BoundMemory::allocate(1, topology_, home).value();
  EXPECT_EQ(moved.bytes().size(), 1u);
  EXPECT_FALSE(where_is(address, topology_)) << "the first pages are still there";
}

TEST_F(Binding, RefusesToAllocateNothingOrTooMuch) {
  const Place home = topology_.nodes().front().place;
  EXPECT_EQ(BoundMemory::allocate(0, topology_, home).error().code(), ErrorCode::kInvalidArgument);
  const Result<BoundMemory> huge = BoundMemory::allocate(std::size_t{1} << 62, topology_, home);
  ASSERT_FALSE(huge);
  EXPECT_EQ(huge.error().code(), ErrorCode::kResourceExhausted);
}

TEST_F(Binding, PinsAThreadToOneCpuAfterTheOther) {
  std::thread thread([this] {
    for (const unsigned cpu : topology_.usable_cpus()) {
      const Status status = pin_this_thread(std::array{cpu}, topology_);
      ASSERT_TRUE(status.ok()) << status.to_string();
      EXPECT_EQ(sched_getcpu(), static_cast<int>(cpu));
    }
    EXPECT_TRUE(pin_this_thread(topology_.usable_cpus(), topology_).ok());
  });
  thread.join();
}

TEST_F(Binding, RefusesCpusThatAreNotThereOrNotOurs) {
  const Status none = pin_this_thread({}, topology_);
  EXPECT_EQ(none.code(), ErrorCode::kInvalidArgument);
  const unsigned beyond = topology_.cpus().back() + 1;
  const Status absent = pin_this_thread(std::array{beyond}, topology_);
  EXPECT_EQ(absent.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(absent.to_string(), HasSubstr("no CPU " + std::to_string(beyond)));
  const std::vector<unsigned> usable = topology_.usable_cpus();
  if (usable.size() < 2) {
    GTEST_SKIP() << "this process has one CPU only, so none can be taken from it";
  }
  std::thread thread([&] {
    ASSERT_TRUE(pin_this_thread(std::array{usable[0]}, topology_).ok());
    const Topology narrow = Topology::of_this_machine().value();
    const Status other = pin_this_thread(std::array{usable[1]}, narrow);
    EXPECT_EQ(other.code(), ErrorCode::kPermissionDenied);
    EXPECT_THAT(other.to_string(), HasSubstr("CPU " + std::to_string(usable[1]) +
                                             " may not be used; affinity mask and cpuset allow " +
                                             std::to_string(usable[0])));
  });
  thread.join();
}

TEST_F(Binding, RefusesARecordedMachine) {
  const Topology recorded = testing::load("power8-4xP100.xml");
  EXPECT_EQ(pin_this_thread(std::array{0u}, recorded).code(), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(BoundMemory::allocate(1, recorded, recorded.nodes().front().place).error().code(),
            ErrorCode::kFailedPrecondition);
  EXPECT_EQ(bind_memory(pages(), recorded, recorded.nodes().front().place).code(),
            ErrorCode::kFailedPrecondition);
  const Result<Place> place = where_is(memory_, recorded);
  ASSERT_FALSE(place);
  EXPECT_EQ(place.error().code(), ErrorCode::kFailedPrecondition);
}

TEST_F(Binding, FindsNoPlaceForMemoryThatWasNeverTouched) {
  const Result<Place> place = where_is(memory_, topology_);
  ASSERT_FALSE(place);
  if (system_refuses(place)) {
    GTEST_SKIP() << "the system does not tell where pages lie: " << place.error().to_string();
  }
  EXPECT_EQ(place.error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace pinion
