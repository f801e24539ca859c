#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include <pinion/core/blob_store.hpp>
#include <pinion/core/memory_ledger.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>

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
  explicit BlobRegistry(MemoryLedger memory) noexcept : memory_(std::move(memory)) {}

  /// Errors: kResourceExhausted when the ledger has no room for it.
  Result<BlobShare> take(std::uint64_t size_bytes) PINION_EXCLUDES(mutex_);
  [[nodiscard]] BlobStoreUsage usage() const PINION_EXCLUDES(mutex_);

  /// The living blob of that segment: `blob`, or the one that was remembered before it.
  std::shared_ptr<const SealedBlob> remember(std::shared_ptr<const SealedBlob> blob)
      PINION_EXCLUDES(mutex_);
  [[nodiscard]] std::shared_ptr<const SealedBlob> find(std::uint32_t segment) const
      PINION_EXCLUDES(mutex_);

  /// For the end of a SealedBlob: removes the entry unless another blob has taken it.
  void forget(std::uint32_t segment) noexcept PINION_EXCLUDES(mutex_);

 private:
  friend class BlobShare;
  void give_back(std::uint64_t size_bytes) noexcept PINION_EXCLUDES(mutex_);

  const MemoryLedger memory_;
  mutable Mutex mutex_;
  BlobStoreUsage usage_ PINION_GUARDED_BY(mutex_);
  std::unordered_map<std::uint32_t, std::weak_ptr<const SealedBlob>> living_
      PINION_GUARDED_BY(mutex_);
};

/// The memory of one blob of a store; gives it back. Movable, not copyable.
class BlobShare {
 public:
  /// The share of a blob that another process made: nothing.
  BlobShare() noexcept = default;

  BlobShare(BlobShare&& other) noexcept = default;
  BlobShare& operator=(BlobShare&& other) noexcept {
    std::swap(registry_, other.registry_);
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~BlobShare() {
    if (registry_) {
      registry_->give_back(memory_.bytes());
    }
  }

 private:
  friend class BlobRegistry;
  BlobShare(std::shared_ptr<BlobRegistry> registry, MemoryShare memory) noexcept
      : registry_(std::move(registry)), memory_(std::move(memory)) {}

  std::shared_ptr<BlobRegistry> registry_;
  MemoryShare memory_;
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
  ~SealedBlob() { registry_->forget(handle_.segment); }

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
  BlobHandle handle_;
  Place home_;
  std::shared_ptr<BlobRegistry> registry_;
  BlobShare memory_;  // Before the mapping, so that it is given back after the pages are.
  MemoryMapping mapping_;
};

}  // namespace pinion
