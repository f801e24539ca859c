#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include <pinion/core/blob_store.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>

#include "memory_mapping.hpp"

namespace pinion {

class SealedBlob;

/// What one store has in this process: how much of its budget is in use and which sealed blobs
/// live. Owned by the store, its writers and its blobs together, because each may be the last.
///
/// Thread safety: all members may be called from any thread.
class BlobLedger {
 public:
  explicit BlobLedger(std::uint64_t budget_bytes) noexcept : budget_bytes_(budget_bytes) {}

  /// Errors: kResourceExhausted when the budget has no room for it.
  Status charge(std::uint64_t size_bytes) PINION_EXCLUDES(mutex_);
  void discharge(std::uint64_t size_bytes) noexcept PINION_EXCLUDES(mutex_);
  [[nodiscard]] BlobStoreUsage usage() const PINION_EXCLUDES(mutex_);

  /// The living blob of that segment: `blob`, or the one that was remembered before it.
  std::shared_ptr<const SealedBlob> remember(std::shared_ptr<const SealedBlob> blob)
      PINION_EXCLUDES(mutex_);
  [[nodiscard]] std::shared_ptr<const SealedBlob> find(std::uint32_t segment) const
      PINION_EXCLUDES(mutex_);

  /// For the end of a SealedBlob: removes the entry unless another blob has taken it.
  void forget(std::uint32_t segment) noexcept PINION_EXCLUDES(mutex_);

 private:
  const std::uint64_t budget_bytes_;
  mutable Mutex mutex_;
  BlobStoreUsage usage_ PINION_GUARDED_BY(mutex_);
  std::unordered_map<std::uint32_t, std::weak_ptr<const SealedBlob>> living_
      PINION_GUARDED_BY(mutex_);
};

/// A share of a ledger's budget; gives it back. Movable, not copyable.
class BudgetCharge {
 public:
  /// A charge of nothing.
  BudgetCharge() noexcept = default;

  static Result<BudgetCharge> take(std::shared_ptr<BlobLedger> ledger, std::uint64_t size_bytes);

  BudgetCharge(BudgetCharge&& other) noexcept = default;
  BudgetCharge& operator=(BudgetCharge&& other) noexcept {
    std::swap(ledger_, other.ledger_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }
  ~BudgetCharge() {
    if (ledger_) {
      ledger_->discharge(size_bytes_);
    }
  }

 private:
  std::shared_ptr<BlobLedger> ledger_;
  std::uint64_t size_bytes_ = 0;
};

/// A sealed blob that is mapped into this process; every Blob of it shares one.
class SealedBlob {
 public:
  /// `charge` is empty for a blob that another process made.
  SealedBlob(BlobHandle handle, Place home, MemoryMapping mapping, BudgetCharge charge,
             std::shared_ptr<BlobLedger> ledger) noexcept
      : handle_(handle),
        home_(home),
        mapping_(std::move(mapping)),
        charge_(std::move(charge)),
        ledger_(std::move(ledger)) {}
  ~SealedBlob() { ledger_->forget(handle_.segment); }

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
  MemoryMapping mapping_;
  BudgetCharge charge_;
  std::shared_ptr<BlobLedger> ledger_;
};

}  // namespace pinion
