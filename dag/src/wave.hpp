#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace pinion {

/// Units of work that follow each other, by their numbers.
struct UnitRange {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;

  [[nodiscard]] bool empty() const noexcept { return begin == end; }
  [[nodiscard]] std::uint32_t size() const noexcept { return end - begin; }
};

/// What one lane has of a run in waves: a line of the cache for what is left of its slice, which
/// others read when they have nothing left, and one for what they look at after each level.
///
/// Invariant: the range only grows upwards. While it lies below the lane's slice of a level, the
/// units of that slice have not begun; then it is what is left of the slice, and an empty one lies
/// at the end of it. So no value comes twice, and no slice is put twice.
///
/// Thread safety: end(), enter() and leave() by the lane alone, the rest by anyone.
template <template <class> class Atom = std::atomic>
class WaveSeat {
 public:
  /// Precondition: nobody uses it.
  void reset() noexcept {
    range_.store(0, std::memory_order_relaxed);
    ended_.store(0, std::memory_order_relaxed);
    present_.store(0, std::memory_order_relaxed);
  }

  /// The first units of what is left of the lane's slice, `count_max` at most.
  UnitRange take_first(UnitRange slice, std::uint32_t count_max) noexcept {
    std::uint64_t before = range_.load(std::memory_order_relaxed);
    for (;;) {
      const UnitRange left = left_of(slice, before);
      if (left.empty()) {
        return {};
      }
      const UnitRange taken = {left.begin, left.begin + std::min(count_max, left.size())};
      if (replace(before, {taken.end, left.end})) {
        return taken;
      }
    }
  }

  /// The last units of it, half of them or `count_max` at most; of few, nothing.
  UnitRange take_last(UnitRange slice, std::uint32_t count_max, std::uint32_t rest_min) noexcept {
    std::uint64_t before = range_.load(std::memory_order_relaxed);
    for (;;) {
      const UnitRange left = left_of(slice, before);
      if (left.empty() || left.size() < rest_min) {
        return {};
      }
      if (left.size() == 1) {
        // From the front: an empty range at the begin would look like one of a level before.
        if (replace(before, {left.end, left.end})) {
          return left;
        }
        continue;
      }
      const std::uint32_t count = std::min(left.size() / 2, count_max);
      if (replace(before, {left.begin, left.end - count})) {
        return {left.end - count, left.end};
      }
    }
  }

  /// What nobody has taken. Precondition: nobody takes any now.
  [[nodiscard]] UnitRange left(UnitRange slice) const noexcept {
    return left_of(slice, range_.load(std::memory_order_relaxed));
  }

  /// The lane has ended so many units more.
  void end(std::uint32_t count) noexcept {
    // Pairs with ended(): who sees that a level has ended sees what its tasks did.
    ended_.store(ended_.load(std::memory_order_relaxed) + count, std::memory_order_release);
  }
  [[nodiscard]] std::uint32_t ended() const noexcept {
    return ended_.load(std::memory_order_seq_cst);
  }

  /// A worker works for the lane, or does no longer. Who leaves must look once more after that
  /// whether the level has ended: of those that end its last units and leave, one sees it. Who
  /// began the next one may have seen a worker here.
  void enter() noexcept { present_.store(1, std::memory_order_seq_cst); }
  void leave() noexcept { present_.store(0, std::memory_order_seq_cst); }
  [[nodiscard]] bool is_away() const noexcept {
    return present_.load(std::memory_order_seq_cst) == 0;
  }

 private:
  // Of a range in a level after the slice's there is nothing for whoever comes with an old slice.
  static UnitRange left_of(UnitRange slice, std::uint64_t word) noexcept {
    const UnitRange range = {static_cast<std::uint32_t>(word),
                             static_cast<std::uint32_t>(word >> 32)};
    if (range.end <= slice.begin) {
      return slice;
    }
    return range.end <= slice.end ? range : UnitRange();
  }

  bool replace(std::uint64_t& before, UnitRange after) noexcept {
    return range_.compare_exchange_weak(before, std::uint64_t{after.end} << 32 | after.begin,
                                        std::memory_order_relaxed, std::memory_order_relaxed);
  }

  alignas(64) Atom<std::uint64_t> range_{0};
  alignas(64) Atom<std::uint32_t> ended_{0};
  Atom<std::uint32_t> present_{0};
};

/// The levels of a run in waves, and the seats of its lanes. A level begins when all units of those
/// before it have ended, which every lane finds out by itself. Each lane has a slice of each level;
/// who has nothing left takes of those of others, whether they are there or not. So a worker that
/// is late or stopped keeps only what it has taken.
///
/// Thread safety: reset() while nobody uses it, the rest from any thread.
template <template <class> class Atom = std::atomic, class Seat = WaveSeat<Atom>>
class Waves {
 public:
  /// `level_begins`: one more than there are levels. A slice has `slice_min` units at least, or is
  /// all of its level.
  void reset(const std::uint32_t* level_begins, std::uint32_t level_count, std::size_t lane_count,
             std::uint32_t slice_min) {
    if (lane_count != lane_count_) {
      seats_ = std::make_unique<Seat[]>(lane_count);
      lane_count_ = static_cast<std::uint32_t>(lane_count);
    }
    for (std::uint32_t lane = 0; lane < lane_count_; ++lane) {
      seats_[lane].reset();
    }
    begins_ = level_begins;
    level_count_ = level_count;
    slice_min_ = std::max(slice_min, std::uint32_t{1});
  }

  [[nodiscard]] std::uint32_t level_count() const noexcept { return level_count_; }
  [[nodiscard]] std::uint32_t lane_count() const noexcept { return lane_count_; }
  [[nodiscard]] Seat& seat(std::uint32_t lane) noexcept { return seats_[lane]; }

  /// How many lanes have a slice of the level.
  [[nodiscard]] std::uint32_t slice_count(std::uint32_t level) const noexcept {
    const std::uint32_t width = begins_[level + 1] - begins_[level];
    return std::clamp(width / slice_min_, std::uint32_t{1}, lane_count_);
  }

  [[nodiscard]] UnitRange slice(std::uint32_t level, std::uint32_t lane) const noexcept {
    const std::uint32_t begin = begins_[level];
    const std::uint64_t width = begins_[level + 1] - begin;
    const std::uint32_t count = slice_count(level);
    if (lane >= count) {
      return {};
    }
    return {begin + static_cast<std::uint32_t>(width * lane / count),
            begin + static_cast<std::uint32_t>(width * (lane + 1) / count)};
  }

  /// The level that goes on, which is not before `level`; the number of levels after the last one.
  /// Whoever calls sees what the tasks of all levels before it did.
  [[nodiscard]] std::uint32_t level_from(std::uint32_t level) const noexcept {
    std::uint32_t ended = 0;
    for (std::uint32_t lane = 0; lane < lane_count_; ++lane) {
      ended += seats_[lane].ended();
    }
    while (level < level_count_ && ended >= begins_[level + 1]) {
      ++level;
    }
    return level;
  }

  /// Of the slices of others, where `rest_min` units at least are left.
  UnitRange take_of_others(std::uint32_t level, std::uint32_t lane, std::uint32_t count_max,
                           std::uint32_t rest_min) noexcept {
    const std::uint32_t count = slice_count(level);
    for (std::uint32_t i = 1; i <= lane_count_; ++i) {
      const std::uint32_t other = (lane + i) % lane_count_;
      if (other == lane || other >= count) {
        continue;
      }
      const UnitRange taken = seats_[other].take_last(slice(level, other), count_max, rest_min);
      if (!taken.empty()) {
        return taken;
      }
    }
    return {};
  }

  /// Whether there are fewer lanes with a worker than slices of the level.
  [[nodiscard]] bool needs_workers(std::uint32_t level) const noexcept {
    std::uint32_t needed = slice_count(level);
    for (std::uint32_t lane = 0; lane < lane_count_ && needed > 0; ++lane) {
      needed -= seats_[lane].is_away() ? 0 : 1;
    }
    return needed > 0;
  }

 private:
  std::unique_ptr<Seat[]> seats_;
  const std::uint32_t* begins_ = nullptr;
  std::uint32_t level_count_ = 0;
  std::uint32_t lane_count_ = 0;
  std::uint32_t slice_min_ = 1;
};

}  // namespace pinion
