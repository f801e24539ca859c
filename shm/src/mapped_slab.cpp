#include "mapped_slab.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "segment.hpp"
#include "slab_writer.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kSlabBytesMin = kSlabControlBytes + kSlabPageBytes;

Result<std::uint64_t> size_of(int descriptor) {
  struct stat file = {};
  if (::fstat(descriptor, &file) != 0) {
    return Status::from_errno(errno, "fstat of a slab");
  }
  const auto size_bytes = static_cast<std::uint64_t>(file.st_size);
  if (size_bytes < kSlabBytesMin) {
    return Status(ErrorCode::kDataLoss, "a slab has at least " + std::to_string(kSlabBytesMin) +
                                            " bytes; this one has " + std::to_string(size_bytes));
  }
  return size_bytes;
}

std::string name_of(const BlobHandle& handle) {
  return "blob " + std::to_string(handle.segment) + "." + std::to_string(handle.index);
}

}  // namespace

Status check_life(std::uint64_t life, const BlobHandle& handle) {
  const std::uint64_t generation = generation_of(life);
  if (generation != 0 && generation != handle.generation) {
    return Status(ErrorCode::kFailedPrecondition,
                  "the handle of " + name_of(handle) + " is of generation " +
                      std::to_string(handle.generation) + ", its descriptor is at " +
                      std::to_string(generation));
  }
  return phase_of(life) == BlobPhase::kSealed ? Status() : no_such_blob(handle);
}

Status check_slab_handle(const BlobStoreIdentity& identity, const BlobHandle& handle) {
  PINION_RETURN_IF_ERROR(check_identity(identity, handle));
  if (handle.generation == 0 || handle.generation > kGenerationMax) {
    return Status(ErrorCode::kFailedPrecondition,
                  "the handle of " + name_of(handle) + " is of generation " +
                      std::to_string(handle.generation) + ", which no blob has");
  }
  return handle.index > 0 && handle.index < kSlabDescriptorCount ? Status() : no_such_blob(handle);
}

Result<std::shared_ptr<const MappedSlab>> MappedSlab::map(const SlabGrant& grant,
                                                          const BlobStoreIdentity& identity,
                                                          std::uint32_t segment,
                                                          std::shared_ptr<ReferenceRow> row) {
  const Result<std::uint64_t> size_bytes = size_of(grant.descriptor.get());
  if (!size_bytes) {
    return size_bytes.error();
  }
  PINION_RETURN_IF_ERROR(check_sealed_against_new_writers(grant.descriptor.get(), *size_bytes));
  return map_checked(grant, *size_bytes, identity, segment, std::move(row));
}

Result<std::shared_ptr<const MappedSlab>> MappedSlab::map_own(const SlabGrant& grant,
                                                              const BlobStoreIdentity& identity,
                                                              std::uint32_t segment,
                                                              std::shared_ptr<ReferenceRow> row) {
  const Result<std::uint64_t> size_bytes = size_of(grant.descriptor.get());
  if (!size_bytes) {
    return size_bytes.error();
  }
  return map_checked(grant, *size_bytes, identity, segment, std::move(row));
}

Result<std::shared_ptr<const MappedSlab>> MappedSlab::map_checked(
    const SlabGrant& grant, std::uint64_t size_bytes, const BlobStoreIdentity& identity,
    std::uint32_t segment, std::shared_ptr<ReferenceRow> row) {
  if (grant.slot >= kSlabSlotCount) {
    return Status(ErrorCode::kDataLoss, "slot " + std::to_string(grant.slot) + " of a slab; " +
                                            std::to_string(kSlabSlotCount) + " exist");
  }
  Result<MemoryMapping> mapping =
      MemoryMapping::create_read_only(grant.descriptor.get(), static_cast<std::size_t>(size_bytes));
  if (!mapping) {
    return std::move(mapping).error();
  }
  std::shared_ptr<const MappedSlab> slab(
      new MappedSlab(*std::move(mapping), std::move(row), grant.slot));
  const SlabHeader& header = slab->header();
  if (header.magic != kSlabMagic || header.layout_version != kSlabLayoutVersion ||
      header.job != identity.job || header.epoch != identity.epoch ||
      header.host != identity.host || header.segment != segment ||
      header.size_bytes != size_bytes || header.slot != grant.slot) {
    return Status(ErrorCode::kDataLoss,
                  "the slab given for segment " + std::to_string(segment) + " says it is segment " +
                      std::to_string(header.segment) + " of job " + std::to_string(header.job) +
                      ", layout version " + std::to_string(header.layout_version));
  }
  return slab;
}

const SlabHeader& MappedSlab::header() const noexcept {
  return *reinterpret_cast<const SlabHeader*>(mapping_.bytes().data());
}

const SlabDescriptor& MappedSlab::descriptor(std::uint32_t index) const noexcept {
  PINION_ASSERT(index > 0 && index < kSlabDescriptorCount);
  return reinterpret_cast<const SlabDescriptor*>(mapping_.bytes().data() + kSlabPageBytes)[index];
}

ReferenceRow::Counter& MappedSlab::counter(std::uint32_t index) const noexcept {
  PINION_ASSERT(index > 0 && index < kSlabDescriptorCount);
  return row_->counters(slot_)[index];
}

Result<std::pair<std::span<const std::byte>, Place>> MappedSlab::take(
    const BlobHandle& handle) const {
  const SlabDescriptor& it = descriptor(handle.index);
  if (!BlobLife<>::take(counter(handle.index), it.life, handle.generation)) {
    const Status refused = check_life(it.life.load(std::memory_order_relaxed), handle);
    return refused.ok() ? no_such_blob(handle) : refused;
  }
  Result<std::pair<std::span<const std::byte>, Place>> found = look_up(handle);
  if (!found) {
    BlobLife<>::drop(counter(handle.index));
  }
  return found;
}

Result<std::pair<std::span<const std::byte>, Place>> MappedSlab::look_up(
    const BlobHandle& handle) const {
  const SlabDescriptor& it = descriptor(handle.index);
  const std::uint64_t offset = it.offset.load(std::memory_order_relaxed);
  const std::uint64_t length_bytes = it.length_bytes.load(std::memory_order_relaxed);
  const std::uint64_t home = it.home.load(std::memory_order_relaxed);
  if (length_bytes != handle.length_bytes) {
    BlobHandle known = handle;
    known.length_bytes = length_bytes;
    return check_length(handle, known);
  }
  const std::span<const std::byte> all = bytes();
  if (!can_lie_at(offset, length_bytes, all.size())) {
    return Status(ErrorCode::kDataLoss, "the descriptor of " + name_of(handle) +
                                            " points outside of its slab, to " +
                                            std::to_string(offset));
  }
  return std::pair(
      all.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(length_bytes)),
      unpacked(home));
}

SlabBlob::~SlabBlob() {
  if (BlobLife<>::drop(slab_->counter(handle_.index)) && writer_) {
    writer_->unreferenced(handle_);
  }
}

Result<std::shared_ptr<const SlabBlob>> SlabBlob::open(std::shared_ptr<const MappedSlab> slab,
                                                       const BlobHandle& handle,
                                                       std::shared_ptr<SlabWriter> writer) {
  const Result<std::pair<std::span<const std::byte>, Place>> found = slab->take(handle);
  if (!found) {
    return found.error();
  }
  return std::make_shared<const SlabBlob>(handle, found->second, found->first, std::move(slab),
                                          std::move(writer));
}

}  // namespace pinion
