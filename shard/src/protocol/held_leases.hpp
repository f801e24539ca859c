#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/shard/protocol/messages.hpp>

namespace pinion::protocol {

/// The leases of one stage that a rank holds, each with the time until which it may be used, in
/// the order of their grants.
///
/// A lease is looked for by its fence, from where the last one was found: batches name leases in
/// the order of their grants. What is extended is extended by one number for all.
///
/// Invariant: in the order of grants neither fences nor times decrease.
/// Thread safety: none.
class HeldLeases {
 public:
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Leases that were granted now, to be used until `usable_until`. As nothing from before can last
  /// longer than what is granted now, a clock that has gone back makes others end no later.
  void add(const std::vector<Lease>& leases, Instant usable_until) {
    if (floor_ > usable_until || (size_ > 0 && entries_.back().usable_until > usable_until)) {
      shorten(usable_until);
    }
    for (const Lease& lease : leases) {
      if (size_ > 0 && !earlier(entries_.back().lease, lease)) {
        insert(lease, usable_until);
        continue;
      }
      entries_.push_back({.lease = lease, .usable_until = usable_until, .held = true});
      ++size_;
    }
  }

  /// All that are held may be used until `usable_until` at least.
  void extend(Instant usable_until) noexcept { floor_ = std::max(floor_, usable_until); }

  [[nodiscard]] bool holds(const Lease& lease) const { return find(lease) != kNone; }

  /// False, and then nothing is changed, unless every one is held.
  [[nodiscard]] bool remove_if_all_held(const std::vector<Lease>& leases) {
    found_.clear();
    for (const Lease& lease : leases) {
      found_.push_back(find(lease));
      if (found_.back() == kNone) {
        return false;
      }
    }
    for (const std::size_t at : found_) {
      drop(at);
    }
    close_up();
    return true;
  }

  /// Those that are held.
  void remove(const std::vector<Lease>& leases) {
    for (const Lease& lease : leases) {
      if (const std::size_t at = find(lease); at != kNone) {
        drop(at);
      }
    }
    close_up();
  }

  void clear() {
    entries_.clear();
    size_ = 0;
    compact();
  }

  /// When the first of them may no longer be used. Precondition: there is one.
  [[nodiscard]] Instant soonest() const { return std::max(entries_[begin_].usable_until, floor_); }

  /// Appends those that may no longer be used.
  void find_overdue(Instant now, std::vector<Lease>& leases) const {
    if (size_ == 0 || floor_ > now) {
      return;
    }
    for (std::size_t at = begin_; at < entries_.size() && entries_[at].usable_until <= now; ++at) {
      if (entries_[at].held) {
        leases.push_back(entries_[at].lease);
      }
    }
  }

  /// Appends all of them.
  void list(std::vector<Lease>& leases) const {
    leases.reserve(leases.size() + size_);
    for (std::size_t at = begin_; at < entries_.size(); ++at) {
      if (entries_[at].held) {
        leases.push_back(entries_[at].lease);
      }
    }
  }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  static constexpr std::size_t kSpareMax = 64;  // Entries that are not worth closing up for.
  static constexpr std::size_t kNear = 16;      // Entries that are looked at one by one.

  struct Entry {
    Lease lease = {};
    Instant usable_until = {};
    bool held = false;
  };

  [[nodiscard]] static bool earlier(const Lease& a, const Lease& b) {
    if (a.fence.epoch != b.fence.epoch) {
      return a.fence.epoch < b.fence.epoch;
    }
    return a.fence.counter != b.fence.counter ? a.fence.counter < b.fence.counter : a.unit < b.unit;
  }
  [[nodiscard]] bool is(std::size_t at, const Lease& lease) const {
    return at < entries_.size() && entries_[at].lease.unit == lease.unit &&
           entries_[at].lease.fence == lease.fence;
  }

  [[nodiscard]] std::size_t find(const Lease& lease) const {
    const std::size_t at = first_not_earlier(lease);
    if (!is(at, lease)) {
      return kNone;
    }
    next_ = at + 1;
    return entries_[at].held ? at : kNone;
  }

  [[nodiscard]] std::size_t first_not_earlier(const Lease& lease) const {
    std::size_t from = begin_;
    std::size_t to = entries_.size();
    if (next_ < to && !earlier(lease, entries_[next_].lease)) {
      // Workers take leases by turns, so the next one of a batch is behind some of the others'.
      const std::size_t near_end = std::min(to, next_ + kNear);
      for (from = next_; from < near_end; ++from) {
        if (!earlier(entries_[from].lease, lease)) {
          return from;
        }
      }
      for (std::size_t stride = kNear; from + stride < to; stride *= 2) {
        if (!earlier(entries_[from + stride - 1].lease, lease)) {
          to = from + stride;
          break;
        }
        from += stride;
      }
    }
    const auto begin = entries_.begin();
    const auto at = std::lower_bound(
        begin + static_cast<std::ptrdiff_t>(from), begin + static_cast<std::ptrdiff_t>(to), lease,
        [](const Entry& entry, const Lease& other) { return earlier(entry.lease, other); });
    return static_cast<std::size_t>(at - begin);
  }

  void drop(std::size_t at) {
    size_ -= entries_[at].held ? 1 : 0;
    entries_[at].held = false;
  }

  void close_up() {
    while (begin_ < entries_.size() && !entries_[begin_].held) {
      ++begin_;
    }
    if (size_ == 0 || entries_.size() - begin_ > 2 * size_ + kSpareMax) {
      compact();
    } else if (begin_ > size_ + kSpareMax) {
      entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(begin_));
      next_ -= std::min(next_, begin_);
      begin_ = 0;
    }
  }

  /// A grant that was overtaken, or one that came twice.
  void insert(const Lease& lease, Instant usable_until) {
    compact();
    const auto behind = std::upper_bound(
        entries_.begin(), entries_.end(), lease,
        [](const Lease& other, const Entry& entry) { return earlier(other, entry.lease); });
    if (behind != entries_.begin() &&
        is(static_cast<std::size_t>(behind - entries_.begin()) - 1, lease)) {
      return;
    }
    const Instant until =
        behind == entries_.end() ? usable_until : std::min(usable_until, behind->usable_until);
    entries_.insert(behind, {.lease = lease, .usable_until = until, .held = true});
    ++size_;
  }

  void shorten(Instant usable_until) {
    for (Entry& entry : entries_) {
      entry.usable_until = std::min(std::max(entry.usable_until, floor_), usable_until);
    }
    floor_ = std::min(floor_, usable_until);
  }

  void compact() {
    std::erase_if(entries_, [](const Entry& entry) { return !entry.held; });
    begin_ = 0;
    next_ = 0;
  }

  std::vector<Entry> entries_;  // Some are no longer held; none before `begin_` is.
  std::size_t begin_ = 0;
  std::size_t size_ = 0;
  mutable std::size_t next_ = 0;    // Behind the lease that was found last.
  std::vector<std::size_t> found_;  // Room that is used again.
  Instant floor_ = Instant::min();
};

}  // namespace pinion::protocol
