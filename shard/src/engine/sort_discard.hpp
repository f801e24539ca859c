#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/thread_annotations.hpp>

namespace pinion::engine {

/// A part of a batch's blob that holds records of one group of ranges.
struct SortExtent {
  std::uint32_t group = 0;
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
};

/// Gives memory of batches back while they are merged, so that a sort does not hold its records
/// twice. Ranges that follow each other are a group; batches keep the records of a group together,
/// in extents, and when the last of its ranges is merged for good, these are discarded.
///
/// Thread safety: all members may be called from any thread.
class SortDiscard {
 public:
  /// Borrows the store. Precondition: there is at least one group.
  SortDiscard(IBlobStore& store, std::uint32_t range_count, std::uint32_t group_count);

  [[nodiscard]] std::uint32_t group_count() const noexcept {
    return static_cast<std::uint32_t>(groups_.size());
  }
  [[nodiscard]] std::uint32_t group_of(std::uint32_t range) const noexcept {
    return static_cast<std::uint32_t>(std::uint64_t{range} * groups_.size() / range_count_);
  }

  void add_batch(const BlobHandle& batch, std::span<const SortExtent> extents)
      PINION_EXCLUDES(mutex_);

  /// Between these two somebody reads the records of a range.
  void reading_begins(std::uint32_t range) PINION_EXCLUDES(mutex_);
  void reading_ends(std::uint32_t range) noexcept PINION_EXCLUDES(mutex_);

  /// No reading of the range will begin any more.
  void merged(std::uint32_t range) PINION_EXCLUDES(mutex_);

 private:
  struct Part {
    BlobHandle batch;
    SortExtent extent;
  };
  struct Group {
    std::uint32_t unmerged_count = 0;
    std::uint32_t reader_count = 0;
    std::vector<Part> parts = {};
  };

  void discard_unused(Group& group) PINION_REQUIRES(mutex_);

  IBlobStore& store_;
  const std::uint32_t range_count_;
  Mutex mutex_;
  // Its size is constant.
  std::vector<Group> groups_;
};

}  // namespace pinion::engine
