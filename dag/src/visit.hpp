#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "lane.hpp"

namespace pinion {

/// Ready tasks from outside of the lanes of a place. While it is shut it looks empty to visits, and
/// keeps what comes until it is opened.
///
/// Thread safety: empty() from any thread; the rest under one lock, that of the run.
template <template <class> class Atom = std::atomic>
class Inbox {
 public:
  /// True: the caller must have a worker visit a lane of the place. Else whoever found it empty
  /// does so, and nobody has taken anything since.
  [[nodiscard]] bool put(std::uint32_t entry) {
    entries_.push_back(entry);
    if (is_shut_) {
      return false;
    }
    // Sequentially consistent for LaneDoor.
    return count_.fetch_add(1, std::memory_order_seq_cst) == 0;
  }

  /// Precondition: nobody uses it, and nothing is in it.
  void reset(bool is_shut) noexcept { is_shut_ = is_shut; }

  /// True: as for put().
  [[nodiscard]] bool open() noexcept {
    is_shut_ = false;
    count_.store(static_cast<std::uint32_t>(entries_.size()), std::memory_order_seq_cst);
    return !entries_.empty();
  }

  [[nodiscard]] bool empty() const noexcept { return count_.load(std::memory_order_seq_cst) == 0; }

  /// Moves all to `ready`. False: there was nothing.
  bool take(ReadyList& ready) noexcept {
    for (const std::uint32_t entry : entries_) {
      ready.push(entry);
    }
    count_.store(0, std::memory_order_seq_cst);
    const bool found = !entries_.empty();
    entries_.clear();
    return found;
  }

 private:
  Atom<std::uint32_t> count_{0};
  bool is_shut_ = false;
  std::vector<std::uint32_t> entries_;
};

/// Lets one visit at a time into a lane.
///
/// Invariant: while an inbox holds something, a visit is in a lane of its place, or between leaving
/// and looking, or was called and has not tried all the doors yet. So nothing in it is forgotten.
///
/// The proof needs one order of four steps: a sender puts, then its visit looks at the doors; a
/// visit opens its door, then looks at the inbox. All four are sequentially consistent.
///
/// Thread safety: enter() from any thread, leave() by whoever is in.
template <template <class> class Atom = std::atomic>
class LaneDoor {
 public:
  /// Precondition: nobody uses it.
  void reset() noexcept { taken_.store(0, std::memory_order_relaxed); }

  /// True: the caller is in, and sees what whoever was in before did.
  [[nodiscard]] bool enter() noexcept {
    return taken_.load(std::memory_order_seq_cst) == 0 &&
           taken_.exchange(1, std::memory_order_seq_cst) == 0;
  }

  /// False: something came into the inbox meanwhile, and the caller is in again.
  [[nodiscard]] bool leave(const Inbox<Atom>& inbox) noexcept {
    taken_.store(0, std::memory_order_seq_cst);
    return inbox.empty() || taken_.exchange(1, std::memory_order_seq_cst) != 0;
  }

 private:
  Atom<std::uint32_t> taken_{0};
};

/// What still has to do with the tasks of a run: the visits in it, and the tasks that were begun
/// and wait for somebody outside. A run whose tasks have all ended is closed by whoever ended the
/// last one. A run that was cancelled has tasks that never end, and is closed by whoever leaves it
/// empty; visits that come later find it closed and touch nothing.
///
/// Thread safety: all members from any thread.
template <template <class> class Atom = std::atomic>
class Strands {
 public:
  /// Precondition: nobody uses it.
  void reset() noexcept { count_.store(0, std::memory_order_relaxed); }

  /// False: the run is closed; the caller is not in.
  [[nodiscard]] bool enter() noexcept {
    // Pairs with close_empty() and leave(): who is in sees what those before did.
    return (count_.fetch_add(1, std::memory_order_acq_rel) & kClosed) == 0;
  }

  /// A task is held. Precondition: the caller is in, and nobody can make the task go on yet.
  void hold() noexcept { count_.fetch_add(1, std::memory_order_relaxed); }

  /// It goes on. Precondition: the caller is in.
  void go_on() noexcept { count_.fetch_sub(1, std::memory_order_relaxed); }

  /// True: the run was left empty. Only then, and after this call, the caller must look whether it
  /// was cancelled, and close it if so: one that looks before may miss what the others saw, and
  /// then nobody would close it.
  [[nodiscard]] bool leave() noexcept {
    return count_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

  /// True: the caller has closed it, and nobody is in nor will be.
  [[nodiscard]] bool close_empty() noexcept {
    std::uint32_t empty = 0;
    return count_.compare_exchange_strong(empty, kClosed, std::memory_order_acq_rel);
  }

  /// Precondition: the caller is in and ended the last task.
  void close() noexcept { count_.fetch_add(kClosed, std::memory_order_acq_rel); }

 private:
  static constexpr std::uint32_t kClosed = std::uint32_t{1} << 31;

  alignas(64) Atom<std::uint32_t> count_{0};
};

}  // namespace pinion
