#pragma once

#include <atomic>
#include <cstddef>

namespace pinion::detail {

/// How much has not ended yet: the lock-free core of what waits for the end of all of it.
///
/// Invariant: the count is one more than what was added and not dropped, until the one who waits
/// drops that one. So it cannot reach zero while he may still add, and exactly one drop() in each
/// round takes it there.
///
/// Thread safety: add() and drop() from any thread; renew() from the one who waits.
template <template <class> class Atom = std::atomic>
class DropCount {
 public:
  DropCount() = default;
  DropCount(const DropCount&) = delete;
  DropCount& operator=(const DropCount&) = delete;

  /// Precondition: the caller holds a count of its own, or is the one who will wait.
  void add(std::size_t count) noexcept { count_.fetch_add(count, std::memory_order_relaxed); }

  /// True: it was the last of the round. The caller sees what happened before each other one, and
  /// tells the one who waits; on false it touches this object no more.
  [[nodiscard]] bool drop() noexcept {
    // Pairs with itself: the release of each is acquired by the one that takes the count to zero.
    return count_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

  /// Begins the next round.
  /// Precondition: the last drop() has told.
  void renew() noexcept { count_.store(1, std::memory_order_relaxed); }

 private:
  Atom<std::size_t> count_{1};
};

}  // namespace pinion::detail
