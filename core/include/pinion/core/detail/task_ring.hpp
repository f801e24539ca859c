#pragma once

#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion::detail {

/// A bounded first-in-first-out queue for any number of producers and consumers, without locks and
/// without allocation after construction. The algorithm is Dmitry Vyukov's bounded MPMC queue
/// (1024cores.net).
///
/// Invariant: positions only grow, and a position p belongs to cell p mod capacity. The number in a
/// cell says whose turn it is: p, the producer of position p; p + 1, its consumer; then p +
/// capacity, the producer of the next lap. Who takes a position by moving tail_ or head_ over it,
/// and only he, touches the item.
///
/// Thread safety: all members from any thread. A producer or consumer that the system stops between
/// taking its position and passing the cell on holds up whoever meets that cell: try_push() and
/// try_pop() then answer as if the ring were full or empty, and never wait.
/// Lifetime: destroys the items that nobody took.
template <class T, template <class> class Atom = std::atomic>
class TaskRing {
 public:
  static_assert(std::is_nothrow_move_constructible_v<T>);

  /// Precondition: capacity is a power of two and at least 2.
  explicit TaskRing(std::size_t capacity)
      : mask_(capacity - 1), cells_(std::make_unique<Cell[]>(capacity)) {
    PINION_ASSERT(capacity >= 2 && std::has_single_bit(capacity));
    for (std::size_t i = 0; i < capacity; ++i) {
      cells_[i].turn.store(i, std::memory_order_relaxed);
    }
  }
  ~TaskRing() {
    while (try_pop()) {
    }
  }
  TaskRing(const TaskRing&) = delete;
  TaskRing& operator=(const TaskRing&) = delete;

  [[nodiscard]] std::size_t capacity() const noexcept { return mask_ + 1; }

  /// False when the ring is full: `item` is untouched.
  [[nodiscard]] bool try_push(T&& item) noexcept {
    return try_push_made([&item](T* at) noexcept { std::construct_at(at, std::move(item)); });
  }

  /// The same for an item that `make` constructs where it is told, in the cell. It is not called
  /// when the ring is full.
  template <std::invocable<T*> Make>
  [[nodiscard]] bool try_push_made(const Make& make) noexcept {
    static_assert(std::is_nothrow_invocable_v<const Make&, T*>);  // The position is taken already.
    std::uint64_t position = tail_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[position & mask_];
      // Acquire pairs with the release in try_pop(): the item of the last lap is gone.
      const std::uint64_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == position) {
        // Sequentially consistent for size(): see DrainGate. The item is published below.
        if (tail_.compare_exchange_weak(position, position + 1, std::memory_order_seq_cst,
                                        std::memory_order_relaxed)) {
          make(cell.item());
          // Release pairs with the acquire in try_pop(), which reads the item.
          cell.turn.store(position + 1, std::memory_order_release);
          return true;
        }
      } else if (turn < position) {
        return false;
      } else {
        position = tail_.load(std::memory_order_relaxed);
      }
    }
  }

  /// The oldest item, or nothing when there is none. The item is out of its cell when this returns,
  /// so a task may run for as long as it likes.
  [[nodiscard]] std::optional<T> try_pop() noexcept {
    std::uint64_t position = head_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[position & mask_];
      // Acquire pairs with the release in try_push().
      const std::uint64_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == position + 1) {
        if (head_.compare_exchange_weak(position, position + 1, std::memory_order_seq_cst,
                                        std::memory_order_relaxed)) {
          std::optional<T> item(std::move(*cell.item()));
          std::destroy_at(cell.item());
          // Release pairs with the acquire in try_push() one lap later, which reuses the cell.
          cell.turn.store(position + capacity(), std::memory_order_release);
          return item;
        }
      } else if (turn <= position) {
        return std::nullopt;
      } else {
        position = head_.load(std::memory_order_relaxed);
      }
    }
  }

  /// How many positions producers have taken and consumers have not. A snapshot; exact about one
  /// thing: a push that came before this call in the order of sequentially consistent operations,
  /// and that nobody has taken, is counted, published or not.
  [[nodiscard]] std::size_t size() const noexcept {
    // The head first: it never passes the tail, so the difference is never negative.
    const std::uint64_t head = head_.load(std::memory_order_seq_cst);
    return tail_.load(std::memory_order_seq_cst) - head;
  }

 private:
  // Not std::hardware_destructive_interference_size, which changes with the compiler's flags.
  static constexpr std::size_t kCacheLine = 64;

  struct alignas(kCacheLine) Cell {
    T* item() noexcept { return reinterpret_cast<T*>(storage); }

    Atom<std::uint64_t> turn{0};
    alignas(T) std::byte storage[sizeof(T)];
  };

  const std::uint64_t mask_;
  const std::unique_ptr<Cell[]> cells_;
  alignas(kCacheLine) Atom<std::uint64_t> tail_{0};
  alignas(kCacheLine) Atom<std::uint64_t> head_{0};
};

}  // namespace pinion::detail
