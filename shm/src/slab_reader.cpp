#include "slab_reader.hpp"

#include <utility>
#include <vector>

namespace pinion {

Result<std::shared_ptr<const SlabBlob>> SlabReader::open(const BlobHandle& handle) {
  Result<std::shared_ptr<const MappedSlab>> slab = slab_of(handle);
  if (!slab) {
    return std::move(slab).error();
  }
  return SlabBlob::open(*std::move(slab), handle);
}

Result<std::shared_ptr<const MappedSlab>> SlabReader::slab_of(const BlobHandle& handle) {
  {
    MutexLock lock(mutex_);
    if (const auto known = slabs_.find(handle.segment); known != slabs_.end()) {
      return known->second;
    }
  }
  const Result<SlabGrant> grant = exchange_.fetch(handle);
  if (!grant) {
    return grant.error();
  }
  Result<std::shared_ptr<const MappedSlab>> mapped =
      MappedSlab::map(*grant, identity_, handle.segment, row_);
  if (!mapped) {
    return mapped;
  }
  // Outlives the lock: unmapping may take long.
  std::vector<std::shared_ptr<const MappedSlab>> dropped;
  MutexLock lock(mutex_);
  std::erase_if(slabs_, [&](auto& entry) {
    const bool closed = entry.second->closed();
    if (closed) {
      dropped.push_back(std::move(entry.second));
    }
    return closed;
  });
  // Two threads may have fetched the same one: the first stays.
  return slabs_.try_emplace(handle.segment, *std::move(mapped)).first->second;
}

}  // namespace pinion
