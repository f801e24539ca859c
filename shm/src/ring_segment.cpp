#include "ring_segment.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "fail_point.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kMagic = 0x474e4952494e4950;  // "PINIRING" in a dump of memory.
constexpr std::uint32_t kLayoutVersion = 1;

// Its size stays as it is: a peer that cuts its segment off would end this process with SIGBUS.
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// MFD_NOEXEC_SEAL of Linux 6.3, which older system headers do not have.
constexpr unsigned kNoExecSeal = 0x0008U;

RingHeader make_header(const RingAddress& address) noexcept {
  return {.magic = kMagic,
          .layout_version = kLayoutVersion,
          .side = address.side,
          .job = address.job,
          .number = address.number,
          .capacity = address.capacity,
          .cell_bytes = sizeof(RingCellOf)};
}

std::string name_of(const RingAddress& address) {
  return "ring " + std::to_string(address.number) + " of job " + std::to_string(address.job);
}

Status check_size(int descriptor, const RingAddress& address) {
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return Status(ErrorCode::kFailedPrecondition,
                  "the size of a segment of " + name_of(address) +
                      " can still be changed: it must be a memfd with its seals set");
  }
  struct stat file = {};
  if (::fstat(descriptor, &file) != 0) {
    return Status::from_errno(errno, "fstat of a segment of a ring");
  }
  const std::size_t expected_bytes = ring_segment_bytes(address.capacity);
  if (static_cast<std::size_t>(file.st_size) != expected_bytes) {
    return Status(ErrorCode::kDataLoss, "a segment of " + name_of(address) + " has " +
                                            std::to_string(file.st_size) + " bytes; " +
                                            std::to_string(address.capacity) + " messages take " +
                                            std::to_string(expected_bytes));
  }
  return {};
}

}  // namespace

Status check_ring_address(const RingAddress& address) {
  if (address.capacity < 2 || address.capacity > kRingCapacityMax ||
      !std::has_single_bit(address.capacity)) {
    return Status(ErrorCode::kInvalidArgument,
                  "a ring of " + std::to_string(address.capacity) +
                      " messages; it must be a power of two from 2 to " +
                      std::to_string(kRingCapacityMax));
  }
  if (address.side > 1) {
    return Status(ErrorCode::kInvalidArgument,
                  "side " + std::to_string(address.side) + " of a ring; it must be 0 or 1");
  }
  return {};
}

Result<UniqueFd> make_ring_segment(const RingAddress& address) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int descriptor = ::memfd_create("pinion-ring", kFlags | kNoExecSeal);
  if (descriptor < 0 && errno == EINVAL) {
    descriptor = ::memfd_create("pinion-ring", kFlags);
  }
  UniqueFd segment(descriptor);
  if (!segment.valid()) {
    return Status::from_errno(errno, "memfd_create for a ring");
  }
  const auto size_bytes = static_cast<off_t>(ring_segment_bytes(address.capacity));
  // Reserved here, where a lack of memory is an error: in an end it would be a signal.
  if (::ftruncate(segment.get(), size_bytes) != 0 ||
      ::fallocate(segment.get(), 0, 0, size_bytes) != 0) {
    return Status::from_errno(
        errno, "reserving " + std::to_string(size_bytes) + " bytes for a segment of a ring");
  }
  const RingHeader header = make_header(address);
  fail_point();
  const ssize_t written = ::pwrite(segment.get(), &header, sizeof(header), 0);
  fail_point();
  if (written != static_cast<ssize_t>(sizeof(header))) {
    return Status::from_errno(written < 0 ? errno : EIO, "writing the header of a ring");
  }
  // Owner only, and for reading: who has the other end's descriptor cannot open it for writing
  // through /proc by mistake.
  if (::fcntl(segment.get(), F_ADD_SEALS, kSeals) != 0 || ::fchmod(segment.get(), 0400) != 0) {
    return Status::from_errno(errno, "sealing the size of a segment of a ring");
  }
  return segment;
}

Result<UniqueFd> open_ring_segment_for_reading(int descriptor) {
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  UniqueFd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!reader.valid()) {
    return Status::from_errno(errno, "opening a segment of a ring for reading through " + path);
  }
  return reader;
}

Result<MemoryMapping> map_ring_segment(int descriptor, const RingAddress& address, bool writable) {
  PINION_RETURN_IF_ERROR(check_size(descriptor, address));
  const std::size_t size_bytes = ring_segment_bytes(address.capacity);
  Result<MemoryMapping> mapping = writable
                                      ? MemoryMapping::create_shared(descriptor, size_bytes)
                                      : MemoryMapping::create_read_only(descriptor, size_bytes);
  if (!mapping) {
    return mapping;
  }
  RingHeader found;
  std::memcpy(&found, mapping->bytes().data(), sizeof(found));
  const RingHeader expected = make_header(address);
  if (std::memcmp(&found, &expected, sizeof(found)) != 0) {
    return Status(ErrorCode::kDataLoss,
                  "the segment given for side " + std::to_string(address.side) + " of " +
                      name_of(address) + " with " + std::to_string(address.capacity) +
                      " messages says it is side " + std::to_string(found.side) + " of ring " +
                      std::to_string(found.number) + " of job " + std::to_string(found.job) +
                      " with " + std::to_string(found.capacity) + " messages, layout version " +
                      std::to_string(found.layout_version));
  }
  return mapping;
}

}  // namespace pinion
