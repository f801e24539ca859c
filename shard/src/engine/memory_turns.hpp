#pragma once

#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include <pinion/core/thread_annotations.hpp>

#include "engine/shard_reader.hpp"

namespace pinion::engine {

/// Lets a worker of a step do again alone what it was refused memory for beside the others: reading
/// a shard and working on it, or merging.
///
/// Invariant: a reader that was added is used by its worker under together() or alone() only.
///
/// Thread safety: all members may be called from any thread.
class MemoryTurns {
 public:
  /// For work beside that of others.
  /// Blocks: while one is alone, or waits for that.
  [[nodiscard]] std::shared_lock<std::shared_mutex> together() PINION_EXCLUDES(gate_) {
    // Only who comes first matters, so nothing is ordered by it.
    if (waiting_count_.load(std::memory_order_relaxed) > 0) {
      const MutexLock behind(gate_);
    }
    return std::shared_lock(turns_);
  }

  /// For work alone, with the memory that readers had kept for their next shards.
  /// Blocks: until the work of those is over that hold together().
  [[nodiscard]] std::unique_lock<std::shared_mutex> alone() PINION_EXCLUDES(gate_)
      PINION_EXCLUDES(mutex_) {
    waiting_count_.fetch_add(1, std::memory_order_relaxed);
    std::unique_lock<std::shared_mutex> turn(turns_, std::defer_lock);
    {
      const MutexLock first(gate_);
      turn.lock();
    }
    waiting_count_.fetch_sub(1, std::memory_order_relaxed);
    const MutexLock lock(mutex_);
    for (ShardReader* const reader : readers_) {
      reader->drop_memory();
    }
    return turn;
  }

  /// Borrows the reader until it is removed.
  void add(ShardReader& reader) PINION_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    readers_.push_back(&reader);
  }
  void remove(ShardReader& reader) PINION_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    std::erase(readers_, &reader);
  }

 private:
  std::shared_mutex turns_;
  Mutex gate_;  // Of whoever waits to be alone; the system's lock lets others pass for ever.
  std::atomic<int> waiting_count_ = 0;
  Mutex mutex_;
  std::vector<ShardReader*> readers_ PINION_GUARDED_BY(mutex_);
};

}  // namespace pinion::engine
