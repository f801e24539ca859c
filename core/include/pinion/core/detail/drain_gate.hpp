#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pinion::detail {

/// Who empties a TaskRing: counts the drainers of one place, which are called in when work comes,
/// leave when there is none, and leave at once when bulk work wants their threads.
///
/// Invariant: while no call is in progress, a ring that is not empty has all its drainers, or as
/// many as it has items, or bulk work is going on; the end of bulk work calls them back. So no task
/// waits in the ring while a worker sleeps.
///
/// The proof needs one order of four steps. A producer moves the ring's tail, then looks at state_
/// in enter(). A drainer takes itself out of state_, then looks at the ring's size in leave(). All
/// four are sequentially consistent: either the producer sees the drainer gone and calls one, or
/// the drainer sees the new tail and stays. The end of bulk work does as a drainer that leaves.
///
/// Thread safety: all members from any thread.
template <template <class> class Atom = std::atomic>
class DrainGate {
 public:
  explicit DrainGate(std::uint32_t drainer_count_max) noexcept
      : drainer_count_max_(drainer_count_max) {}
  DrainGate(const DrainGate&) = delete;
  DrainGate& operator=(const DrainGate&) = delete;

  /// True: there is one drainer more, and the caller must start it. Call it after each push.
  [[nodiscard]] bool enter() noexcept {
    // Pairs with the subtractions in leave() and end_bulk(): see the class.
    std::uint64_t state = state_.load(std::memory_order_seq_cst);
    while (drainers(state) < drainer_count_max_ && bulks(state) == 0) {
      if (state_.compare_exchange_weak(state, state + kOneDrainer, std::memory_order_seq_cst)) {
        return true;
      }
    }
    return false;
  }

  /// A drainer that found nothing wants to go. False: something came in between, go on.
  template <class Ring>
  [[nodiscard]] bool leave(const Ring& ring) noexcept {
    // Pairs with the load in enter(): see the class.
    state_.fetch_sub(kOneDrainer, std::memory_order_seq_cst);
    return ring.size() == 0 || !enter();
  }

  /// Whether bulk work wants the thread. Cheap; a drainer asks before it takes a task.
  [[nodiscard]] bool bulk_waits() const noexcept {
    // Stale for a moment is as good as asked a moment earlier; leave_to_bulk() decides.
    return bulks(state_.load(std::memory_order_relaxed)) > 0;
  }

  /// True: the drainer has left. False: the bulk work is over, go on.
  [[nodiscard]] bool leave_to_bulk() noexcept {
    std::uint64_t state = state_.load(std::memory_order_seq_cst);
    // In one step with the look at the bulk work, so that its end calls this drainer back.
    while (bulks(state) > 0) {
      if (state_.compare_exchange_weak(state, state - kOneDrainer, std::memory_order_seq_cst)) {
        return true;
      }
    }
    return false;
  }

  void begin_bulk() noexcept { state_.fetch_add(kOneBulk, std::memory_order_seq_cst); }

  /// True: it was the last one, and the caller must then call enter() once for each item in the
  /// ring.
  [[nodiscard]] bool end_bulk() noexcept {
    // Pairs with the load in enter(): see the class.
    return bulks(state_.fetch_sub(kOneBulk, std::memory_order_seq_cst)) == 1;
  }

  [[nodiscard]] std::uint32_t drainer_count() const noexcept {
    return drainers(state_.load(std::memory_order_relaxed));
  }

 private:
  static constexpr std::uint64_t kOneDrainer = 1;
  static constexpr std::uint64_t kOneBulk = std::uint64_t{1} << 32;

  static std::uint32_t drainers(std::uint64_t state) noexcept {
    return static_cast<std::uint32_t>(state);
  }
  static std::uint32_t bulks(std::uint64_t state) noexcept {
    return static_cast<std::uint32_t>(state >> 32);
  }

  const std::uint32_t drainer_count_max_;
  alignas(64) Atom<std::uint64_t> state_{0};
};

}  // namespace pinion::detail
