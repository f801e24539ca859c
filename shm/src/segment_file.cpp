#include "segment_file.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "fail_point.hpp"
#include "segment.hpp"
#include "spill_file.hpp"

namespace pinion {
namespace {

constexpr std::size_t kTouchBytes = std::size_t{8} << 20;  // Whole huge pages.

// The bytes of a segment that cannot be made final, in one that is.
Result<UniqueFd> copy_segment(int descriptor, const BlobHandle& handle, Place home) {
  const std::uint64_t size_bytes = segment_size_bytes(handle.length_bytes);
  const Result<MemoryMapping> from = map_sealed(descriptor, handle);
  if (!from) {
    return from.error();
  }
  Result<UniqueFd> copy = create_segment(size_bytes);
  if (!copy) {
    return copy;
  }
  PINION_RETURN_IF_ERROR(reserve_segment(copy->get(), size_bytes));
  {
    const Result<MemoryMapping> to =
        MemoryMapping::create_shared(copy->get(), static_cast<std::size_t>(size_bytes));
    if (!to) {
      return to.error();
    }
    fail_point();
    std::ranges::copy(from->bytes(), to->bytes().begin());
    fail_point();
  }
  PINION_RETURN_IF_ERROR(seal_segment(copy->get(), handle, home));
  return copy;
}

}  // namespace

Result<MemoryMapping> map_sealed(int descriptor, const BlobHandle& handle) {
  if (handle.length_bytes == 0) {
    return MemoryMapping();
  }
  return MemoryMapping::create_read_only(
      descriptor, static_cast<std::size_t>(segment_size_bytes(handle.length_bytes)));
}

Result<SegmentFile> SegmentFile::create(const SegmentFileOptions& options) {
  SegmentFile file;
  file.home_ = options.home;
  file.length_bytes_ = options.length_bytes;
  file.spilled_ = !options.spill_directory.empty();
  PINION_RETURN_IF_ERROR(file.allocate(options));
  return file;
}

Status SegmentFile::allocate(const SegmentFileOptions& options) {
  const std::uint64_t size_bytes = segment_size_bytes(length_bytes_);
  PINION_RETURN_IF_ERROR(create_file(options, size_bytes));
  if (length_bytes_ > 0) {
    Result<MemoryMapping> mapping =
        MemoryMapping::create_shared(descriptor_.get(), static_cast<std::size_t>(size_bytes));
    if (!mapping) {
      return std::move(mapping).error();
    }
    mapping_ = *std::move(mapping);
    // Reserving takes the pages, so the binding has to be known before.
    if (options.bind_memory && !spilled_) {
      PINION_RETURN_IF_ERROR(options.bind_memory(mapping_.bytes(), home_));
    }
  }
  if (spilled_) {
    return {};
  }
  if (Status reserved = reserve_segment(descriptor_.get(), size_bytes); !reserved.ok()) {
    return std::move(reserved).with_context(
        "the memory of this host for blobs is full (raise memory-bytes, or keep fewer results)");
  }
  if (reader_.valid()) {
    // A process that is forked while we have it has it as well: then nobody would know that the
    // blob is final. The mapping is not inherited.
    descriptor_ = UniqueFd();
  } else {
    touch(options.for_each_at);
  }
  return {};
}

// Small pages take longer one by one, as somebody writes them. A huge one does not, and is then in
// the cache.
void SegmentFile::touch(const ForEachAt& for_each_at) const {
  const std::size_t size_bytes = mapping_.bytes().size();
  const std::size_t piece_count = (size_bytes + kTouchBytes - 1) / kTouchBytes;
  const auto touch_piece = [&](std::size_t piece) {
    const std::size_t offset = piece * kTouchBytes;
    mapping_.prefault(offset, std::min(kTouchBytes, size_bytes - offset), true);
  };
  if (piece_count > 1 && for_each_at) {
    for_each_at(home_, piece_count, touch_piece);
    return;
  }
  for (std::size_t piece = 0; piece < piece_count; ++piece) {
    touch_piece(piece);
  }
}

Status SegmentFile::create_file(const SegmentFileOptions& options, std::uint64_t size_bytes) {
  if (options.blob_memory != nullptr && length_bytes_ > 0 && !spilled_) {
    Result<BlobFile> file = create_blob_file(*options.blob_memory, size_bytes);
    if (!file) {
      return std::move(file).error();
    }
    descriptor_ = std::move(file->writer);
    reader_ = std::move(file->reader);
    return {};
  }
  Result<UniqueFd> file = spilled_ ? create_spill_file(options.spill_directory, size_bytes)
                                   : create_segment(size_bytes);
  if (!file) {
    return std::move(file).error();
  }
  descriptor_ = *std::move(file);
  return {};
}

Result<UniqueFd> SegmentFile::finish(const BlobHandle& handle) {
  if (reader_.valid()) {
    return finish_blob_file(handle);
  }
  // The kernel refuses the write seal while a writable mapping exists.
  mapping_ = MemoryMapping();
  if (spilled_) {
    return finish_spill_file(std::move(descriptor_), handle, home_);
  }
  PINION_RETURN_IF_ERROR(seal_segment(descriptor_.get(), handle, home_));
  return std::move(descriptor_);
}

Result<UniqueFd> SegmentFile::finish_blob_file(const BlobHandle& handle) {
  const SegmentHeader header = make_segment_header(handle, home_);
  fail_point();
  std::memcpy(mapping_.bytes().data(), &header, sizeof(header));
  fail_point();
  mapping_ = MemoryMapping();
  if (check_final_file(reader_.get()).ok()) {
    return std::move(reader_);
  }
  // Some process was forked at a bad moment and can write to the file: its bytes are final in
  // another one.
  return copy_segment(reader_.get(), handle, home_);
}

}  // namespace pinion
