#include <pinion/numa/binding.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

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

TEST_F(Binding, RefusesARecordedMachine) {
  const Topology recorded = testing::load("power8-4xP100.xml");
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
