#pragma once

#include <atomic>
#include <cstdint>

#include <pinion/core/assert.hpp>

namespace pinion::detail {

/// A one-shot signal with a list of those who wait for it: the lock-free core of Completion. Every
/// waiter is handed out exactly once: by signal() when its attach() came first, else by its own
/// attach() that says no.
///
/// Invariant: state_ is the newest attached waiter (or null) until signal() exchanges it for
/// kSignalled, once; after that it never changes.
///
/// Thread safety: attach() and signalled() from any thread; signal() from one thread, once.
/// Lifetime: an attached waiter lives until signal() has handed it out.
template <template <class> class Atom = std::atomic>
class SignalList {
 public:
  struct Waiter {
    Waiter* next = nullptr;
  };

  SignalList() = default;
  SignalList(const SignalList&) = delete;
  SignalList& operator=(const SignalList&) = delete;

  /// False when the signal came first: the waiter stays the caller's, who sees all that was written
  /// before signal().
  [[nodiscard]] bool attach(Waiter& waiter) noexcept {
    // Acquire pairs with the exchange in signal(), here and where the exchange below fails.
    std::uintptr_t head = state_.load(std::memory_order_acquire);
    while (head != kSignalled) {
      waiter.next = reinterpret_cast<Waiter*>(head);
      // Release pairs with the exchange in signal(), which reads the waiter. Waiters attached
      // earlier stay published: each read-modify-write continues their release sequence.
      if (state_.compare_exchange_weak(head, reinterpret_cast<std::uintptr_t>(&waiter),
                                       std::memory_order_release, std::memory_order_acquire)) {
        return true;
      }
    }
    return false;
  }

  /// Ends the wait and hands out the waiters, in the order of their attach().
  [[nodiscard]] Waiter* signal() noexcept {
    // Release pairs with the acquires of attach() and signalled(); acquire with the release of
    // attach().
    const std::uintptr_t head = state_.exchange(kSignalled, std::memory_order_acq_rel);
    PINION_ASSERT(head != kSignalled);
    Waiter* oldest = nullptr;
    for (auto* waiter = reinterpret_cast<Waiter*>(head); waiter != nullptr;) {
      Waiter* const older = waiter->next;
      waiter->next = oldest;
      oldest = waiter;
      waiter = older;
    }
    return oldest;
  }

  /// True: the caller sees all that was written before signal().
  [[nodiscard]] bool signalled() const noexcept {
    return state_.load(std::memory_order_acquire) == kSignalled;  // Pairs with signal().
  }

 private:
  // No waiter lies at an odd address.
  static constexpr std::uintptr_t kSignalled = 1;
  static_assert(alignof(Waiter) > 1);

  Atom<std::uintptr_t> state_{0};
};

}  // namespace pinion::detail
