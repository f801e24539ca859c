#include "blob_ledger.hpp"

#include <string>

namespace pinion {

Status BlobLedger::charge(std::uint64_t size_bytes) {
  MutexLock lock(mutex_);
  if (size_bytes > budget_bytes_ - usage_.memory_bytes) {
    return Status(ErrorCode::kResourceExhausted,
                  "a blob of " + std::to_string(size_bytes) + " bytes does not fit: " +
                      std::to_string(usage_.memory_bytes) + " of " + std::to_string(budget_bytes_) +
                      " budgeted bytes are in use by " + std::to_string(usage_.blob_count) +
                      " blobs; drop blobs or raise the memory budget");
  }
  usage_.memory_bytes += size_bytes;
  ++usage_.blob_count;
  return {};
}

void BlobLedger::discharge(std::uint64_t size_bytes) noexcept {
  MutexLock lock(mutex_);
  PINION_ASSERT(usage_.memory_bytes >= size_bytes && usage_.blob_count > 0);
  usage_.memory_bytes -= size_bytes;
  --usage_.blob_count;
}

BlobStoreUsage BlobLedger::usage() const {
  MutexLock lock(mutex_);
  return usage_;
}

std::shared_ptr<const SealedBlob> BlobLedger::remember(std::shared_ptr<const SealedBlob> blob) {
  MutexLock lock(mutex_);
  std::weak_ptr<const SealedBlob>& entry = living_[blob->handle().segment];
  // Two threads may have opened the same segment: the later one takes the earlier one's blob. Its
  // own is the parameter, which ends after the lock: the end of a blob takes the lock again.
  if (std::shared_ptr<const SealedBlob> earlier = entry.lock()) {
    return earlier;
  }
  entry = blob;
  return blob;
}

std::shared_ptr<const SealedBlob> BlobLedger::find(std::uint32_t segment) const {
  MutexLock lock(mutex_);
  const auto found = living_.find(segment);
  return found == living_.end() ? nullptr : found->second.lock();
}

void BlobLedger::forget(std::uint32_t segment) noexcept {
  MutexLock lock(mutex_);
  const auto found = living_.find(segment);
  if (found != living_.end() && found->second.expired()) {
    living_.erase(found);
  }
}

Result<BudgetCharge> BudgetCharge::take(std::shared_ptr<BlobLedger> ledger,
                                        std::uint64_t size_bytes) {
  PINION_RETURN_IF_ERROR(ledger->charge(size_bytes));
  BudgetCharge charge;
  charge.ledger_ = std::move(ledger);
  charge.size_bytes_ = size_bytes;
  return charge;
}

}  // namespace pinion
