#include "spill_file.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <cerrno>
#include <utility>

#include <pinion/shm/spill.hpp>

#include "segment.hpp"

namespace pinion {
namespace {

constexpr mode_t kNobodyWrites = S_IRUSR;

Status not_final(const char* what) {
  return Status(ErrorCode::kFailedPrecondition,
                std::string("a blob's descriptor is a file without all four seals, and ") + what +
                    "; only what nobody can write to is read");
}

// Asks the kernel for a lease that it grants only when no descriptor and no mapping of the file can
// write. File systems without leases grant none to anybody, and say so by another error.
Status check_no_writer(int descriptor) {
  if (::fcntl(descriptor, F_SETLEASE, F_RDLCK) == 0) {
    ::fcntl(descriptor, F_SETLEASE, F_UNLCK);
    return {};
  }
  return errno == EAGAIN ? not_final("somebody has it open for writing") : Status();
}

}  // namespace

Result<UniqueFd> create_spill_file(const std::string& directory, std::uint64_t size_bytes) {
  // With O_EXCL the file can never be given a name.
  UniqueFd file(
      ::open(directory.c_str(), O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!file.valid()) {
    if (errno == EOPNOTSUPP || errno == EISDIR) {
      return Status::from_native(ErrorOrigin::kErrno, errno, ErrorCode::kFailedPrecondition,
                                 "the file system of " + directory +
                                     " has no files without a name (O_TMPFILE); set "
                                     "spill-directory to one on a local disk");
    }
    return Status::from_errno(errno, "making a file to spill a blob to in " + directory);
  }
  if (Status reserved = reserve_segment(file.get(), size_bytes); !reserved.ok()) {
    return std::move(reserved).with_context(
        "spilling a blob to " + directory +
        " (make room there, or set spill-directory to a larger disk)");
  }
  return file;
}

bool is_in_memory(const std::string& directory) noexcept {
  struct statfs system = {};
  return ::statfs(directory.c_str(), &system) == 0 &&
         (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC);
}

Result<UniqueFd> finish_spill_file(UniqueFd file, const BlobHandle& handle, Place home) {
  PINION_RETURN_IF_ERROR(write_segment_header(file.get(), handle, home));
  // Only pages that the disk has can be dropped.
  constexpr unsigned kWriteAll =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if (::sync_file_range(file.get(), 0, 0, kWriteAll) != 0) {
    return Status::from_errno(errno, "writing a spilled blob to its disk");
  }
  if (::fchmod(file.get(), kNobodyWrites) != 0) {
    return Status::from_errno(errno, "making a spilled blob read-only");
  }
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  UniqueFd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!reader.valid()) {
    return Status::from_errno(errno, "opening a spilled blob for reading through " + path);
  }
  file = UniqueFd();
  // Advice: pages that stay are clean, and the system takes them when it needs them.
  ::posix_fadvise(reader.get(), 0, 0, POSIX_FADV_DONTNEED);
  PINION_RETURN_IF_ERROR(check_final_file(reader.get()));
  return reader;
}

Status check_final_file(int descriptor) {
  struct stat file = {};
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0 || ::fstat(descriptor, &file) != 0) {
    return not_final("it is no open descriptor");
  }
  if (!S_ISREG(file.st_mode)) {
    return not_final("not even a file");
  }
  if ((flags & O_ACCMODE) != O_RDONLY) {
    return not_final("its descriptor can write");
  }
  if (file.st_nlink != 0) {
    return not_final("it has a name");
  }
  if ((file.st_mode & ALLPERMS) != kNobodyWrites) {
    return not_final("its mode is not 0400");
  }
  return check_no_writer(descriptor);
}

bool is_spill_file(int descriptor) noexcept {
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  struct statfs system = {};
  const bool is_of_blob_memory = ::fstatfs(descriptor, &system) == 0 &&
                                 system.f_type == TMPFS_MAGIC && (system.f_flags & ST_RDONLY) != 0;
  return (seals < 0 || (seals & F_SEAL_WRITE) == 0) && !is_of_blob_memory;
}

}  // namespace pinion
