#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "temporary_folder.hpp"

namespace pinion {

/// Makes this process root of a user namespace of its own, with its user and its group: files of
/// one without a group could not be made there. False with errno when that cannot be.
[[nodiscard]] inline bool become_root_of_a_namespace(int more_namespaces) {
  const std::array<std::pair<const char*, std::string>, 3> files = {
      {{"/proc/self/setgroups", "deny"},
       {"/proc/self/uid_map", "0 " + std::to_string(::geteuid()) + " 1"},
       {"/proc/self/gid_map", "0 " + std::to_string(::getegid()) + " 1"}}};
  if (::unshare(CLONE_NEWUSER | more_namespaces) != 0) {
    return false;
  }
  return std::all_of(files.begin(), files.end(), [](const auto& entry) {
    const int file = ::open(entry.first, O_WRONLY | O_CLOEXEC);
    const bool is_written = ::write(file, entry.second.data(), entry.second.size()) > 0;
    ::close(file);
    return is_written;
  });
}

/// Mounts a file system of `size` bytes ("1m") at `path`, for this process and what it starts, and
/// false with errno when that cannot be. An ordinary user becomes root of a namespace of its own
/// for it, where the system lets it.
/// Precondition: this process has one thread.
[[nodiscard]] inline bool mount_small_disk(const std::string& path, const char* size,
                                           unsigned long flags = 0) {
  const bool is_alone =
      ::geteuid() == 0 ? ::unshare(CLONE_NEWNS) == 0 : become_root_of_a_namespace(CLONE_NEWNS);
  if (!is_alone) {
    return false;
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
