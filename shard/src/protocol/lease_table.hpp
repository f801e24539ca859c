#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/shard/protocol/messages.hpp>

namespace pinion::protocol {

/// One life of one rank.
struct Holder {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 0;  ///< 0 holds nothing.

  friend bool operator==(const Holder&, const Holder&) = default;
};

/// Makes every grant of a job greater than all before it.
struct FenceSource {
  std::uint32_t epoch = 0;
  std::uint64_t counter = 0;

  Fence next() { return {.epoch = epoch, .counter = ++counter}; }
};

/// What a lease that a rank shows is worth.
enum class Standing : std::uint8_t {
  kHeld,      ///< It is the newest grant of its unit, and this rank's.
  kAccepted,  ///< Its unit is accepted already.
  kForeign,   ///< Its unit went to another grant, or was given back, or does not exist.
};

/// The units of one stage of a step: who holds which, what waits, what is accepted.
///
/// Invariants: a unit that waits is in `queue_`, one with a live lease is in `expiries_`, an
/// accepted
///   one in neither; a unit whose lease ran out waits, but keeps its holder until the next grant.
/// Thread safety: none.
class LeaseTable {
 public:
  LeaseTable() = default;
  LeaseTable(std::vector<std::uint64_t> weights, std::uint32_t rank_count);

  [[nodiscard]] std::uint64_t waiting_count() const noexcept { return queue_.size(); }
  [[nodiscard]] std::uint64_t leased_count() const noexcept { return expiries_.size(); }
  [[nodiscard]] std::uint64_t accepted_count() const noexcept { return accepted_count_; }
  [[nodiscard]] bool all_accepted() const noexcept { return accepted_count_ == units_.size(); }

  /// How many live leases `rank` has.
  [[nodiscard]] std::uint64_t leased_count_of(std::uint32_t rank) const {
    return leased_counts_[rank];
  }

  [[nodiscard]] Standing standing(const Lease& lease, Holder holder) const;

  struct GrantTerms {
    std::uint64_t unit_count_max = 0;
    Instant expires = {};
  };

  /// The heaviest waiting units, ties by id, without those that are kept from this rank.
  std::vector<Lease> grant(Holder holder, const GrantTerms& terms, FenceSource& fences);

  /// The following four take a unit whose standing is kHeld.
  void extend(std::uint64_t unit, Instant expires);
  void accept(std::uint64_t unit);
  void give_back(std::uint64_t unit);
  /// Counts a failure; the unit is kept from its holder until `shunned_until`. The failures so far.
  std::uint32_t fail(std::uint64_t unit, Instant shunned_until);

  /// Takes everything from a rank that died, and counts the deaths. The units it had leases for.
  std::vector<std::uint64_t> abandon(std::uint32_t rank);
  /// Takes everything from a rank that ended in good order.
  void withdraw(std::uint32_t rank);
  /// Lets the units whose lease is over wait again, and ends what is kept from ranks. The ranks
  /// that let leases run out, each as often as it did.
  std::vector<std::uint32_t> expire(Instant now);

  [[nodiscard]] std::uint32_t failure_count(std::uint64_t unit) const {
    return units_[unit].failure_count;
  }
  [[nodiscard]] std::uint32_t death_count(std::uint64_t unit) const {
    return units_[unit].death_count;
  }
  [[nodiscard]] std::uint64_t weight(std::uint64_t unit) const { return units_[unit].weight; }

  /// When expire() or grant() may next have another outcome.
  [[nodiscard]] Instant next_deadline() const noexcept;

  /// Only for tests that break the protocol: the rank's leases never end.
  void forget(std::uint32_t rank);

 private:
  enum class UnitState : std::uint8_t { kWaiting, kLeased, kAccepted };

  struct Unit {
    std::uint64_t weight = 0;
    std::uint64_t queue_position = 0;
    std::uint64_t fence_counter = 0;
    Holder holder = {};
    Instant expires = {};
    std::uint32_t failure_count = 0;
    std::uint32_t death_count = 0;
    UnitState state = UnitState::kWaiting;
  };

  struct Shunned {
    std::uint32_t rank = 0;
    Instant until = {};
  };

  void end_lease(std::uint64_t unit);
  void wait(std::uint64_t unit);
  /// Whether `rank` holds a unit that a rank has died with; it then gets nothing else.
  [[nodiscard]] bool holds_suspect(std::uint32_t rank) const;
  [[nodiscard]] bool kept_from(std::uint32_t rank, std::uint64_t unit) const;

  std::vector<Unit> units_;
  std::vector<std::uint64_t> unit_at_;  // By position in the order of grants.
  std::set<std::uint64_t> queue_;       // Positions.
  std::set<std::pair<Instant, std::uint64_t>> expiries_;
  std::map<std::uint64_t, Shunned> shunned_;  // Only units that wait.
  std::vector<std::uint64_t> leased_counts_;
  std::uint64_t accepted_count_ = 0;
};

}  // namespace pinion::protocol
