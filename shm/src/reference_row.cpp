#include "reference_row.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "fail_point.hpp"
#include "segment.hpp"

namespace pinion {
namespace {

constexpr int kFixedSize = F_SEAL_SHRINK | F_SEAL_GROW;
constexpr int kNoNewWriters = F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;

}  // namespace

Result<UniqueFd> create_fixed_file(std::uint64_t size_bytes, const char* label) {
  Result<UniqueFd> file = create_segment(size_bytes, label);
  if (file && ::fcntl(file->get(), F_ADD_SEALS, kFixedSize) != 0) {
    return Status::from_errno(errno, "sealing the size of shared memory");
  }
  return file;
}

Status seal_against_new_writers(int descriptor) {
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  if (seals >= 0 && (seals & kNoNewWriters) == kNoNewWriters) {
    return {};
  }
  if (::fcntl(descriptor, F_ADD_SEALS, kNoNewWriters) != 0) {
    return Status::from_errno(errno, "sealing shared memory against new writers");
  }
  return {};
}

Status check_sealed_against_new_writers(int descriptor, std::uint64_t size_bytes) {
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  constexpr int kAll = kFixedSize | kNoNewWriters;
  if (seals < 0 || (seals & kAll) != kAll) {
    return Status(ErrorCode::kFailedPrecondition,
                  "shared memory has seals " + std::to_string(seals) + " of " +
                      std::to_string(kAll) + "; only what nobody more can get to write is read");
  }
  struct stat file = {};
  if (::fstat(descriptor, &file) != 0) {
    return Status::from_errno(errno, "fstat of shared memory");
  }
  if (static_cast<std::uint64_t>(file.st_size) != size_bytes) {
    return Status(ErrorCode::kFailedPrecondition, "shared memory has " +
                                                      std::to_string(file.st_size) +
                                                      " bytes, not " + std::to_string(size_bytes));
  }
  return {};
}

Result<UniqueFd> ReferenceRow::create_file(const RowHeader& header) {
  Result<UniqueFd> file = create_fixed_file(kRowBytes, "pinion-row");
  if (!file) {
    return file;
  }
  PINION_RETURN_IF_ERROR(reserve_segment(file->get(), kSlabPageBytes));
  fail_point();
  const ssize_t written = ::pwrite(file->get(), &header, sizeof(header), 0);
  fail_point();
  if (written != static_cast<ssize_t>(sizeof(header))) {
    return Status::from_errno(written < 0 ? errno : EIO, "writing the header of a row");
  }
  return file;
}

Result<std::shared_ptr<ReferenceRow>> ReferenceRow::map_to_write(int descriptor) {
  Result<MemoryMapping> mapping = MemoryMapping::create_shared(descriptor, kRowBytes);
  if (!mapping) {
    return std::move(mapping).error();
  }
  return std::shared_ptr<ReferenceRow>(new ReferenceRow(*std::move(mapping)));
}

Result<std::shared_ptr<ReferenceRow>> ReferenceRow::map_to_read(int descriptor) {
  PINION_RETURN_IF_ERROR(check_sealed_against_new_writers(descriptor, kRowBytes));
  Result<MemoryMapping> mapping = MemoryMapping::create_read_only(descriptor, kRowBytes);
  if (!mapping) {
    return std::move(mapping).error();
  }
  return std::shared_ptr<ReferenceRow>(new ReferenceRow(*std::move(mapping)));
}

ReferenceRow::Counter* ReferenceRow::counters(std::uint32_t slot) const noexcept {
  PINION_ASSERT(slot < kSlabSlotCount);
  return reinterpret_cast<Counter*>(mapping_.bytes().data() + row_offset(slot));
}

}  // namespace pinion
