#pragma once

#include <atomic>
#include <cstdint>

#include "fail_point.hpp"

namespace pinion {

/// Where a descriptor of a slab is in its life. Only the last step goes back to the first.
enum class BlobPhase : std::uint8_t { kFree, kWriting, kSealed, kRetired };

/// The word that says so, with the generation: which use of the descriptor it is, from 1.
[[nodiscard]] constexpr std::uint64_t life_of(std::uint64_t generation, BlobPhase phase) noexcept {
  return generation << 2 | static_cast<std::uint64_t>(phase);
}
[[nodiscard]] constexpr std::uint64_t generation_of(std::uint64_t life) noexcept {
  return life >> 2;
}
[[nodiscard]] constexpr BlobPhase phase_of(std::uint64_t life) noexcept {
  return static_cast<BlobPhase>(life & 3);
}

/// The largest generation that fits beside the phase.
inline constexpr std::uint64_t kGenerationMax = ~std::uint64_t{0} >> 2;

/// What is written of a blob between the processes of a host, without locks: the life of its
/// descriptor, whether the job keeps it, and how many references each process has.
///
/// Invariant: memory is used again only after its life went sealed -> retired and, after that, all
/// counters and `pinned` were seen to be zero. Whoever takes a reference sets his counter and then
/// looks at the life; whoever retires sets the life and then looks at the counters. All four are
/// sequentially consistent, so at least one of the two sees the other. docs/adr/0012 says what a
/// death at any of these stores leaves.
template <template <class> class Atom = std::atomic>
struct BlobLife {
  using Word = Atom<std::uint64_t>;
  using Counter = Atom<std::uint32_t>;  // In the row of one process, which alone writes it.

  /// Whether the blob of that generation is sealed; the caller then has a reference. Otherwise
  /// nothing has changed.
  [[nodiscard]] static bool take(Counter& counter, const Word& life,
                                 std::uint64_t generation) noexcept {
    fail_point();
    counter.fetch_add(1, std::memory_order_seq_cst);  // Pairs with the second look of retire().
    fail_point();
    // Also acquires what the writer stored before it sealed.
    if (life.load(std::memory_order_seq_cst) == life_of(generation, BlobPhase::kSealed)) {
      return true;
    }
    drop(counter);
    return false;
  }

  /// Returns whether it was the last reference of this process.
  static bool drop(Counter& counter) noexcept {
    fail_point();
    // Release pairs with the look of retire() that sees zero: our reads come before its reuse.
    const bool was_last = counter.fetch_sub(1, std::memory_order_acq_rel) == 1;
    fail_point();
    return was_last;
  }

  /// For the agent: the blob stays, whoever drops it, until unpin() or, if the job keeps it, until
  /// it is released. False when it is not sealed; then nothing has changed.
  [[nodiscard]] static bool pin(Word& pinned, const Word& life, std::uint64_t generation) noexcept {
    // Looked at first, so that a stale handle cannot take the place of a generation that is kept.
    if (life.load(std::memory_order_acquire) != life_of(generation, BlobPhase::kSealed)) {
      return false;
    }
    fail_point();
    pinned.store(generation, std::memory_order_seq_cst);  // Pairs as take() does.
    fail_point();
    if (life.load(std::memory_order_seq_cst) == life_of(generation, BlobPhase::kSealed)) {
      return true;
    }
    unpin(pinned);
    return false;
  }

  /// For the agent: ends its pin, of what the job does not keep.
  static void unpin(Word& pinned) noexcept {
    fail_point();
    // Release pairs with the look of retire() that sees zero: our reads come before its reuse.
    pinned.store(0, std::memory_order_release);
    fail_point();
  }

  /// Nobody takes a new reference from here on. By the writer and, at release, the agent.
  static void close(Word& life, std::uint64_t generation) noexcept {
    std::uint64_t expected = life_of(generation, BlobPhase::kSealed);
    fail_point();
    life.compare_exchange_strong(expected, life_of(generation, BlobPhase::kRetired),
                                 std::memory_order_seq_cst, std::memory_order_seq_cst);
    fail_point();
  }

  /// For the writer: true when nobody has the blob and nobody will, and its memory may be used
  /// again. `is_referenced` looks at all counters and at `pinned`, sequentially consistent.
  template <class IsReferenced>
  [[nodiscard]] static bool retire(Word& life, std::uint64_t generation,
                                   const IsReferenced& is_referenced) {
    // Looked at first, so that a blob in use stays one that can be opened.
    if (is_referenced()) {
      return false;
    }
    close(life, generation);
    if (is_referenced()) {
      return false;  // Somebody was quicker; the blob stays retired, and is asked about again.
    }
    fail_point();
    life.store(life_of(generation, BlobPhase::kFree), std::memory_order_release);
    fail_point();
    return true;
  }
};

}  // namespace pinion
