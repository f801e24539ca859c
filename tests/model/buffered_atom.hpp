#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "explorer.hpp"

namespace pinion::model {

class BufferedAtom;

/// What processors do that plain interleavings do not show: a store waits in a buffer of its
/// thread, which alone reads it there, and comes to the memory later. A relaxed one may come before
/// others that were made earlier; a release store comes after all of those; a sequentially
/// consistent one waits until all have come, itself too. Loads are not reordered among each other.
///
/// When a store comes matters only to a thread that reads its atom. So that is when it is decided,
/// both ways. One for each program, made before its atoms.
class StoreBuffers {
 public:
  explicit StoreBuffers(std::size_t body_count) : stores_(body_count) { active() = this; }
  ~StoreBuffers() {
    if (active() == this) {  // The next program is made before this one is gone.
      active() = nullptr;
    }
  }
  StoreBuffers(const StoreBuffers&) = delete;
  StoreBuffers& operator=(const StoreBuffers&) = delete;

  /// Everything that the calling body has stored is in the memory: what a system call does.
  inline void write_all();

 private:
  friend class BufferedAtom;
  struct Store {
    BufferedAtom* atom;
    std::uint64_t value;
    std::memory_order order;
  };
  using Stores = std::vector<Store>;

  [[nodiscard]] static StoreBuffers*& active() noexcept {
    static thread_local constinit StoreBuffers* buffers = nullptr;
    return buffers;
  }

  // Null outside of the bodies: what a program prepares is in the memory at once.
  [[nodiscard]] Stores* current() noexcept {
    const Explorer* const explorer = Explorer::active();
    const bool inside = explorer != nullptr && explorer->current_body() < stores_.size();
    return inside ? &stores_[explorer->current_body()] : nullptr;
  }

  // Before a body reads `atom`: brings what others have stored there, or leaves it for later.
  inline void settle(const BufferedAtom& atom);
  static inline void write(Stores& stores, std::size_t which);

  std::vector<Stores> stores_;  // By body, the oldest first.
};

/// Stands in for std::atomic<std::uint64_t>: each operation is a point where the explorer may
/// switch, and stores go through the StoreBuffers of the program.
class BufferedAtom {
 public:
  BufferedAtom() = default;
  BufferedAtom(std::uint64_t value) : value_(value) {}
  BufferedAtom(const BufferedAtom&) = delete;
  BufferedAtom& operator=(const BufferedAtom&) = delete;

  std::uint64_t load(std::memory_order = std::memory_order_seq_cst) const noexcept {
    yield();
    std::uint64_t value = value_;
    if (const StoreBuffers::Stores* const own = StoreBuffers::active()->current()) {
      StoreBuffers::active()->settle(*this);
      value = value_;
      for (const StoreBuffers::Store& store : *own) {
        value = store.atom == this ? store.value : value;
      }
    }
    return value;
  }

  void store(std::uint64_t value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    yield();
    StoreBuffers::Stores* const own = StoreBuffers::active()->current();
    if (own == nullptr) {
      value_ = value;
      return;
    }
    own->push_back({this, value, order});
    if (order == std::memory_order_seq_cst) {
      StoreBuffers::active()->write_all();
    }
  }

 private:
  friend class StoreBuffers;
  static void yield() noexcept {
    if (Explorer* const explorer = Explorer::active()) {
      explorer->yield();
    }
  }

  std::uint64_t value_ = 0;
};

inline void StoreBuffers::write(Stores& stores, std::size_t which) {
  const Store store = stores.at(which);
  if (store.order != std::memory_order_relaxed) {
    for (; which > 0; --which) {
      write(stores, 0);
    }
  }
  stores.erase(stores.begin() + static_cast<std::ptrdiff_t>(which));
  store.atom->value_ = store.value;
}

inline void StoreBuffers::write_all() {
  Stores& own = *current();
  while (!own.empty()) {
    write(own, 0);
  }
}

inline void StoreBuffers::settle(const BufferedAtom& atom) {
  for (Stores& stores : stores_) {
    const auto is_of_atom = [&atom](const Store& store) { return store.atom == &atom; };
    const auto count =
        static_cast<std::size_t>(std::count_if(stores.begin(), stores.end(), is_of_atom));
    if (&stores == current() || count == 0) {
      continue;
    }
    for (std::size_t left = Explorer::active()->pick(count + 1); left > 0; --left) {
      const auto first = std::find_if(stores.begin(), stores.end(), is_of_atom);
      write(stores, static_cast<std::size_t>(first - stores.begin()));
    }
  }
}

}  // namespace pinion::model
