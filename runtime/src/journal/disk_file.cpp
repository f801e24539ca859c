#include "journal/disk_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

namespace pinion {
namespace {

constexpr mode_t kOwnerOnly = 0600;

Status failed(int error, const std::string& what, const std::string& path) {
  Status status = Status::from_errno(error, what + " " + path);
  const bool is_full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return is_full ? std::move(status).with_context("make room on the disk of the journal") : status;
}

}  // namespace

Result<UniqueFd> create_file(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kOwnerOnly));
  if (!file.valid()) {
    return failed(errno, "making", path);
  }
  return file;
}

Status write_at(int file, std::span<const std::byte> bytes, std::uint64_t offset,
                const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count > 0) {
      offset += static_cast<std::uint64_t>(count);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      return failed(count == 0 ? EIO : errno, "writing", path);
    }
  }
  return {};
}

Status read_at(int file, std::span<std::byte> bytes, std::uint64_t offset,
               const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::pread(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count == 0) {
      return {ErrorCode::kDataLoss, path + " ends before byte " + std::to_string(offset)};
    }
    if (count > 0) {
      offset += static_cast<std::uint64_t>(count);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      return failed(errno, "reading", path);
    }
  }
  return {};
}

Status sync_file(int file, const std::string& path) {
  return ::fdatasync(file) == 0 ? Status() : failed(errno, "writing to the disk", path);
}

Status sync_folder(const std::string& folder) {
  const UniqueFd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || ::fsync(directory.get()) != 0) {
    return failed(errno, "writing to the disk the folder", folder);
  }
  return {};
}

Status replace_file(const std::string& folder, const std::string& name,
                    std::span<const std::byte> bytes) {
  const std::string path = folder + "/" + name;
  const std::string part = path + ".part";
  ::unlink(part.c_str());  // Of who was ended before us.
  const Result<UniqueFd> file = create_file(part);
  if (!file) {
    return file.error();
  }
  PINION_RETURN_IF_ERROR(write_at(file->get(), bytes, 0, part));
  PINION_RETURN_IF_ERROR(sync_file(file->get(), part));
  if (::rename(part.c_str(), path.c_str()) != 0) {
    return failed(errno, "renaming", part);
  }
  return sync_folder(folder);
}

Result<std::vector<std::byte>> read_whole_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat facts = {};
  if (!file.valid() || ::fstat(file.get(), &facts) != 0) {
    return failed(errno, "reading", path);
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(facts.st_size));
  PINION_RETURN_IF_ERROR(read_at(file.get(), bytes, 0, path));
  return bytes;
}

Result<std::vector<std::string>> names_in(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) {
    return Status::from_errno(error.value(), "reading the folder " + folder);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace pinion
