#pragma once

#include <cstdint>
#include <memory>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "memory_mapping.hpp"
#include "slab_layout.hpp"

namespace pinion {

/// The references that one process has, mapped: a counter for each descriptor of each slab.
class ReferenceRow {
 public:
  using Counter = BlobLife<>::Counter;

  /// The file of a row, sized, with its header; only the first page is reserved.
  static Result<UniqueFd> create_file(const RowHeader& header);

  /// For its process and its agent.
  static Result<std::shared_ptr<ReferenceRow>> map_to_write(int descriptor);

  /// For writers of slabs.
  /// Errors: kFailedPrecondition when more processes can still get to write it.
  static Result<std::shared_ptr<ReferenceRow>> map_to_read(int descriptor);

  /// The counters of the slab in that slot. Precondition: slot < kSlabSlotCount.
  [[nodiscard]] Counter* counters(std::uint32_t slot) const noexcept;

 private:
  explicit ReferenceRow(MemoryMapping mapping) noexcept : mapping_(std::move(mapping)) {}

  MemoryMapping mapping_;
};

/// Where the counters of a slot begin in a row.
[[nodiscard]] constexpr std::uint64_t row_offset(std::uint32_t slot) noexcept {
  return kSlabPageBytes + slot * kRowSlabBytes;
}

/// A nameless file that keeps its size.
Result<UniqueFd> create_fixed_file(std::uint64_t size_bytes, const char* label);

/// From here on nobody gets to write the file but by the mappings that exist.
Status seal_against_new_writers(int descriptor);

/// Errors: kFailedPrecondition when it has another size, or may change it, or somebody may yet get
/// to write it.
Status check_sealed_against_new_writers(int descriptor, std::uint64_t size_bytes);

}  // namespace pinion
