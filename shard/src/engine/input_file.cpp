#include "engine/input_file.hpp"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pinion/core/assert.hpp>

namespace pinion {
namespace {

static_assert(sizeof(off_t) == 8, "files are read beyond 2 GiB");

Status shrunk(const std::string& path, std::uint64_t listed_bytes, std::uint64_t found_bytes) {
  return {ErrorCode::kDataLoss,
          "input file '" + path + "' has become shorter: it had " + std::to_string(listed_bytes) +
              " bytes when the step was planned and has " + std::to_string(found_bytes) +
              "; leave input files alone while a job reads them"};
}

}  // namespace

Result<InputFile> InputFile::open(const std::string& path) {
  // Non-blocking, because a named pipe may have taken the place of the file since somebody looked.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) {
    return Status::from_errno(errno, "cannot open input file '" + path + "'");
  }
  InputFile file(descriptor, path);
  struct stat found = {};
  if (::fstat(descriptor, &found) != 0) {
    return Status::from_errno(errno, "cannot look at input file '" + path + "'");
  }
  if (!S_ISREG(found.st_mode)) {
    return Status(ErrorCode::kFailedPrecondition,
                  "input '" + path + "' is not a regular file any more");
  }
  file.opened_bytes_ = static_cast<std::uint64_t>(found.st_size);
  return file;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

Result<std::uint64_t> InputFile::size_bytes() const {
  struct stat found = {};
  if (::fstat(descriptor_, &found) != 0) {
    return Status::from_errno(errno, "cannot look at input file '" + path_ + "'");
  }
  return static_cast<std::uint64_t>(found.st_size);
}

bool InputFile::is_at(const std::string& path) const noexcept {
  struct stat here = {};
  struct stat there = {};
  return ::fstat(descriptor_, &here) == 0 && ::stat(path.c_str(), &there) == 0 &&
         here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

Status InputFile::read(std::uint64_t offset, std::uint64_t listed_bytes,
                       std::span<std::byte> out) const {
  PINION_ASSERT(offset <= listed_bytes && out.size() <= listed_bytes - offset);
  while (!out.empty()) {
    const ssize_t count = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return Status::from_errno(
          errno, "cannot read input file '" + path_ + "' at byte " + std::to_string(offset));
    }
    if (count == 0) {
      break;
    }
    out = out.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  // After the read, as it may shrink at any moment before, and grow again before this one.
  const Result<std::uint64_t> size = size_bytes();
  if (!size) {
    return size.error();
  }
  const std::uint64_t found_bytes = out.empty() ? *size : std::min(*size, offset);
  if (found_bytes < listed_bytes) {
    return shrunk(path_, listed_bytes, found_bytes);
  }
  return {};
}

void InputFile::enter_page_cache(std::uint64_t offset, std::uint64_t size_bytes) const noexcept {
  ::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size_bytes),
                  POSIX_FADV_WILLNEED);
}

void InputFile::leave_page_cache(std::uint64_t offset, std::uint64_t size_bytes) const noexcept {
  ::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size_bytes),
                  POSIX_FADV_DONTNEED);
}

}  // namespace pinion
