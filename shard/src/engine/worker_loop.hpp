#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/core/page_scope.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/protocol/messages.hpp>
#include <pinion/shard/step.hpp>

#include "engine/device_feed.hpp"
#include "engine/shard_reader.hpp"
#include "engine/step_board.hpp"

namespace pinion::engine {

/// What all worker loops of a step read. Constant while they run.
struct StepWork {
  IJobContext& job;
  const StepSpec& spec;
  std::uint64_t step = 0;
  std::uint32_t partition_count = 0;
  protocol::MapUnits map_units = {};
  std::uint32_t batch_shard_count = 1;  ///< Most shards in a batch, unless the step is ordered.
  IShardDevices* devices = nullptr;     ///< Null where workers do all of the step.
};

/// One worker's part in one step: takes leases from the board, collects shards in batches, seals
/// and reports them.
///
/// Thread safety: none; each worker has its own.
class WorkerLoop {
 public:
  /// Borrows both.
  WorkerLoop(const StepWork& work, StepBoard& board, Place place);

  /// Of a worker that feeds a device. `place` is where its memory is.
  WorkerLoop(const StepWork& work, StepBoard& board, Place place, std::size_t device);
  ~WorkerLoop();
  WorkerLoop(const WorkerLoop&) = delete;
  WorkerLoop& operator=(const WorkerLoop&) = delete;

  /// Blocks: until the board ends the step.
  void run();

 private:
  struct Batch {
    std::unique_ptr<IAggregator> state = {};
    std::vector<protocol::Lease> leases = {};
    std::uint64_t input_bytes = 0;
    Instant deadline = Instant::max();
  };

  void map(const protocol::Lease& lease);
  [[nodiscard]] protocol::Failure run_body(std::uint64_t shard, const protocol::Lease& lease);
  [[nodiscard]] protocol::Failure load_and_run(std::uint64_t id, const protocol::Lease& lease);
  [[nodiscard]] protocol::Failure run_loaded(const Result<Shard>& shard, Instant begin);
  [[nodiscard]] protocol::Failure named(protocol::Failure failure, std::uint64_t shard) const;
  void open_batch();
  void run_unit(const Next& next);

  // Of a worker that feeds a device. Each is false when the batch has failed with a unit.
  void put_on_device(const protocol::Lease& lease);
  [[nodiscard]] bool land();
  [[nodiscard]] bool land_all();
  [[nodiscard]] protocol::Failure finish(const LandedUnit& unit);
  void discard_device_units();
  void leave_device();
  void lose_device(Status error, const std::vector<std::uint64_t>& units);
  [[nodiscard]] bool has_units_on_device() const { return feed_ && !feed_->is_empty(); }
  [[nodiscard]] protocol::Failure check_room(std::uint64_t last_shard) const;
  [[nodiscard]] bool is_full() const;
  void seal_batch();
  void drop_batch();

  void merge(protocol::Stage stage, const protocol::Lease& lease, const Partials& partials);
  [[nodiscard]] protocol::Failure try_merge(protocol::Stage stage, std::uint32_t partition,
                                            const Partials& partials, Blob& output);
  [[nodiscard]] Result<Blob> merge_partition(protocol::Stage stage, std::uint32_t partition,
                                             const OpenedPartials& partials);

  [[nodiscard]] Result<Blob> seal(IAggregator& state, std::uint32_t partition_count,
                                  std::uint64_t id);
  void report(protocol::Stage stage, std::vector<protocol::Lease> leases, std::uint64_t input_bytes,
              Blob output);
  void fail(protocol::Stage stage, std::uint64_t bad_unit, protocol::Failure failure,
            std::vector<protocol::Lease> leases);
  void trace(const char* name, std::uint64_t id, Instant begin);

  const StepWork& work_;
  StepBoard& board_;
  Place place_;
  std::size_t worker_;
  PageSource state_pages_;
  std::uint64_t batch_bytes_;  // Memory of a state at which its batch is sealed.
  SystemClock clock_;
  ShardReader reader_;
  std::optional<DeviceFeed> feed_ = {};          // Of a worker that feeds a device.
  std::shared_ptr<const OpenedPlan> plan_ = {};  // Of the unit that runs.
  Batch batch_;
  Duration last_unit_ = {};  // What the last one took, until the board knows.
  Duration waited_ = {};     // What is not counted of it: the wait for a turn.
};

}  // namespace pinion::engine
