// Which units the board of a step gives to workers and which to those that feed devices.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/step_board.hpp"
#include "engine/unit_placement.hpp"
#include "shard/engine/fake_job.hpp"

namespace pinion::engine {
namespace {

using protocol::Lease;
using protocol::Stage;

// Lets every shard wait at `target`.
class OneTarget final : public IShardPolicy {
 public:
  OneTarget(const std::size_t& target, std::vector<std::uint64_t>& dropped)
      : target_(target), dropped_(dropped) {}

  std::uint64_t place(const PlacedShard&, Instant) override {
    waiting_[target_].push_back(++last_);
    return last_;
  }
  std::optional<std::uint64_t> next(std::size_t runner, Instant) override {
    std::deque<std::uint64_t>& queue = waiting_[runner];
    if (queue.empty()) {
      return std::nullopt;
    }
    const std::uint64_t ticket = queue.front();
    queue.pop_front();
    return ticket;
  }
  void ended(std::uint64_t, Duration) override {}
  void dropped(std::uint64_t ticket) override { dropped_.push_back(ticket); }
  std::vector<std::uint64_t> retire(std::size_t runner) override {
    const std::deque<std::uint64_t> gone = std::exchange(waiting_[runner], {});
    return {gone.begin(), gone.end()};
  }

 private:
  const std::size_t& target_;
  std::vector<std::uint64_t>& dropped_;
  std::map<std::size_t, std::deque<std::uint64_t>> waiting_;
  std::uint64_t last_ = 0;
};

class DeviceBoard : public testing::Test {
 protected:
  static constexpr std::size_t kDevice = 0;
  static constexpr std::size_t kHost = 1;

  DeviceBoard() {
    StepPlan plan;
    for (std::uint64_t shard = 0; shard < 8; ++shard) {
      plan.shards.push_back({.begin = shard * 10, .end = shard * 10 + 10});
    }
    board_.use_plan(std::make_shared<const OpenedPlan>(std::move(plan)));
  }

  void use_device(bool was_restarted = false) {
    board_.use_devices(std::make_unique<UnitPlacement>(
                           std::make_unique<OneTarget>(target_, dropped_), kernel_, 1, 1),
                       was_restarted);
  }

  static Lease lease(std::uint64_t unit, std::uint32_t attempt = 1) {
    return {.unit = unit, .fence = {.epoch = 1, .counter = unit + 100}, .attempt = attempt};
  }

  void add(const std::vector<Lease>& leases, Stage stage = Stage::kMap) {
    board_.add_units(stage, leases, 0);
  }

  // The unit that the runner is given; empty when it is to seal its batch, as there is none for it.
  std::optional<std::uint64_t> next(std::size_t runner) {
    const std::vector<Lease> batch = {lease(1000)};
    const Next next = board_.next(batch, Instant(), {}, runner);
    EXPECT_TRUE(next.step == NextStep::kRunUnit || next.step == NextStep::kSealBatch);
    return next.step == NextStep::kRunUnit ? std::optional(next.lease.unit) : std::nullopt;
  }

  test::FakeLink link_{[](std::span<const std::byte>) { return Status(); }};
  StepBoard board_{link_};
  DeviceKernel kernel_ = {.name = "kernel", .sizes = [](std::uint64_t) { return KernelSizes(); }};
  std::size_t target_ = kDevice;
  std::vector<std::uint64_t> dropped_;
};

TEST_F(DeviceBoard, GivesUnitsToTheRunnerThatThePolicySays) {
  use_device();
  add({lease(0), lease(1)});
  EXPECT_EQ(next(kWorkers), std::nullopt);
  EXPECT_EQ(next(kDevice), 0u);
  EXPECT_EQ(next(kDevice), 1u);
  target_ = kHost;
  add({lease(2)});
  EXPECT_EQ(next(kDevice), std::nullopt);
  EXPECT_EQ(next(kWorkers), 2u);
}

TEST_F(DeviceBoard, GivesWorkersWhatHasFailedBeforeAndWhatIsToBeMerged) {
  use_device();
  add({lease(0, 2), lease(1)});
  add({lease(2)}, Stage::kMerge);
  EXPECT_EQ(next(kWorkers), 0u);
  EXPECT_EQ(next(kWorkers), 2u);
  EXPECT_EQ(next(kWorkers), std::nullopt);
  EXPECT_EQ(next(kDevice), 1u);
}

TEST_F(DeviceBoard, GivesWorkersWhatComesAloneToARankThatWasRestarted) {
  use_device(true);
  add({lease(0)});
  EXPECT_EQ(next(kDevice), std::nullopt);
  EXPECT_EQ(next(kWorkers), 0u);
  add({lease(1)});  // Not alone: the one before it still runs.
  EXPECT_EQ(next(kDevice), 1u);
}

TEST_F(DeviceBoard, CountsUnitsUntilTheyAreOver) {
  use_device();
  add({lease(0), lease(1), lease(2)});
  EXPECT_EQ(board_.unfinished_count(0), 3u);
  EXPECT_EQ(next(kDevice), 0u);
  EXPECT_EQ(next(kDevice), 1u);
  EXPECT_EQ(board_.unfinished_count(0), 3u);
  board_.landed(lease(0), Duration(5), Duration(3));
  EXPECT_EQ(board_.unfinished_count(0), 2u);
  EXPECT_TRUE(dropped_.empty());
  board_.landed(lease(1), Duration(5), Duration());
  EXPECT_EQ(dropped_.size(), 1u);
  EXPECT_EQ(board_.unfinished_count(0), 1u);
}

TEST_F(DeviceBoard, WakesTheProgramWhenFewUnitsAreLeftOnTheDevice) {
  use_device();
  add({lease(0), lease(1)});
  EXPECT_EQ(next(kDevice), 0u);
  static_cast<void>(board_.unfinished_count(1));
  EXPECT_FALSE(link_.take_wake());
  board_.landed(lease(0), Duration(5), Duration(5));
  EXPECT_TRUE(link_.take_wake());
}

TEST_F(DeviceBoard, DropsUnitsWhereverTheyWait) {
  use_device();
  add({lease(0), lease(1), lease(2), lease(3)});
  EXPECT_EQ(next(kWorkers), std::nullopt);  // All are placed now.
  add({lease(4)});
  board_.drop(Stage::kMap, std::vector<Lease>{lease(1), lease(2), lease(4)});
  EXPECT_EQ(board_.unfinished_count(0), 2u);
  EXPECT_EQ(next(kDevice), 0u);
  EXPECT_EQ(next(kDevice), 3u);
  EXPECT_EQ(next(kDevice), std::nullopt);
  EXPECT_EQ(dropped_, (std::vector<std::uint64_t>{2, 3}));
}

TEST_F(DeviceBoard, GivesToOthersWhatWaitsForADeviceThatRetires) {
  use_device();
  add({lease(0), lease(1)});
  EXPECT_EQ(next(kWorkers), std::nullopt);
  target_ = kHost;
  board_.retire(kDevice);
  EXPECT_EQ(board_.unfinished_count(0), 2u);
  EXPECT_EQ(next(kDevice), std::nullopt);
  EXPECT_EQ(next(kWorkers), 0u);
  EXPECT_EQ(next(kWorkers), 1u);
}

TEST_F(DeviceBoard, LeavesUnitsThatCameBeforeTheDevicesToWorkers) {
  add({lease(0)});
  use_device();
  EXPECT_EQ(next(kDevice), std::nullopt);
  EXPECT_EQ(next(kWorkers), 0u);
}

}  // namespace
}  // namespace pinion::engine
