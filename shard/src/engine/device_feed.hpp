#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <pinion/core/cancel.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/page_pool.hpp>
#include <pinion/core/shard_devices.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/shard/protocol/messages.hpp>
#include <pinion/shard/shard.hpp>

#include "engine/shard_reader.hpp"
#include "engine/step_board.hpp"

namespace pinion::engine {

/// What a feed reads and where it goes. Constant while it lives.
struct FeedWork {
  IShardDevices& devices;
  std::size_t device = 0;
  const DeviceKernel& kernel;
  std::uint64_t job_seed = 0;
  ShardReaderOptions reader = {};
};

/// A unit that has come back from a device.
struct LandedUnit {
  protocol::Lease lease = {};
  Shard shard;
  Status status = {};                    ///< An error: the device has not done it.
  std::vector<DevicePiece> pieces = {};  ///< Ascending. Empty after an error.
  Instant begun = {};
  Duration on_device = {};  ///< From its begin to its end.
  Duration busy = {};       ///< Its part of the time that the device took for it and its like.
  std::shared_ptr<const OpenedPlan> plan = {};
};

/// The units that one worker has on a device: some are computed while the next is read.
///
/// Thread safety: none; each worker has its own. Borrows what the work names.
class DeviceFeed {
 public:
  explicit DeviceFeed(const FeedWork& work);

  /// Cancels, and waits for what is on the device.
  ~DeviceFeed();
  DeviceFeed(const DeviceFeed&) = delete;
  DeviceFeed& operator=(const DeviceFeed&) = delete;

  /// Whether the device has as much as keeps it busy: `depth` units. Where the kernel takes
  /// batches, and the first unit has come back, it is more of small ones: those of `depth` launches
  /// and of one that waits.
  [[nodiscard]] bool is_full() const noexcept;
  [[nodiscard]] bool is_empty() const noexcept { return flying_.empty(); }
  [[nodiscard]] std::size_t device() const noexcept { return work_.device; }

  /// Reads the unit's shard and gives it to the device. Blocks: for the file system.
  /// Precondition: not full; a plan without an error.
  /// Errors: those of reading; nothing has begun.
  [[nodiscard]] Status start(const protocol::Lease& lease, std::shared_ptr<const OpenedPlan> plan);

  /// The unit that was started first. Blocks: until the device has done with it.
  /// Lifetime: its bytes are valid until the next call of start() or land().
  /// Precondition: not empty.
  [[nodiscard]] LandedUnit land();

  /// Nobody wants the units that were started. Those that have not begun on the device land with
  /// kCancelled, when it has done with those that have.
  void cancel();

  /// Whether the device does nothing any more.
  [[nodiscard]] bool is_lost() const;

  /// The units that were started and that the device has not done by now, the first one first.
  [[nodiscard]] std::vector<std::uint64_t> undone() const PINION_EXCLUDES(mutex_);

 private:
  struct Piece {
    std::uint64_t offset = 0;
    std::size_t input_bytes = 0;
    std::size_t output_begin = 0;
    std::size_t output_bytes = 0;
  };

  /// A place for one of the units that are on the device at once. Made when it is needed first.
  struct Lane {
    explicit Lane(const ShardReaderOptions& options) : reader(options) {}

    ShardReader reader;
    const std::byte* memory = nullptr;  // Where the reader's was at the unit before.
    std::shared_ptr<const OpenedPlan> plan = {};
    protocol::Lease lease = {};
    std::optional<Shard> shard = {};
    std::uint64_t size_bytes = 0;  // Of input and output.
    Instant begun = {};
    Duration busy = {};  // Zero until it is known.

    // The device's until `over`, which is under the lock.
    Pages output = {};  // Kept for the next unit.
    std::size_t output_bytes = 0;
    std::vector<Piece> pieces = {};
    Status refusal = {};  // Of memory for the output.
    Status status = {};
    Instant ended = {};
    bool over = false;
  };

  void register_memory(Lane& lane, std::span<const std::byte> input);
  void keep(Lane& lane, const DevicePiece& piece);
  [[nodiscard]] Status make_room(Lane& lane, std::size_t output_bytes) const;
  void end(Lane& lane, const Status& status) PINION_EXCLUDES(mutex_);
  void share_time() PINION_EXCLUDES(mutex_);
  void trim_landed();
  void wait_for(const Lane& lane) PINION_EXCLUDES(mutex_);

  const FeedWork work_;
  const std::size_t depth_;
  const DeviceBatch batch_;
  SystemClock clock_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<Lane*> free_;  // The last is the next, as it has the bytes of the unit that landed.
  std::deque<Lane*> flying_;
  std::uint64_t flying_bytes_ = 0;
  Lane* last_read_ = nullptr;     // Whose reader has a file open.
  bool may_register_ = true;      // The device has refused no memory so far.
  DescribeShards describe_ = {};  // Stays as it is from the first unit on.
  CancelSource cancel_;
  Instant last_end_ = {};

  mutable Mutex mutex_;
  std::condition_variable_any landed_;
};

}  // namespace pinion::engine
