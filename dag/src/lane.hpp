#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

namespace pinion {

/// Tasks are known by their position in the compiled tables, in 30 bits. The top bit of the word
/// means, in an entry of a list of ready tasks: skip it, do not run it; in a list of successors:
/// this task has no other predecessor, so nobody counts; in a counter: a predecessor did not end
/// well, so skip the task when it is ready.
inline constexpr std::uint32_t kMark = std::uint32_t{1} << 31;

/// In an entry of a list of ready tasks: the task was begun, and what it waited for has ended.
inline constexpr std::uint32_t kResumed = std::uint32_t{1} << 30;

/// Takes one from the number of predecessors that a task waits for. True: it was the last one, and
/// `entry` is the task's, marked if one of them did not end well.
///
/// `Alone`: nobody else touches counters of this run now, so a load and a store will do.
template <bool Alone, template <class> class Atom>
bool count_down(Atom<std::uint32_t>& counter, std::uint32_t position,
                std::uint32_t& entry) noexcept {
  std::uint32_t before;
  if constexpr (Alone) {
    before = counter.load(std::memory_order_relaxed);
    counter.store(before - 1, std::memory_order_relaxed);
  } else {
    // Pairs with itself: who counts the last one sees what all the predecessors did.
    before = counter.fetch_sub(1, std::memory_order_acq_rel);
  }
  if (before == 1) {
    entry = position;
    return true;
  }
  entry = position | kMark;
  return before == (kMark | 1);
}

/// As count_down(), for a predecessor that did not end well.
template <template <class> class Atom>
bool count_down_marking(Atom<std::uint32_t>& counter, std::uint32_t position,
                        std::uint32_t& entry) noexcept {
  std::uint32_t before = counter.load(std::memory_order_relaxed);
  while (!counter.compare_exchange_weak(before, (before - 1) | kMark, std::memory_order_acq_rel,
                                        std::memory_order_relaxed)) {
  }
  entry = position | kMark;
  return (before & ~kMark) == 1;
}

/// The ready tasks of one lane: the newest is taken first, the oldest are given away first.
///
/// Thread safety: none.
class ReadyList {
 public:
  [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }
  [[nodiscard]] std::uint32_t size() const noexcept { return end_ - begin_; }

  /// From the oldest on.
  [[nodiscard]] std::uint32_t at(std::uint32_t index) const noexcept {
    return entries_[begin_ + index];
  }

  void push(std::uint32_t entry) noexcept {
    if (end_ == capacity_) [[unlikely]] {
      make_room(1);
    }
    entries_[end_++] = entry;
  }

  /// Precondition: not empty.
  [[nodiscard]] std::uint32_t pop() noexcept {
    const std::uint32_t entry = entries_[--end_];
    if (begin_ == end_) {
      begin_ = end_ = 0;
    }
    return entry;
  }

  /// False: it is empty.
  bool take_oldest(std::uint32_t& entry) noexcept {
    if (empty()) {
      return false;
    }
    entry = entries_[begin_++];
    return true;
  }

  void push_all(const std::uint32_t* entries, std::uint32_t count) noexcept {
    if (capacity_ - end_ < count) {
      make_room(count);
    }
    std::memcpy(entries_.get() + end_, entries, count * sizeof(std::uint32_t));
    end_ += count;
  }

  /// Moves all of `other` here.
  void take_all(ReadyList& other) noexcept {
    if (empty()) {
      std::swap(*this, other);
    } else if (!other.empty()) {
      push_all(other.entries_.get() + other.begin_, other.size());
    }
    other.begin_ = other.end_ = 0;
  }

  void clear() noexcept { begin_ = end_ = 0; }

  /// Copies the older half, rounded up, but `count_max` at most, and drops it here.
  std::uint32_t take_older_half(std::uint32_t* entries, std::uint32_t count_max) noexcept {
    const std::uint32_t count = std::min((size() + 1) / 2, count_max);
    std::memcpy(entries, entries_.get() + begin_, count * sizeof(std::uint32_t));
    begin_ += count;
    if (begin_ == end_) {
      begin_ = end_ = 0;
    }
    return count;
  }

 private:
  // Kept out of line, as it is rare. A process without memory for a list of numbers ends here.
  [[gnu::noinline]] void make_room(std::uint32_t count) noexcept {
    const std::uint32_t held = size();
    if (begin_ >= capacity_ / 2 && held + count <= capacity_) {
      std::memmove(entries_.get(), entries_.get() + begin_, held * sizeof(std::uint32_t));
    } else {
      const std::uint32_t capacity = std::max({std::uint32_t{64}, 2 * capacity_, held + count});
      std::unique_ptr<std::uint32_t[]> entries(new std::uint32_t[capacity]);
      if (held > 0) {
        std::memcpy(entries.get(), entries_.get() + begin_, held * sizeof(std::uint32_t));
      }
      entries_ = std::move(entries);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = held;
  }

  std::unique_ptr<std::uint32_t[]> entries_;
  std::uint32_t capacity_ = 0;
  std::uint32_t begin_ = 0;
  std::uint32_t end_ = 0;
};

/// Ready tasks that one lane offers to the others, and takes back if nobody wants them.
///
/// Invariant: who makes the state kTaken, and nobody else, reads the entries, until he makes it
/// kEmpty; only the owner writes them, and only while it is kEmpty.
///
/// Thread safety: offer() by the owner alone, the rest by anyone.
template <template <class> class Atom = std::atomic>
class OfferSlot {
 public:
  static constexpr std::uint32_t kCountMax = 255;

  [[nodiscard]] bool empty() const noexcept {
    // Pairs with the last store in take(): what is written next comes after what was read there.
    return state_.load(std::memory_order_acquire) == kEmpty;
  }
  [[nodiscard]] bool full() const noexcept {
    return state_.load(std::memory_order_relaxed) == kFull;
  }

  /// Offers the older half of `ready`. Precondition: empty(), and `ready` is not.
  void offer(ReadyList& ready) noexcept {
    count_ = ready.take_older_half(entries_, kCountMax);
    // Pairs with the exchange in take(). Sequentially consistent for HelperCalls.
    state_.store(kFull, std::memory_order_seq_cst);
  }

  /// Moves what is offered to `ready`. False: there was nothing, or another was faster.
  bool take(ReadyList& ready) noexcept {
    std::uint32_t expected = kFull;
    // Sequentially consistent for HelperCalls: whoever looked for the last time saw the offer.
    if (state_.load(std::memory_order_seq_cst) != kFull ||
        !state_.compare_exchange_strong(expected, kTaken, std::memory_order_seq_cst)) {
      return false;
    }
    ready.push_all(entries_, count_);
    state_.store(kEmpty, std::memory_order_release);  // Pairs with the load in empty().
    return true;
  }

 private:
  static constexpr std::uint32_t kEmpty = 0;
  static constexpr std::uint32_t kFull = 1;
  static constexpr std::uint32_t kTaken = 2;

  alignas(64) Atom<std::uint32_t> state_{kEmpty};
  std::uint32_t count_ = 0;
  std::uint32_t entries_[kCountMax];
};

/// Decides when a lane that offers tasks must call another worker to look at the offer. Counts the
/// helpers that look, or were called and will.
///
/// Invariant: while a slot is full and its owner is not between offering and call(), the owner
/// works, or a helper looks or will look. No offer is lost without helpers, as its owner takes it
/// back; they only make it run sooner.
///
/// The proof needs one order of four steps: an owner fills its slot, then looks at the count here;
/// a helper takes itself out of the count, then looks at the slots once more. All four are
/// sequentially consistent.
///
/// Thread safety: all members from any thread.
template <template <class> class Atom = std::atomic>
class HelperCalls {
 public:
  /// After an offer. True: the caller must have a worker call enter(), which is done here for it.
  [[nodiscard]] bool call() noexcept {
    std::uint32_t looking = 0;
    // Pairs with leave().
    return looking_.load(std::memory_order_seq_cst) == 0 &&
           looking_.compare_exchange_strong(looking, 1, std::memory_order_seq_cst);
  }

  /// A lane without work begins to look at the slots.
  void enter() noexcept { looking_.fetch_add(1, std::memory_order_seq_cst); }

  /// It has found work, or gives up; who gives up must look once more after this.
  void leave() noexcept { looking_.fetch_sub(1, std::memory_order_seq_cst); }

 private:
  alignas(64) Atom<std::uint32_t> looking_{0};
};

/// The tasks of a run that have not ended.
///
/// Thread safety: all members from any thread.
template <template <class> class Atom = std::atomic>
class OpenTasks {
 public:
  /// Precondition: nobody uses it.
  void reset(std::uint64_t count) noexcept { count_.store(count, std::memory_order_relaxed); }

  /// True: these were the last ones, and the caller sees what all tasks did.
  [[nodiscard]] bool end(std::uint64_t count) noexcept {
    return count_.fetch_sub(count, std::memory_order_acq_rel) == count;
  }

  /// How many will never end. Precondition: nobody ends any more.
  [[nodiscard]] std::uint64_t drop_rest() noexcept {
    return count_.exchange(0, std::memory_order_relaxed);
  }

  [[nodiscard]] std::uint64_t count() const noexcept {
    return count_.load(std::memory_order_relaxed);
  }

 private:
  alignas(64) Atom<std::uint64_t> count_{0};
};

}  // namespace pinion
