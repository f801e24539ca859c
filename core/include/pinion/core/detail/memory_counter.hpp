#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include <pinion/core/assert.hpp>

namespace pinion::detail {

/// An amount of memory with a limit, and the most that it was: the lock-free core of MemoryLedger.
///
/// Invariant: the amount never exceeds the limit, not for a moment, if all callers give the same
/// one. All operations are relaxed: the numbers guard no memory; whoever passes pages on
/// synchronizes by that.
///
/// Thread safety: all members from any thread.
template <template <class> class Atom = std::atomic>
class MemoryCounter {
 public:
  MemoryCounter() = default;
  MemoryCounter(const MemoryCounter&) = delete;
  MemoryCounter& operator=(const MemoryCounter&) = delete;

  /// The amount with `bytes` more. Nothing: there is no room for so many, and nothing has changed.
  [[nodiscard]] std::optional<std::uint64_t> try_add(std::uint64_t bytes,
                                                     std::uint64_t limit) noexcept {
    std::uint64_t used = used_.load(std::memory_order_relaxed);
    do {
      if (used > limit || bytes > limit - used) {
        return std::nullopt;
      }
    } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    return used + bytes;
  }

  /// For an amount that try_add() has answered; a look at what is used by now could be too late.
  /// Not part of it: a request that another counter refuses must leave no peak of its own.
  void raise_peak(std::uint64_t used) noexcept {
    std::uint64_t peak = peak_.load(std::memory_order_relaxed);
    while (peak < used && !peak_.compare_exchange_weak(peak, used, std::memory_order_relaxed)) {
    }
  }

  /// Precondition: so many were added and not subtracted.
  void subtract(std::uint64_t bytes) noexcept {
    const std::uint64_t before = used_.fetch_sub(bytes, std::memory_order_relaxed);
    PINION_ASSERT(before >= bytes);
  }

  [[nodiscard]] std::uint64_t used_bytes() const noexcept {
    return used_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t peak_bytes() const noexcept {
    return peak_.load(std::memory_order_relaxed);
  }

 private:
  Atom<std::uint64_t> used_{0};
  Atom<std::uint64_t> peak_{0};
};

}  // namespace pinion::detail
