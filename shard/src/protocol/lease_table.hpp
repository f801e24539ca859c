#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/shard/protocol/messages.hpp>

#include "protocol/lease_queue.hpp"
#include "protocol/stragglers.hpp"

namespace pinion::protocol {

/// One life of one rank.
struct Holder {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 0;  ///< 0 holds nothing.

  friend bool operator==(const Holder&, const Holder&) = default;
};

/// Makes every grant of a job greater than all before it. The lower bits of a fence's counter say
/// which record of its table the grant has, so that a lease is found without a search.
struct FenceSource {
  static constexpr unsigned kSlotBits = 24;

  std::uint32_t epoch = 0;
  std::uint64_t counter = 0;  ///< Grants so far.

  Fence next(std::uint32_t slot) {
    return {.epoch = epoch, .counter = ++counter << kSlotBits | slot};
  }
};

/// What a lease that a rank shows is worth.
enum class Standing : std::uint8_t {
  kHeld,      ///< It is a grant of its unit that holds, and this rank's.
  kAccepted,  ///< Its unit is accepted already.
  kForeign,   ///< Its unit went to another grant, or was given back, or does not exist.
};

/// What went wrong with one unit so far.
struct Trouble {
  std::uint32_t failure_count = 0;
  std::uint32_t death_count = 0;        ///< Ranks that died while they held this unit.
  std::uint32_t alone_death_count = 0;  ///< Of these, ranks that held no other.
  bool suspect = false;                 ///< A rank died while it held this unit; it is run alone.
  bool given_up = false;
  std::uint32_t rank_count = 0;             ///< Different ranks that it failed on, up to 2.
  std::array<std::uint32_t, 2> ranks = {};  ///< The first of them.
  std::uint32_t kept_rank = 0;              ///< Is not given the unit until kept_until.
  Instant kept_until = Instant::min();
  Instant ready_at = Instant::min();  ///< Nobody is given the unit before.
  Failure last = {};
};

/// The units of one stage of a step: who holds which, what waits, what is accepted.
///
/// Invariants: a unit that is neither accepted nor given up waits, or waits for its time, or has
///   one live lease, or two of different ranks; a unit whose only lease ran out waits, but the
///   record of the lease is kept until the next grant.
/// Allocates: nothing in grant(), extend(), accept() and give_back() once as many leases as at
///   present were held before (with deadlines, somewhat more), unless something went wrong.
/// Thread safety: none.
class LeaseTable {
 public:
  /// The record of a grant; names it until the grant ends.
  using Slot = std::uint32_t;
  static constexpr Slot kNone = 0xffffffff;

  LeaseTable() = default;
  LeaseTable(std::span<const UnitTraits> units, std::uint32_t rank_count);

  [[nodiscard]] std::uint64_t waiting_count() const noexcept {
    return queue_.waiting_count() + suspects_.size() + retries_.size();
  }
  /// How much it remembers of leases, and of units that something went wrong with.
  [[nodiscard]] std::uint64_t record_count() const noexcept {
    return records_.size() + due_.size() + troubles_.size() + suspects_.size() + retries_.size() +
           delayed_.size() + kept_.size() + lapsed_.size() + seconds_.size();
  }
  [[nodiscard]] std::uint64_t accepted_count() const noexcept { return accepted_count_; }
  /// Units that are neither accepted nor given up.
  [[nodiscard]] std::uint64_t open_count() const noexcept {
    return queue_.size() - accepted_count_ - given_up_count_;
  }
  [[nodiscard]] bool all_settled() const noexcept { return open_count() == 0; }
  /// Grows whenever a unit that could not be granted before can be, be it as a second attempt.
  [[nodiscard]] std::uint64_t return_count() const noexcept { return return_count_; }

  /// How many live leases `rank` has.
  [[nodiscard]] std::uint32_t leased_count_of(std::uint32_t rank) const {
    return ranks_[rank].live_count;
  }

  /// kNone unless the standing of the lease is kHeld.
  [[nodiscard]] Slot find(const Lease& lease, Holder holder) const;
  [[nodiscard]] Standing standing(const Lease& lease, Holder holder) const;

  void set_places(std::uint32_t rank, std::span<const Place> places) {
    queue_.set_places(rank, places);
  }
  [[nodiscard]] bool any_needs_device() const noexcept { return queue_.any_needs_device(); }
  /// From here on a unit is for ranks of the host of its place only.
  void keep_to_hosts() { queue_.keep_to_hosts(); }
  /// Whether the unit can be granted now.
  [[nodiscard]] bool waits(std::uint64_t unit) const;

  /// Leases that are granted from here on are overdue so long after that.
  void set_deadline(Duration deadline) { deadline_ = deadline; }
  /// A lease that is; kNone when there is none.
  [[nodiscard]] Slot find_overdue(Instant now);

  /// Precondition: neither time goes back from one call to the next.
  struct GrantTerms {
    std::uint64_t unit_count_max = 0;
    Instant now = {};
    Instant expires = {};
  };

  /// Appends the next waiting units, without those that are kept from this rank.
  void grant(Holder holder, const GrantTerms& terms, FenceSource& fences,
             std::vector<Lease>& leases);

  /// A second lease of the unit that `first` is a lease of. Precondition: it has no second one.
  [[nodiscard]] Lease grant_second(Slot first, Holder holder, const GrantTerms& terms,
                                   FenceSource& fences);

  /// Precondition: `expires` does not go back from one call to the next, nor behind a grant.
  void extend(Slot slot, Instant expires);
  /// Ends every lease of the unit. How long this one was held goes into the profile.
  void accept(Slot slot, Instant now);
  void give_back(Slot slot);

  /// Appends the leases that the rank has, without their attempts.
  void list(std::uint32_t rank, std::uint32_t epoch, std::vector<Lease>& leases) const;

  struct FailTerms {
    Instant kept_until = {};  ///< The holder does not get the unit before.
    Instant ready_at = {};    ///< Nobody does.
    Instant now = {};
    bool counts = true;  ///< Against the unit.
  };
  /// Counts a failure. What is known of the unit now.
  const Trouble& fail(Slot slot, const FailTerms& terms, const Failure& failure);

  /// The unit is neither granted nor accepted any more; its leases end.
  void give_up(std::uint64_t unit);
  /// Every unit but this one is given up. Precondition: nothing was granted yet.
  void give_up_all_but(std::uint64_t unit);
  /// Whoever holds it, if anybody. For what an earlier life of the coordinator has accepted.
  void accept_unit(std::uint64_t unit);

  /// What was accepted of the unit is gone: it waits again. Precondition: it is accepted.
  void reopen(std::uint64_t unit);

  /// Takes everything from a rank that died. Appends the units it had leases for.
  void abandon(std::uint32_t rank, std::vector<std::uint64_t>& units);
  /// Takes everything from a rank that ended in good order.
  void withdraw(std::uint32_t rank);
  /// Lets units whose lease is over or whose time has come wait again, and ends what is kept from
  /// ranks. Appends the ranks that let leases run out, each as often as it did.
  void expire(Instant now, std::vector<std::uint32_t>& ranks);

  [[nodiscard]] Holder holder_of(Slot slot) const { return records_[slot].holder; }
  [[nodiscard]] Lease lease_of(Slot slot, std::uint32_t epoch) const {
    return {.unit = records_[slot].unit,
            .fence = {.epoch = epoch, .counter = records_[slot].counter}};
  }
  [[nodiscard]] std::uint64_t unit_of(Slot slot) const { return records_[slot].unit; }
  [[nodiscard]] std::uint64_t weight_of(Slot slot) const {
    return queue_.weight_at(records_[slot].position);
  }
  [[nodiscard]] std::uint64_t weight_of_unit(std::uint64_t unit) const {
    return queue_.weight_at(queue_.position_of(static_cast<std::uint32_t>(unit)));
  }
  /// Null while nothing went wrong with the unit.
  [[nodiscard]] const Trouble* trouble_of(std::uint64_t unit) const;
  [[nodiscard]] const std::map<std::uint64_t, Trouble>& troubles() const noexcept {
    return troubles_;
  }

  /// Whether the unit was granted more than once.
  [[nodiscard]] bool was_granted_again(Slot slot) const {
    return queue_.was_granted_again(records_[slot].position);
  }
  [[nodiscard]] std::uint64_t second_lease_count() const noexcept { return seconds_.size(); }

  struct Straggler {
    Slot slot = kNone;              ///< The latest of all leases that are late, for its weight.
    Instant next = Instant::max();  ///< When another may be late.
  };
  /// Among leases that another rank may help with: not of suspects, not of what has two.
  [[nodiscard]] Straggler find_straggler(std::uint32_t helper, Instant now, Duration least) const;

  /// When expire() or grant() may next have another outcome.
  [[nodiscard]] Instant next_deadline() const noexcept;

  /// Marks the record as seen in the report with this number; false when it was before.
  [[nodiscard]] bool mark_seen(Slot slot, std::uint32_t report) {
    return std::exchange(records_[slot].seen, report) != report;
  }

  /// Of everything that is kept for each unit.
  [[nodiscard]] std::size_t queue_memory_bytes() const noexcept;

  /// Only for tests that break the protocol: the rank's leases never end.
  void forget(std::uint32_t rank);

 private:
  enum class RecordState : std::uint8_t { kFree, kLive, kLapsed };

  struct Record {
    std::uint64_t counter = 0;
    Instant expires = {};
    Instant granted = {};
    std::uint32_t position = 0;
    std::uint32_t unit = 0;
    Holder holder = {};
    Slot sooner = kNone;  // Neighbours in the order of expiry.
    Slot later = kNone;
    Slot previous = kNone;  // Neighbours among the records of the rank.
    Slot next = kNone;
    std::uint32_t seen = 0;
    RecordState state = RecordState::kFree;
    bool alone = false;     // Of a suspect.
    bool has_twin = false;  // The unit has another live lease.
    bool is_timed = false;  // Is in the order of expiry.
  };
  static_assert(sizeof(Record) == 64);

  struct OfRank {
    Slot first = kNone;
    std::uint32_t live_count = 0;
    std::uint32_t alone_count = 0;
  };

  struct Due {
    Slot slot = kNone;
    std::uint64_t counter = 0;
  };

  /// Written where it belongs: to copy what was just made of small parts holds the processor up.
  void make(std::uint32_t position, Holder holder, const GrantTerms& terms, FenceSource& fences,
            Lease& lease);
  void grant_troubled(Holder holder, const GrantTerms& terms, FenceSource& fences,
                      std::vector<Lease>& leases);
  [[nodiscard]] bool kept_from(std::uint32_t rank, std::uint32_t position) const;
  [[nodiscard]] std::size_t slots_left() const noexcept;

  /// Ends a grant. Whether its unit has no live lease left.
  bool drop(Slot slot);
  void drop_all_of(std::uint32_t position);
  void start_time(Slot slot, Instant expires);
  void stop_time(Slot slot);
  void count_out(const Record& record);

  void wait(std::uint32_t position);
  void note_due(Slot slot);
  [[nodiscard]] bool is_over(const Due& due) const {
    return records_[due.slot].counter != due.counter;
  }
  /// The end of all time where the deadline is as long as that.
  [[nodiscard]] Instant due_time(const Due& due) const {
    return std::min(records_[due.slot].granted, Instant::max() - deadline_) + deadline_;
  }
  /// Where it waits, if it does.
  void stop_waiting(std::uint32_t position);
  Trouble& trouble_at(std::uint32_t position);
  void settle(std::uint32_t position);

  LeaseQueue queue_;  // Units that nothing went wrong with.
  std::vector<Record> records_;
  std::vector<Slot> free_;
  std::vector<OfRank> ranks_;
  Slot soonest_ = kNone;
  Slot latest_ = kNone;
  Duration deadline_ = {};     // Zero: none.
  std::vector<Due> due_;       // In the order of the grants, some of which are over.
  std::size_t due_begin_ = 0;  // All before are.
  DurationProfile profile_;

  std::uint64_t live_count_ = 0;
  std::uint64_t accepted_count_ = 0;
  std::uint64_t given_up_count_ = 0;
  std::uint64_t return_count_ = 0;

  // Of the few units that something went wrong with; by position but for the troubles.
  std::map<std::uint64_t, Trouble> troubles_;
  std::set<std::uint32_t> suspects_;  // That wait.
  std::set<std::uint32_t> retries_;   // That wait and are no suspects.
  std::set<std::pair<Instant, std::uint32_t>> delayed_;
  std::set<std::pair<Instant, std::uint32_t>> kept_;  // When what is kept from a rank no longer is.
  std::map<std::uint32_t, Slot> lapsed_;
  std::map<std::uint32_t, std::pair<Slot, Slot>> seconds_;
};

}  // namespace pinion::protocol
