#include "segment.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "fail_point.hpp"
#include "spill_file.hpp"

namespace pinion {
namespace {

constexpr std::uint32_t kLayoutVersion = 1;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

// MFD_NOEXEC_SEAL of Linux 6.3, which older system headers do not have.
constexpr unsigned kNoExecSeal = 0x0008U;

// Each call reserves at most this much: a call that a signal interrupts gives back what it took,
// and one call for everything might never get through.
constexpr std::uint64_t kReserveStepBytes = std::uint64_t{64} << 20;

Status wrong_identity(const char* what, std::uint64_t expected, std::uint64_t found) {
  return Status(ErrorCode::kFailedPrecondition, std::string("a blob handle of ") + what + " " +
                                                    std::to_string(found) + " came to a store of " +
                                                    what + " " + std::to_string(expected));
}

std::string name_of(const BlobHandle& handle) {
  return "blob " + std::to_string(handle.segment) + "." + std::to_string(handle.index);
}

// Of no other file that any process has named: a name is there for the time of a system call or
// two. What is in its way was left by a process that was killed just then.
Result<UniqueFd> create_named(int folder, std::string& name) {
  static std::atomic<std::uint64_t> made_count = 0;
  while (true) {
    // Only the uniqueness of the number matters.
    const std::uint64_t number = made_count.fetch_add(1, std::memory_order_relaxed);
    name = std::to_string(::getpid()) + "." + std::to_string(number);
    UniqueFd file(::openat(folder, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR));
    if (file.valid()) {
      return file;
    }
    if (errno != EEXIST) {
      return Status::from_errno(errno, "making a file in the memory for large blobs");
    }
  }
}

}  // namespace

SegmentHeader make_segment_header(const BlobHandle& handle, Place home) noexcept {
  return {.magic = kSegmentMagic,
          .layout_version = kLayoutVersion,
          .epoch = handle.epoch,
          .job = handle.job,
          .generation = handle.generation,
          .length_bytes = handle.length_bytes,
          .host = handle.host,
          .segment = handle.segment,
          .index = handle.index,
          .home_host = home.host,
          .home_index = home.index,
          .home_kind = static_cast<std::uint8_t>(home.kind)};
}

Result<BlobFile> create_blob_file(const BlobMemory& memory, std::uint64_t size_bytes) {
  std::string name;
  Result<UniqueFd> writer = create_named(memory.writable.get(), name);
  if (!writer) {
    return std::move(writer).error();
  }
  UniqueFd reader(::openat(memory.read_only.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
  const int error = reader.valid() ? 0 : errno;
  PINION_ASSERT(::unlinkat(memory.writable.get(), name.c_str(), 0) == 0);
  if (error != 0) {
    return Status::from_errno(error, "opening a file in the memory for large blobs to read it");
  }
  if (::ftruncate(writer->get(), static_cast<off_t>(size_bytes)) != 0) {
    return Status::from_errno(errno,
                              "ftruncate of a blob to " + std::to_string(size_bytes) + " bytes");
  }
  return BlobFile{.writer = *std::move(writer), .reader = std::move(reader)};
}

Result<UniqueFd> create_segment(std::uint64_t size_bytes, const char* label) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int descriptor = ::memfd_create(label, kFlags | kNoExecSeal);
  if (descriptor < 0 && errno == EINVAL) {
    descriptor = ::memfd_create(label, kFlags);
  }
  UniqueFd segment(descriptor);
  if (!segment.valid()) {
    return Status::from_errno(errno, "memfd_create for a blob");
  }
  if (::ftruncate(segment.get(), static_cast<off_t>(size_bytes)) != 0) {
    return Status::from_errno(errno,
                              "ftruncate of a blob to " + std::to_string(size_bytes) + " bytes");
  }
  return segment;
}

Status reserve_segment(int descriptor, std::uint64_t size_bytes) {
  std::uint64_t reserved_bytes = 0;
  while (reserved_bytes < size_bytes) {
    const std::uint64_t step = std::min(kReserveStepBytes, size_bytes - reserved_bytes);
    if (::fallocate(descriptor, 0, static_cast<off_t>(reserved_bytes), static_cast<off_t>(step)) ==
        0) {
      reserved_bytes += step;
    } else if (errno != EINTR) {
      return Status::from_errno(errno, "reserving room for a blob: the system gave " +
                                           std::to_string(reserved_bytes) + " of " +
                                           std::to_string(size_bytes) + " bytes");
    }
  }
  return {};
}

Status write_segment_header(int descriptor, const BlobHandle& handle, Place home) {
  const SegmentHeader header = make_segment_header(handle, home);
  fail_point();
  const ssize_t written = ::pwrite(descriptor, &header, sizeof(header), 0);
  fail_point();
  if (written != static_cast<ssize_t>(sizeof(header))) {
    return Status::from_errno(written < 0 ? errno : EIO, "writing the header of a blob");
  }
  return {};
}

Status seal_segment(int descriptor, const BlobHandle& handle, Place home) {
  PINION_RETURN_IF_ERROR(write_segment_header(descriptor, handle, home));
  if (::fcntl(descriptor, F_ADD_SEALS, kSeals) == 0) {
    return {};
  }
  if (errno == EBUSY) {
    return Status::from_native(ErrorOrigin::kErrno, EBUSY, ErrorCode::kFailedPrecondition,
                               "a blob cannot be sealed while its memory is mapped writable "
                               "elsewhere or a device writes to it; end that first");
  }
  return Status::from_errno(errno, "sealing a blob");
}

Status check_segment(int descriptor, const BlobHandle& handle, Place home) {
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    if (Status checked = check_final_file(descriptor); !checked.ok()) {
      return std::move(checked).with_context(name_of(handle));
    }
  }
  struct stat file = {};
  if (::fstat(descriptor, &file) != 0) {
    return Status::from_errno(errno, "fstat of a segment");
  }
  const auto found_bytes = static_cast<std::uint64_t>(file.st_size);
  if (handle.length_bytes > kBlobLengthMax ||
      found_bytes != segment_size_bytes(handle.length_bytes)) {
    return Status(ErrorCode::kInvalidArgument,
                  "the handle of " + name_of(handle) + " says " +
                      std::to_string(handle.length_bytes) + " bytes, its segment has " +
                      std::to_string(found_bytes) + " with a header of " +
                      std::to_string(sizeof(SegmentHeader)));
  }
  SegmentHeader found = {};
  const ssize_t count = ::pread(descriptor, &found, sizeof(found), 0);
  if (count != static_cast<ssize_t>(sizeof(found))) {
    return Status::from_errno(count < 0 ? errno : EIO, "reading the header of a segment");
  }
  const SegmentHeader expected = make_segment_header(handle, home);
  if (std::memcmp(&found, &expected, sizeof(found)) != 0) {
    return Status(ErrorCode::kDataLoss, "the segment given for " + name_of(handle) + " at place " +
                                            std::to_string(home.index) + " says it is segment " +
                                            std::to_string(found.segment) + " at place " +
                                            std::to_string(found.home_index) + " of job " +
                                            std::to_string(found.job) + ", layout version " +
                                            std::to_string(found.layout_version));
  }
  return {};
}

Status check_identity(const BlobStoreIdentity& identity, const BlobHandle& handle) {
  if (handle.job != identity.job) {
    return wrong_identity("job", identity.job, handle.job);
  }
  if (handle.epoch != identity.epoch) {
    return wrong_identity("epoch", identity.epoch, handle.epoch);
  }
  if (handle.host != identity.host) {
    return wrong_identity("host", identity.host, handle.host);
  }
  return {};
}

Status check_handle(const BlobStoreIdentity& identity, const BlobHandle& handle) {
  PINION_RETURN_IF_ERROR(check_identity(identity, handle));
  if (handle.generation != kOnlyGeneration) {
    return wrong_identity("generation", kOnlyGeneration, handle.generation);
  }
  if (handle.index != kOnlyIndex) {
    return no_such_blob(handle);
  }
  return {};
}

Status check_copy_handle(const BlobStoreIdentity& identity, std::uint32_t host_count,
                         const BlobHandle& handle) {
  if (handle.job != identity.job) {
    return wrong_identity("job", identity.job, handle.job);
  }
  if (handle.epoch > identity.epoch) {
    return wrong_identity("epoch", identity.epoch, handle.epoch);
  }
  const std::uint32_t host = host_with(handle, identity.epoch);
  if (host == identity.host || host >= host_count) {
    return wrong_identity("host", identity.host, host);
  }
  return check_size(handle.length_bytes);
}

Status check_length(const BlobHandle& handle, const BlobHandle& known) {
  if (handle.length_bytes == known.length_bytes) {
    return {};
  }
  return Status(ErrorCode::kInvalidArgument, "the handle of " + name_of(handle) + " says " +
                                                 std::to_string(handle.length_bytes) +
                                                 " bytes, the blob has " +
                                                 std::to_string(known.length_bytes));
}

Result<BlobFilePart> payload_of(int descriptor, Place home) {
  UniqueFd copy(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) {
    return Status::from_errno(errno, "duplicating the descriptor of a blob");
  }
  return BlobFilePart{.descriptor = std::move(copy), .offset = sizeof(SegmentHeader), .home = home};
}

Status read_payload(int descriptor, std::uint64_t offset, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count =
        ::pread(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    } else if (count == 0 || errno != EINTR) {
      return Status::from_errno(count < 0 ? errno : EIO, "reading the bytes of a blob");
    }
  }
  return {};
}

Result<Blob> copy_payload(int descriptor, std::uint64_t offset, const BlobHandle& handle,
                          Place home) {
  const auto bytes =
      std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(handle.length_bytes));
  PINION_RETURN_IF_ERROR(read_payload(descriptor, offset, *bytes));
  return Blob(handle, home, *bytes, bytes);
}

Status check_home(const BlobStoreIdentity& identity, Place home) {
  if (home.kind != PlaceKind::kNuma) {
    return Status(ErrorCode::kInvalidArgument, "a blob lies in the memory of a NUMA node; place " +
                                                   std::to_string(home.index) + " is a device");
  }
  if (home.host != identity.host) {
    return Status(ErrorCode::kInvalidArgument, "the place is on host " + std::to_string(home.host) +
                                                   "; this is the store of host " +
                                                   std::to_string(identity.host));
  }
  return {};
}

Status check_size(std::uint64_t size_bytes) {
  if (size_bytes <= kBlobLengthMax) {
    return {};
  }
  return Status(ErrorCode::kResourceExhausted, "a blob of " + std::to_string(size_bytes) +
                                                   " bytes cannot be mapped; at most " +
                                                   std::to_string(kBlobLengthMax) + " can");
}

Status no_such_blob(const BlobHandle& handle) {
  return Status(ErrorCode::kNotFound, name_of(handle) + " of job " + std::to_string(handle.job) +
                                          " is not in the store: it was never sealed, or it was "
                                          "dropped or released");
}

}  // namespace pinion
