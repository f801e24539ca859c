#pragma once

#include <cerrno>
#include <cstdlib>

#include <grp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace pinion::testing_input {

/// Whether `check` answers true in a process of its own, which may change its user and descriptors.
template <class Check>
[[nodiscard]] bool holds_in_child(Check check) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(check() ? 0 : 1);
  }
  EXPECT_GT(child, 0) << "fork failed with errno " << errno;
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// Gives up the right of root to read everything. Only in a child; true for ordinary users.
[[nodiscard]] inline bool become_ordinary_user() {
  constexpr uid_t kNobody = 65534;
  return ::geteuid() != 0 ||
         (::setgroups(0, nullptr) == 0 && ::setgid(kNobody) == 0 && ::setuid(kNobody) == 0);
}

}  // namespace pinion::testing_input
