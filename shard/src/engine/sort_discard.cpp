#include "engine/sort_discard.hpp"

#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion::engine {

SortDiscard::SortDiscard(IBlobStore& store, std::uint32_t range_count, std::uint32_t group_count)
    : store_(store), range_count_(range_count), groups_(group_count) {
  PINION_ASSERT(group_count > 0);
  for (std::uint32_t range = 0; range < range_count; ++range) {
    ++groups_[group_of(range)].unmerged_count;
  }
}

void SortDiscard::add_batch(const BlobHandle& batch, std::span<const SortExtent> extents) {
  MutexLock lock(mutex_);
  for (const SortExtent& extent : extents) {
    groups_[extent.group].parts.push_back({batch, extent});
  }
}

void SortDiscard::reading_begins(std::uint32_t range) {
  MutexLock lock(mutex_);
  ++groups_[group_of(range)].reader_count;
}

void SortDiscard::reading_ends(std::uint32_t range) noexcept {
  MutexLock lock(mutex_);
  Group& group = groups_[group_of(range)];
  PINION_ASSERT(group.reader_count > 0);
  --group.reader_count;
  discard_unused(group);
}

void SortDiscard::merged(std::uint32_t range) {
  MutexLock lock(mutex_);
  Group& group = groups_[group_of(range)];
  PINION_ASSERT(group.unmerged_count > 0);
  --group.unmerged_count;
  discard_unused(group);
}

// A worker whose lease ran out may still read what another one has merged.
void SortDiscard::discard_unused(Group& group) {
  if (group.unmerged_count > 0 || group.reader_count > 0) {
    return;
  }
  for (const auto& [batch, extent] : std::exchange(group.parts, {})) {
    store_.discard(batch, extent.offset, extent.length_bytes);
  }
}

}  // namespace pinion::engine
