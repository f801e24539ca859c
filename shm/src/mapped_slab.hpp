#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include <pinion/core/blob.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/shared_blob_store.hpp>

#include "blob_registry.hpp"
#include "memory_mapping.hpp"
#include "reference_row.hpp"
#include "slab_layout.hpp"

namespace pinion {

class SlabWriter;

/// A slab that is mapped read-only into this process, and this process's counters for it. What lies
/// in it may be written by another process at any moment: each word is read once, then checked.
///
/// Thread safety: all members may be called from any thread.
class MappedSlab {
 public:
  /// Errors: kFailedPrecondition when somebody more can get to write it; kDataLoss when its header
  ///   is that of another slab.
  static Result<std::shared_ptr<const MappedSlab>> map(const SlabGrant& grant,
                                                       const BlobStoreIdentity& identity,
                                                       std::uint32_t segment,
                                                       std::shared_ptr<ReferenceRow> row);

  /// The same for the one that will write it, before it is sealed against more writers.
  static Result<std::shared_ptr<const MappedSlab>> map_own(const SlabGrant& grant,
                                                           const BlobStoreIdentity& identity,
                                                           std::uint32_t segment,
                                                           std::shared_ptr<ReferenceRow> row);

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return mapping_.bytes(); }
  [[nodiscard]] const SlabHeader& header() const noexcept;

  /// Precondition: 0 < index < kSlabDescriptorCount.
  [[nodiscard]] const SlabDescriptor& descriptor(std::uint32_t index) const noexcept;
  [[nodiscard]] ReferenceRow::Counter& counter(std::uint32_t index) const noexcept;

  [[nodiscard]] std::uint32_t slot() const noexcept { return slot_; }

  /// Whether the agent has let go of it.
  [[nodiscard]] bool closed() const noexcept {
    return header().closed.load(std::memory_order_acquire) != 0;
  }

  /// Takes a reference to the blob that the handle names, and says where it lies and its home.
  /// Errors: those of check_life(); kInvalidArgument when the length differs, kDataLoss when the
  ///   descriptor points outside of the slab.
  [[nodiscard]] Result<std::pair<std::span<const std::byte>, Place>> take(
      const BlobHandle& handle) const;

 private:
  MappedSlab(MemoryMapping mapping, std::shared_ptr<ReferenceRow> row, std::uint32_t slot) noexcept
      : mapping_(std::move(mapping)), row_(std::move(row)), slot_(slot) {}

  static Result<std::shared_ptr<const MappedSlab>> map_checked(const SlabGrant& grant,
                                                               std::uint64_t size_bytes,
                                                               const BlobStoreIdentity& identity,
                                                               std::uint32_t segment,
                                                               std::shared_ptr<ReferenceRow> row);
  [[nodiscard]] Result<std::pair<std::span<const std::byte>, Place>> look_up(
      const BlobHandle& handle) const;

  MemoryMapping mapping_;
  std::shared_ptr<ReferenceRow> row_;
  std::uint32_t slot_;
};

/// A reference of this process to a blob in a slab; every Blob that came from one open() shares it.
class SlabBlob {
 public:
  /// Takes over one reference. `writer` is set, and `share` may be, where this process made it.
  SlabBlob(BlobHandle handle, Place home, std::span<const std::byte> bytes,
           std::shared_ptr<const MappedSlab> slab, std::shared_ptr<SlabWriter> writer = {},
           BlobShare share = {}) noexcept
      : handle_(handle),
        home_(home),
        bytes_(bytes),
        share_(std::move(share)),
        slab_(std::move(slab)),
        writer_(std::move(writer)) {}
  ~SlabBlob();

  SlabBlob(const SlabBlob&) = delete;
  SlabBlob& operator=(const SlabBlob&) = delete;

  /// A new reference, by handle.
  static Result<std::shared_ptr<const SlabBlob>> open(std::shared_ptr<const MappedSlab> slab,
                                                      const BlobHandle& handle,
                                                      std::shared_ptr<SlabWriter> writer = {});

  [[nodiscard]] const BlobHandle& handle() const noexcept { return handle_; }

  static Blob share(std::shared_ptr<const SlabBlob> blob) {
    const SlabBlob& it = *blob;
    return {it.handle_, it.home_, it.bytes_, std::move(blob)};
  }

 private:
  BlobHandle handle_;
  Place home_;
  std::span<const std::byte> bytes_;
  BlobShare share_;
  std::shared_ptr<const MappedSlab> slab_;
  std::shared_ptr<SlabWriter> writer_;
};

}  // namespace pinion
