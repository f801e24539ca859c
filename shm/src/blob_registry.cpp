#include "blob_registry.hpp"

#include <string>
#include <utility>

namespace pinion {

Result<BlobShare> BlobRegistry::take(std::uint64_t size_bytes) {
  Result<MemoryShare> memory = memory_.take(MemoryUse::kBlobs, size_bytes);
  if (!memory) {
    return spill(size_bytes, std::move(memory).error());
  }
  MutexLock lock(mutex_);
  usage_.memory_bytes += size_bytes;
  ++usage_.blob_count;
  return BlobShare(shared_from_this(), *std::move(memory), 0);
}

Result<BlobShare> BlobRegistry::spill(std::uint64_t size_bytes, Status refusal) {
  if (spill_.directory.empty()) {
    return refusal;
  }
  {
    MutexLock lock(mutex_);
    if (size_bytes > spill_.bytes_max - usage_.spilled_bytes) {
      return Status(ErrorCode::kResourceExhausted,
                    std::string(refusal.message()) +
                        "; nor may they be spilled: " + std::to_string(usage_.spilled_bytes) +
                        " of " + std::to_string(spill_.bytes_max) + " bytes are used in " +
                        spill_.directory + "; raise spill-bytes-max");
    }
    usage_.spilled_bytes += size_bytes;
    ++usage_.blob_count;
  }
  if (spill_.on_spill) {
    spill_.on_spill(size_bytes);
  }
  return BlobShare(shared_from_this(), MemoryShare(), size_bytes);
}

void BlobRegistry::give_back(const BlobShare& share) noexcept {
  {
    MutexLock lock(mutex_);
    PINION_ASSERT(usage_.memory_bytes >= share.memory_.bytes() &&
                  usage_.spilled_bytes >= share.spilled_bytes_ && usage_.blob_count > 0);
    usage_.memory_bytes -= share.memory_.bytes();
    usage_.spilled_bytes -= share.spilled_bytes_;
    --usage_.blob_count;
  }
  given_back_.notify_all();
}

BlobStoreUsage BlobRegistry::usage() const {
  MutexLock lock(mutex_);
  return usage_;
}

std::shared_ptr<const SealedBlob> BlobRegistry::remember(std::shared_ptr<const SealedBlob> blob) {
  MutexLock lock(mutex_);
  std::weak_ptr<const SealedBlob>& entry = living_[BlobName(blob->handle())];
  // Two threads may have opened the same segment: the later one takes the earlier one's blob. Its
  // own is the parameter, which ends after the lock: the end of a blob takes the lock again.
  if (std::shared_ptr<const SealedBlob> earlier = entry.lock()) {
    return earlier;
  }
  entry = blob;
  return blob;
}

std::shared_ptr<const SealedBlob> BlobRegistry::find(const BlobHandle& handle) const {
  MutexLock lock(mutex_);
  const auto found = living_.find(BlobName(handle));
  return found == living_.end() ? nullptr : found->second.lock();
}

void BlobRegistry::discard(const SealedBlob& blob, std::uint64_t offset,
                           std::uint64_t length_bytes) {
  if (blob.memory_.memory_.bytes() == 0) {
    return;  // It lies in a file.
  }
  const std::uint64_t freed_bytes = blob.mapping_.give_back(static_cast<std::size_t>(offset),
                                                            static_cast<std::size_t>(length_bytes));
  MutexLock lock(mutex_);
  MemoryShare& memory = blob.memory_.memory_;
  PINION_ASSERT(memory.bytes() >= freed_bytes);
  usage_.memory_bytes -= freed_bytes;
  PINION_ASSERT(memory.resize(memory.bytes() - freed_bytes).ok());
}

void BlobRegistry::forget(const BlobHandle& handle) noexcept {
  {
    MutexLock lock(mutex_);
    const auto found = living_.find(BlobName(handle));
    if (found != living_.end() && found->second.expired()) {
      living_.erase(found);
    }
  }
  MutexLock lock(listener_mutex_);
  if (listener_) {
    listener_(handle);
  }
}

void BlobRegistry::set_listener(std::function<void(const BlobHandle&)> listener) {
  MutexLock lock(listener_mutex_);
  listener_ = std::move(listener);
}

void BlobRegistry::wait_for_room(Instant deadline) {
  MutexLock lock(mutex_);
  given_back_.wait_until(mutex_, deadline);
}

}  // namespace pinion
