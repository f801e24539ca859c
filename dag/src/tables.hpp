#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <pinion/core/thread_annotations.hpp>
#include <pinion/dag/detail/task_body.hpp>
#include <pinion/dag/task.hpp>

#include "way_choice.hpp"

namespace pinion {

struct RunState;

/// All that the loop of a run reads of one task: half a line of the cache.
struct TaskRecord {
  static constexpr std::uint32_t kChained = std::uint32_t{1} << 31;

  detail::TaskBody body = {};
  std::uint32_t first_successor = 0;  ///< The next record's is the end.
  std::uint32_t links = 0;

  /// The next task in the tables is the only successor, and has no other predecessor. It is not in
  /// the list of successors then.
  [[nodiscard]] bool chained() const noexcept { return (links & kChained) != 0; }
  [[nodiscard]] std::uint32_t predecessor_count() const noexcept { return links & ~kChained; }
};
static_assert(sizeof(TaskRecord) == 32);

/// So many entries of unit_heads may be read behind the last one.
inline constexpr std::uint32_t kUnitsAhead = 4;

/// What the runs of a compiled graph share. Positions number the tasks in the order in which one
/// worker runs them, which the edges allow; chains in one piece. A chain, or a task that is in
/// none, is a unit; a level is the units that may run when those of the levels before have ended.
struct Tables {
  Tables();
  ~Tables();
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;

  [[nodiscard]] std::uint32_t task_count() const noexcept {
    return static_cast<std::uint32_t>(task_of.size());
  }
  [[nodiscard]] std::uint32_t level_count() const noexcept {
    return static_cast<std::uint32_t>(level_begins.size() - 1);
  }
  [[nodiscard]] std::uint32_t unit_count() const noexcept { return level_begins.back(); }
  /// By TaskId.
  [[nodiscard]] std::string name_of(std::uint32_t task) const;
  [[nodiscard]] const TaskOptions& options_of_task(std::uint32_t task) const noexcept;
  [[nodiscard]] const TaskOptions& options_at(std::uint32_t position) const noexcept {
    return options_of_task(task_of[position]);
  }

  /// Armed for a run: counters are at the numbers of predecessors.
  std::unique_ptr<RunState> take_state() PINION_EXCLUDES(mutex);
  void give_back(std::unique_ptr<RunState> state) noexcept PINION_EXCLUDES(mutex);

  std::vector<TaskRecord> records = {};          ///< One more than there are tasks.
  std::vector<std::uint32_t> successors = {};    ///< Positions, marked where nobody counts.
  std::vector<std::uint32_t> roots = {};         ///< Positions.
  std::vector<std::uint32_t> task_of = {};       ///< Position to TaskId.
  std::vector<std::uint32_t> position_of = {};   ///< TaskId to position.
  std::vector<std::uint32_t> unit_heads = {};    ///< Positions, by level, then by TaskId; padded.
  std::vector<std::uint32_t> level_begins = {};  ///< In unit_heads; one more than there are levels.

  detail::BodyStore bodies = {};
  std::vector<TaskOptions> options = {};
  std::vector<std::uint32_t> options_of = {};  ///< By TaskId, 1 and more; empty: none has any.

  std::vector<detail::ValueSlot> values = {};
  std::uint32_t values_size = 0;

  bool has_places = false;
  bool has_priorities = false;
  bool has_limits = false;  ///< Of time, for some task.
  bool has_compensations = false;
  bool needs_timer = false;

  std::optional<RunWay> forced_way = {};  ///< Tests set it before the first run.

  Mutex mutex;
  std::vector<std::unique_ptr<RunState>> spare PINION_GUARDED_BY(mutex);
  WayChoice way_choice PINION_GUARDED_BY(mutex);
};

}  // namespace pinion
