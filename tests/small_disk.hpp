#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "temporary_folder.hpp"

namespace pinion {

/// Mounts a file system of `size` bytes ("1m") at `path`, for this process and what it starts, and
/// false with errno when that cannot be. An ordinary user becomes root of a namespace of its own
/// for it, where the system lets it.
/// Precondition: this process has one thread.
[[nodiscard]] inline bool mount_small_disk(const std::string& path, const char* size,
                                           unsigned long flags = 0) {
  const uid_t user = ::geteuid();
  if (::unshare(CLONE_NEWNS | (user == 0 ? 0 : CLONE_NEWUSER)) != 0) {
    return false;
  }
  if (user != 0) {
    const std::string map = "0 " + std::to_string(user) + " 1";
    const int file = ::open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
    const bool is_mapped = ::write(file, map.data(), map.size()) > 0;
    ::close(file);
    if (!is_mapped) {
      return false;
    }
  }
  const std::string options = std::string("size=") + size;
  return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("none", path.c_str(), "tmpfs", flags, options.c_str()) == 0;
}

/// What keeps this process from mounting a small disk; empty when nothing does.
[[nodiscard]] inline std::string find_mount_obstacle() {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(mount_small_disk(folder.path(), "1m") ? 0 : errno);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status == 0 ? "" : std::string(std::strerror(WEXITSTATUS(status)));
}

}  // namespace pinion
