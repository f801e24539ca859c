#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include <pinion/core/assert.hpp>

namespace pinion {

/// The stores of a ring that another process sees, as fail points name them.
enum class RingStore : std::uint8_t { kWord, kTurn, kTaken, kPark, kUnpark, kWake };

/// What the core of a ring is made of: the atoms, the words of a message, and what is told of each
/// shared store. Tests put others in its place: atoms of a model, points at which a process dies.
struct RingMemory {
  template <class T>
  using Atom = std::atomic<T>;
  static constexpr std::size_t kWordCount = 7;
  static void before(RingStore) noexcept {}
  static void after(RingStore) noexcept {}
};

template <class Policy>
using RingAtom = typename Policy::template Atom<std::uint64_t>;

template <class Policy>
using RingWords = std::array<std::uint64_t, Policy::kWordCount>;

/// One message. Position p lies in cell p mod capacity; `turn` is p + 1 once it is there, and until
/// then what the lap before has left: p + 1 - capacity, or 0 in the first lap. Turn and words share
/// a line of the cache, so that a message crosses from one processor to the other in one transfer.
///
/// The words are atoms as well: a peer that breaks the rules may write while they are read, and
/// that must not be a data race.
template <class Policy>
struct alignas(64) RingCell {
  RingAtom<Policy> turn{0};
  std::array<RingAtom<Policy>, Policy::kWordCount> words{};
};

/// What else one end writes and the other reads, each on a line of its own: `taken` changes with
/// each message, and the peer looks at the other two after each of its own.
template <class Policy>
struct RingLines {
  alignas(64) RingAtom<Policy> taken{0};  ///< Messages of the peer that this end has taken.
  alignas(64) RingAtom<Policy> awaits_message{0};
  alignas(64) RingAtom<Policy> awaits_space{0};
};

/// What a peer wrote that it may not write.
struct RingDamage {
  RingStore store = RingStore::kTurn;
  std::uint64_t position = 0;
  std::uint64_t expected = 0;
  std::uint64_t found = 0;
};

/// The end of one direction that writes messages.
///
/// Thread safety: none; one thread at a time.
template <class Policy>
class RingProducer {
 public:
  /// `cells` are this end's own, `taken` is the peer's.
  RingProducer(std::span<RingCell<Policy>> cells, const RingAtom<Policy>& taken) noexcept
      : cells_(cells), mask_(cells.size() - 1), taken_(taken) {
    PINION_ASSERT(cells.size() >= 2 && std::has_single_bit(cells.size()));
  }

  /// Writes as many of `count` messages as fit; words_of(i) gives the words of the i-th. The peer
  /// sees all of them or none: the turn that it waits for is written last. A process that dies in
  /// here has sent nothing, or everything.
  template <class WordsOf>
  std::size_t push(std::size_t count, const WordsOf& words_of) noexcept {
    count = room(count);
    for (std::size_t i = 0; i < count; ++i) {
      write_words(cells_[(position_ + i) & mask_], words_of(i));
    }
    for (std::size_t i = count; i-- > 0;) {
      // Release pairs with the acquire in RingConsumer::pop(), which reads the words. The last one,
      // which the peer may be about to sleep for, pairs with its park() too: see RingParking.
      const auto order = i == 0 ? std::memory_order_seq_cst : std::memory_order_release;
      Policy::before(RingStore::kTurn);
      cells_[(position_ + i) & mask_].turn.store(position_ + i + 1, order);
      Policy::after(RingStore::kTurn);
    }
    position_ += count;
    return count;
  }

  /// Whether a message fits, or never will again as the peer is broken.
  [[nodiscard]] bool is_ready() noexcept {
    // Sequentially consistent for the look after park(): see RingParking.
    look_at_taken(std::memory_order_seq_cst);
    return broken_ || position_ - known_taken_ < cells_.size();
  }

  [[nodiscard]] bool is_broken() const noexcept { return broken_; }
  [[nodiscard]] const RingDamage& damage() const noexcept { return damage_; }

 private:
  void write_words(RingCell<Policy>& cell, const RingWords<Policy>& words) noexcept {
    for (std::size_t i = 0; i < Policy::kWordCount; ++i) {
      Policy::before(RingStore::kWord);
      // Published by the store of the turn.
      cell.words[i].store(words[i], std::memory_order_relaxed);
      Policy::after(RingStore::kWord);
    }
  }

  // How many of `wanted` messages fit. Looks at the peer's line only when what was seen there last
  // is not enough.
  std::size_t room(std::size_t wanted) noexcept {
    if (wanted > cells_.size() - (position_ - known_taken_)) {
      // Acquire pairs with the release in RingConsumer::pop(): the words have been read.
      look_at_taken(std::memory_order_acquire);
    }
    const std::size_t free = cells_.size() - (position_ - known_taken_);
    return broken_ ? 0 : wanted < free ? wanted : free;
  }

  void look_at_taken(std::memory_order order) noexcept {
    const std::uint64_t taken = taken_.load(order);
    if (taken < known_taken_ || taken > position_) {
      broken_ = true;
      damage_ = {RingStore::kTaken, position_, known_taken_, taken};
      return;
    }
    known_taken_ = taken;
  }

  const std::span<RingCell<Policy>> cells_;
  const std::uint64_t mask_;
  const RingAtom<Policy>& taken_;
  std::uint64_t position_ = 0;
  std::uint64_t known_taken_ = 0;
  bool broken_ = false;
  RingDamage damage_;
};

/// The end of one direction that takes messages.
///
/// Thread safety: none; one thread at a time.
template <class Policy>
class RingConsumer {
 public:
  /// `cells` are the peer's, `taken` is this end's own.
  RingConsumer(std::span<const RingCell<Policy>> cells, RingAtom<Policy>& taken) noexcept
      : cells_(cells), mask_(cells.size() - 1), taken_(taken) {
    PINION_ASSERT(cells.size() >= 2 && std::has_single_bit(cells.size()));
  }

  /// Takes the next messages, at most `count`: take(i, words) is given the words of the i-th and
  /// says whether they are a message at all. A process that dies in here leaves them all to nobody.
  template <class Take>
  std::size_t pop(std::size_t count, const Take& take) noexcept {
    std::size_t popped = 0;
    // Acquire pairs with the release in RingProducer::push().
    while (popped < count && is_there(std::memory_order_acquire)) {
      const RingCell<Policy>& cell = cells_[position_ & mask_];
      RingWords<Policy> words;
      for (std::size_t i = 0; i < Policy::kWordCount; ++i) {
        words[i] = cell.words[i].load(std::memory_order_relaxed);
      }
      if (!take(popped, words)) {
        broken_ = true;
        damage_ = {RingStore::kWord, position_, position_ + 1, position_ + 1};
        break;
      }
      ++position_;
      ++popped;
    }
    if (popped > 0) {
      Policy::before(RingStore::kTaken);
      // Releases the cells: pairs with the acquire in RingProducer::room(); and with the producer's
      // park(): see RingParking.
      taken_.store(position_, std::memory_order_seq_cst);
      Policy::after(RingStore::kTaken);
    }
    return popped;
  }

  /// Whether a message is there, or never will be again as the peer is broken.
  [[nodiscard]] bool is_ready() noexcept {
    // Sequentially consistent for the look after park(): see RingParking.
    return is_there(std::memory_order_seq_cst) || broken_;
  }

  [[nodiscard]] bool is_broken() const noexcept { return broken_; }
  [[nodiscard]] const RingDamage& damage() const noexcept { return damage_; }

 private:
  bool is_there(std::memory_order order) noexcept {
    const std::uint64_t turn = cells_[position_ & mask_].turn.load(order);
    const std::uint64_t before =
        position_ < cells_.size() ? 0 : position_ + 1 - std::uint64_t{cells_.size()};
    if (turn != position_ + 1 && turn != before && !broken_) {
      broken_ = true;
      damage_ = {RingStore::kTurn, position_, position_ + 1, turn};
    }
    return turn == position_ + 1 && !broken_;
  }

  const std::span<const RingCell<Policy>> cells_;
  const std::uint64_t mask_;
  RingAtom<Policy>& taken_;
  std::uint64_t position_ = 0;
  bool broken_ = false;
  RingDamage damage_;
};

/// How one end says that it sleeps. Its word is even while it is awake and odd while it sleeps or
/// is about to.
///
/// No wake-up is lost, by one order of four steps. The sleeper writes its word, then looks at the
/// ring once more. The other end writes a turn, or how much it has taken, then looks at that word.
/// All four are sequentially consistent: either the sleeper sees the store and stays awake, or the
/// other end sees the word and wakes it. Who dies between its store and the wake-up wakes the
/// sleeper by his death.
template <class Policy>
class RingParking {
 public:
  explicit RingParking(RingAtom<Policy>& word) noexcept : word_(word) {}

  /// Says that this end is about to sleep, then looks once more: returns what is_ready() says. Only
  /// where that is false may it sleep, once; unpark() or the next park() comes after it.
  template <class IsReady>
  bool park(const IsReady& is_ready) {
    // Said anew before each sleep: the peer wakes once for each, and the wake-up that ended the
    // last one may have been for a message that was taken before that sleep began.
    value_ += value_ % 2 == 0 ? 1 : 2;
    Policy::before(RingStore::kPark);
    word_.store(value_, std::memory_order_seq_cst);
    Policy::after(RingStore::kPark);
    return is_ready();
  }

  /// Says that this end is awake. Precondition: park() was called since the last time.
  void unpark() noexcept {
    ++value_;
    Policy::before(RingStore::kUnpark);
    word_.store(value_, std::memory_order_release);
    Policy::after(RingStore::kUnpark);
  }

  /// Sleeps, by calls of sleep(), until is_ready(), or until sleep() says by false that it is
  /// enough. Returns what is_ready() says at the end.
  template <class IsReady, class Sleep>
  bool park_until(const IsReady& is_ready, const Sleep& sleep) {
    bool goes_on = true;
    bool ready = false;
    while (!(ready = park(is_ready)) && goes_on) {
      goes_on = sleep();
    }
    unpark();
    return ready;
  }

 private:
  RingAtom<Policy>& word_;
  std::uint64_t value_ = 0;
};

/// How the other end sees it. One load after each store, while nobody sleeps.
template <class Policy>
class RingWaker {
 public:
  explicit RingWaker(const RingAtom<Policy>& word) noexcept : word_(word) {}

  /// True once for each sleep of the peer: the caller must wake it.
  [[nodiscard]] bool must_wake() noexcept {
    // Pairs with the store in RingParking::park().
    const std::uint64_t value = word_.load(std::memory_order_seq_cst);
    if (value % 2 == 0 || value == woken_) {
      return false;
    }
    woken_ = value;
    return true;
  }

 private:
  const RingAtom<Policy>& word_;
  std::uint64_t woken_ = 0;
};

}  // namespace pinion
