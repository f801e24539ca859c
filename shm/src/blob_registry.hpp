#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include <pinion/core/blob_store.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/memory_ledger.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/shm/spill.hpp>

#include "blob_name.hpp"
#include "memory_mapping.hpp"

namespace pinion {

class SealedBlob;

class BlobShare;

/// What one store has in this process: which of its blobs live, and their share of the memory.
/// Owned by the store, its writers and its blobs together, because each may be the last.
///
/// Thread safety: all members may be called from any thread.
class BlobRegistry : public std::enable_shared_from_this<BlobRegistry> {
 public:
  BlobRegistry(MemoryLedger memory, SpillOptions spill) noexcept
      : memory_(std::move(memory)), spill_(std::move(spill)) {}

  /// Memory for a blob, or else room in a spill file.
  /// Errors: kResourceExhausted when there is neither.
  Result<BlobShare> take(std::uint64_t size_bytes) PINION_EXCLUDES(mutex_);

  /// Room in a spill file, or else `refusal`: why it cannot be memory.
  Result<BlobShare> spill(std::uint64_t size_bytes, Status refusal) PINION_EXCLUDES(mutex_);
  [[nodiscard]] const std::string& spill_directory() const noexcept { return spill_.directory; }
  [[nodiscard]] BlobStoreUsage usage() const PINION_EXCLUDES(mutex_);

  /// The living blob of that handle, whatever its length: `blob`, or the one that was remembered
  /// before it.
  std::shared_ptr<const SealedBlob> remember(std::shared_ptr<const SealedBlob> blob)
      PINION_EXCLUDES(mutex_);
  [[nodiscard]] std::shared_ptr<const SealedBlob> find(const BlobHandle& handle) const
      PINION_EXCLUDES(mutex_);

  /// Gives back memory of a blob that lies in private memory, see IBlobStore::discard().
  void discard(const SealedBlob& blob, std::uint64_t offset, std::uint64_t length_bytes)
      PINION_EXCLUDES(mutex_);

  /// For the end of a SealedBlob: removes the entry unless another blob has taken it, and tells the
  /// listener.
  void forget(const BlobHandle& handle) noexcept PINION_EXCLUDES(mutex_)
      PINION_EXCLUDES(listener_mutex_);

  /// Told of each SealedBlob that ends, from any thread. An empty one ends that; no call is under
  /// way when this returns.
  void set_listener(std::function<void(const BlobHandle&)> listener)
      PINION_EXCLUDES(listener_mutex_);

  /// Blocks: until a blob has given back its share, or until `deadline`. What was given back just
  /// before may be missed.
  void wait_for_room(Instant deadline) PINION_EXCLUDES(mutex_);

 private:
  friend class BlobShare;
  void give_back(const BlobShare& share) noexcept PINION_EXCLUDES(mutex_);

  const MemoryLedger memory_;
  const SpillOptions spill_;
  mutable Mutex mutex_;
  BlobStoreUsage usage_ PINION_GUARDED_BY(mutex_);
  std::unordered_map<BlobName, std::weak_ptr<const SealedBlob>, BlobName::Hash> living_
      PINION_GUARDED_BY(mutex_);
  std::condition_variable_any given_back_;
  Mutex listener_mutex_;
  std::function<void(const BlobHandle&)> listener_ PINION_GUARDED_BY(listener_mutex_);
};

/// The memory, or the room in a file, of one blob of a store; gives it back. Movable, not copyable.
class BlobShare {
 public:
  /// The share of a blob that another process made: nothing.
  BlobShare() noexcept = default;

  BlobShare(BlobShare&& other) noexcept = default;
  BlobShare& operator=(BlobShare&& other) noexcept {
    std::swap(registry_, other.registry_);
    std::swap(memory_, other.memory_);
    std::swap(spilled_bytes_, other.spilled_bytes_);
    return *this;
  }
  ~BlobShare() {
    if (registry_) {
      registry_->give_back(*this);
    }
  }

  /// Whether the blob goes to a file. (An empty one never does.)
  [[nodiscard]] bool spilled() const noexcept { return spilled_bytes_ > 0; }

 private:
  friend class BlobRegistry;
  BlobShare(std::shared_ptr<BlobRegistry> registry, MemoryShare memory,
            std::uint64_t spilled_bytes) noexcept
      : registry_(std::move(registry)), memory_(std::move(memory)), spilled_bytes_(spilled_bytes) {}

  std::shared_ptr<BlobRegistry> registry_;
  MemoryShare memory_;
  std::uint64_t spilled_bytes_ = 0;
};

/// A sealed blob that is mapped into this process; every Blob of it shares one.
class SealedBlob {
 public:
  /// `memory` is empty for a blob that another process made.
  SealedBlob(BlobHandle handle, Place home, MemoryMapping mapping, BlobShare memory,
             std::shared_ptr<BlobRegistry> registry) noexcept
      : handle_(handle),
        home_(home),
        registry_(std::move(registry)),
        memory_(std::move(memory)),
        mapping_(std::move(mapping)) {}
  ~SealedBlob() {
    // Before the others hear of it: they may count on the memory.
    mapping_ = MemoryMapping();
    registry_->forget(handle_);
  }

  SealedBlob(const SealedBlob&) = delete;
  SealedBlob& operator=(const SealedBlob&) = delete;

  [[nodiscard]] const BlobHandle& handle() const noexcept { return handle_; }

  /// The payload is the end of the mapping.
  static Blob share(std::shared_ptr<const SealedBlob> blob) {
    const std::span<const std::byte> payload =
        blob->mapping_.bytes().last(static_cast<std::size_t>(blob->handle_.length_bytes));
    const BlobHandle handle = blob->handle_;
    const Place home = blob->home_;
    return {handle, home, payload, std::move(blob)};
  }

 private:
  friend class BlobRegistry;

  BlobHandle handle_;
  Place home_;
  std::shared_ptr<BlobRegistry> registry_;
  // Before the mapping, so that it is given back after the pages are. Becomes smaller, under the
  // registry's lock, when a part is discarded.
  mutable BlobShare memory_;
  MemoryMapping mapping_;
};

}  // namespace pinion
