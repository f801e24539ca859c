#pragma once

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>

#include "ring_core.hpp"

namespace pinion {

/// The store of a ring at which this process ends itself.
struct Doom {
  RingStore store = RingStore::kWord;
  bool is_before = false;
  int occurrence = 0;  ///< From 1; 0: it lives until it is killed.
};
inline Doom doom;

/// The policy of production for the ends of a ring, but for that doom.
struct DoomedMemory {
  template <class T>
  using Atom = std::atomic<T>;
  static constexpr std::size_t kWordCount = RingMemory::kWordCount;
  static void before(RingStore store) noexcept { reach(store, true); }
  static void after(RingStore store) noexcept { reach(store, false); }

 private:
  static void reach(RingStore store, bool is_before) noexcept {
    if (doom.occurrence > 0 && doom.store == store && doom.is_before == is_before &&
        --doom.occurrence == 0) {
      ::kill(::getpid(), SIGKILL);
    }
  }
};

}  // namespace pinion
