#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/place.hpp>
#include <pinion/shard/protocol/messages.hpp>

#include "protocol/position_set.hpp"

namespace pinion::protocol {

/// What decides when a unit is granted, and to whom.
struct UnitTraits {
  std::uint64_t weight = 0;
  Place place = {};
  Priority priority = Priority::kNormal;
  bool needs_device = false;  ///< A rank without one cannot run it.
};

/// The units of a stage in the order in which they are granted: by priority; then those that are
/// near to the rank that asks; then the heaviest; then by number. Each has a position, which it
/// keeps, and waits at it or does not.
///
/// A *bin* is what differs in none of priority, place and need; its positions follow each other.
///
/// Thread safety: none.
class LeaseQueue {
 public:
  /// Made anew for each grant.
  class TakenFrom {
    friend class LeaseQueue;
    std::uint32_t bin_ = 0xffffffff;
  };

  LeaseQueue() = default;
  /// No unit waits yet. Precondition: fewer than 2^32 units.
  LeaseQueue(std::span<const UnitTraits> units, std::uint32_t rank_count);

  [[nodiscard]] std::uint32_t size() const noexcept {
    return static_cast<std::uint32_t>(entries_.size());
  }
  [[nodiscard]] std::uint32_t waiting_count() const noexcept { return waiting_count_; }
  [[nodiscard]] std::uint32_t unit_at(std::uint32_t position) const {
    return entries_[position].unit;
  }
  [[nodiscard]] std::uint64_t weight_at(std::uint32_t position) const {
    return entries_[position].weight;
  }
  /// Two bits a position, for the owner: they lie where what a grant reads lies.
  [[nodiscard]] bool was_granted_again(std::uint32_t position) const {
    return entries_[position].granted_again;
  }
  void set_granted_again(std::uint32_t position) { entries_[position].granted_again = true; }
  [[nodiscard]] bool is_accepted(std::uint32_t position) const {
    return entries_[position].accepted;
  }
  void set_accepted(std::uint32_t position, bool accepted) {
    entries_[position].accepted = accepted;
  }

  /// The position of a unit; the first call costs four bytes a unit.
  [[nodiscard]] std::uint32_t position_of(std::uint32_t unit) const;

  /// Where `rank` works. A rank whose places are not known is near to nothing and has no device.
  void set_places(std::uint32_t rank, std::span<const Place> places);
  [[nodiscard]] bool may_run(std::uint32_t rank, std::uint32_t position) const;
  [[nodiscard]] bool any_needs_device() const noexcept { return any_needs_device_; }
  /// From here on a rank may run what has a place on a host of its own places, and nothing else.
  void keep_to_hosts() noexcept { keeps_to_hosts_ = true; }

  /// Lets what does not wait wait, and the other way round.
  void put(std::uint32_t position);
  void remove(std::uint32_t position);
  void put_all();
  [[nodiscard]] bool waits(std::uint32_t position) const { return waiting_.contains(position); }

  /// Takes the next unit for `rank` out of the queue, and some that follow it, at most
  /// `count_max`; none when nothing waits that it may run. `from` is for this call and those that
  /// follow it while nothing is put: where they have come. Precondition: count_max > 0.
  [[nodiscard]] PositionSet::Run take(std::uint32_t rank, TakenFrom& from, std::uint64_t count_max);

  [[nodiscard]] std::size_t memory_bytes() const noexcept;

 private:
  static constexpr std::size_t kLevelCount = 3;

  struct Entry {
    std::uint64_t weight = 0;
    std::uint32_t unit = 0;
    std::uint32_t bin : 30 = 0;
    std::uint32_t granted_again : 1 = 0;
    std::uint32_t accepted : 1 = 0;
  };
  static_assert(sizeof(Entry) == 16);

  struct Bin {
    std::uint64_t key = 0;
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    std::uint32_t first = 0;  // No unit before it waits.
    std::uint32_t waiting_count = 0;
  };
  struct BinRange {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
  };
  /// What a rank looks at first, by level of priority.
  struct View {
    std::array<std::vector<std::uint32_t>, kLevelCount> near = {};
    std::array<std::uint32_t, kLevelCount> home = {};  // Where it goes on among the others.
    bool has_device = false;
  };

  void assign_bins(std::span<const UnitTraits> units);
  void sort_entries();
  [[nodiscard]] BinRange bins_between(std::uint64_t least, std::uint64_t most) const;
  [[nodiscard]] std::uint32_t pick_bin(const View& view) const;
  [[nodiscard]] std::uint32_t waiting_bin_in(BinRange range, std::uint32_t from) const;

  std::vector<Entry> entries_;                                    // By position.
  std::vector<Bin> bins_;                                         // In the order of their keys.
  std::array<std::array<BinRange, 2>, kLevelCount> ranges_ = {};  // By level and need of a device.
  PositionSet waiting_;
  PositionSet waiting_bins_;
  std::vector<View> views_;                       // By rank.
  mutable std::vector<std::uint32_t> positions_;  // By unit; empty until somebody asks.
  std::uint32_t waiting_count_ = 0;
  bool any_needs_device_ = false;
  bool keeps_to_hosts_ = false;
};

}  // namespace pinion::protocol
