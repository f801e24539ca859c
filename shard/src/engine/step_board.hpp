#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/shard/protocol/messages.hpp>

#include "engine/memory_turns.hpp"
#include "engine/opened_partials.hpp"
#include "engine/plan.hpp"
#include "engine/unit_placement.hpp"

namespace pinion::engine {

/// A batch that a worker sealed. `output` keeps the blob until the coordinator has decided.
struct SealedBatch {
  protocol::Report report;
  Blob output;
};

/// How leases end.
using Finished = std::variant<SealedBatch, protocol::BatchFailed, protocol::GiveBack>;

/// The step's plan. An error fails every shard that is run with it, in its words.
using OpenedPlan = Result<StepPlan>;

/// The opened partials that leases of the combine and the merge stage work on, or why they could
/// not be opened.
using Partials = Result<OpenedPartials>;

/// What a worker does next.
enum class NextStep : std::uint8_t {
  kRunUnit,    ///< Run the unit.
  kSealBatch,  ///< Nothing to add to the open batch soon.
  kDropBatch,  ///< The open batch holds a lease that is no longer ours.
  kEnd,        ///< The step is over.
};

struct Next {
  NextStep step = NextStep::kEnd;
  protocol::Stage stage = protocol::Stage::kMap;
  protocol::Lease lease = {};
  std::shared_ptr<const OpenedPlan> plan = {};    ///< For a unit of the map stage.
  std::shared_ptr<const Partials> partials = {};  ///< For a unit of another stage.
};

/// The runner that stands for the workers of the rank: see IShardPolicy.
inline constexpr std::size_t kWorkers = static_cast<std::size_t>(-1);

/// Where the program's thread, which talks to the coordinator, and the workers of one rank meet
/// during one step: leases go one way, finished batches the other.
///
/// Thread safety: all members may be called from any thread.
class StepBoard {
 public:
  /// `control` is woken for every finished batch, and outlives the board.
  explicit StepBoard(IControlLink& control) noexcept : control_(control) {}

  // For the program's thread.

  void add_units(protocol::Stage stage, std::span<const protocol::Lease> leases,
                 std::uint64_t unit_count_left);
  void use_plan(std::shared_ptr<const OpenedPlan> plan);

  /// Units of the map stage that come from here on are divided by it, but for those that have
  /// failed before, which workers do. `was_restarted`: this rank was, maybe for a device, so
  /// workers also do a unit that comes alone, as those do that are suspected of its death.
  /// Precondition: a plan without an error is used.
  void use_devices(std::unique_ptr<UnitPlacement> placement, bool was_restarted);
  void use_partials(std::shared_ptr<const Partials> partials);
  void drop(protocol::Stage stage, std::span<const protocol::Lease> leases);
  [[nodiscard]] std::vector<Finished> take_finished();

  /// What units take a worker at present, from its begin to its end; zero before the first of a
  /// stage has ended.
  [[nodiscard]] Duration unit_duration();
  /// Units that wait or run. The control link is woken when only `least` are left.
  [[nodiscard]] std::size_t unfinished_count(std::size_t least);

  /// Announces one more worker loop. Precondition: not after end().
  void loop_submitted();

  /// Ends all worker loops and waits for them. Blocks: until running bodies have returned.
  void end();

  // For the workers.

  /// Waits for a unit; with an open batch only for a while. `batch` lists the leases of the open
  /// batch, which is of the map stage. `last_unit` is what the unit that the worker has run since
  /// the last call took, at least a nanosecond; zero for none. A `runner` other than the workers is
  /// a device; its units are over when they have landed(), and not with the next call.
  [[nodiscard]] Next next(std::span<const protocol::Lease> batch, Instant batch_deadline,
                          Duration last_unit = {}, std::size_t runner = kWorkers);

  /// What a unit has kept a worker busy for; zero: it was not done.
  void measured(const protocol::Lease& lease, Duration time);

  /// A unit that a device had is over. It kept the device busy for so long; zero: it was not done.
  void landed(const protocol::Lease& lease, Duration on_device, Duration busy);

  /// The device takes no units any more. What waited for it goes elsewhere.
  void retire(std::size_t device);

  /// Whether a lease of the map stage that a worker has in hand is worth going on with.
  [[nodiscard]] bool is_wanted(const protocol::Lease& lease);

  void finish(Finished finished);

  /// The members of `batch` that are still ours. For a batch that is dropped.
  [[nodiscard]] std::vector<protocol::Lease> still_ours(std::span<const protocol::Lease> batch);

  /// The calling loop is over; it touches the board no more.
  void loop_ended();

  /// For what workers read and merge.
  [[nodiscard]] MemoryTurns& memory_turns() noexcept { return memory_turns_; }

 private:
  static constexpr std::size_t kNobodyAsked = static_cast<std::size_t>(-1);

  using DroppedKey = std::pair<protocol::Stage, protocol::Fence>;
  struct Unit {
    protocol::Stage stage;
    protocol::Lease lease;
  };

  [[nodiscard]] std::optional<Unit> take(std::size_t runner) PINION_REQUIRES(mutex_);
  void end_unit(Duration time) PINION_REQUIRES(mutex_);
  [[nodiscard]] std::size_t unfinished() const PINION_REQUIRES(mutex_);
  [[nodiscard]] bool is_dropped(protocol::Stage stage, const protocol::Lease& lease) const
      PINION_REQUIRES(mutex_);

  IControlLink& control_;
  SystemClock clock_;
  MemoryTurns memory_turns_;

  Mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Unit> units_ PINION_GUARDED_BY(mutex_);  // For workers.
  // Those that are not placed yet wait before those that are.
  std::deque<protocol::Lease> unplaced_ PINION_GUARDED_BY(mutex_);
  std::unique_ptr<UnitPlacement> placement_ PINION_GUARDED_BY(mutex_);
  bool was_restarted_ PINION_GUARDED_BY(mutex_) = false;
  std::set<DroppedKey> dropped_ PINION_GUARDED_BY(mutex_);
  std::vector<Finished> finished_ PINION_GUARDED_BY(mutex_);
  std::shared_ptr<const OpenedPlan> plan_ PINION_GUARDED_BY(mutex_);
  std::shared_ptr<const Partials> partials_ PINION_GUARDED_BY(mutex_);
  std::uint64_t unit_count_left_ PINION_GUARDED_BY(mutex_) = 0;
  std::size_t running_count_ PINION_GUARDED_BY(mutex_) = 0;
  std::size_t least_count_ PINION_GUARDED_BY(mutex_) = kNobodyAsked;
  protocol::Stage stage_ PINION_GUARDED_BY(mutex_) = protocol::Stage::kMap;
  Duration unit_duration_ PINION_GUARDED_BY(mutex_) = {};
  std::size_t loop_count_ PINION_GUARDED_BY(mutex_) = 0;
  bool ended_ PINION_GUARDED_BY(mutex_) = false;
};

}  // namespace pinion::engine
