#pragma once

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// How a process is started, and what it is before its program begins.
struct ChildStart {
  std::vector<std::string> command = {};      ///< Looked for along PATH; not empty.
  std::vector<std::string> environment = {};  ///< NAME=VALUE; all of it.
  std::string name = {};                      ///< In errors.
  int death_signal = SIGKILL;                 ///< Sent to it when the thread that starts it ends.
  pid_t process_group = 0;                    ///< 0: one of its own.

  // What becomes its standard input, output and error; none of the three but in its own place.
  int input = -1;  ///< -1: /dev/null.
  int output = STDOUT_FILENO;
  int errors = STDERR_FILENO;

  int kept_descriptor = -1;    ///< Stays open in it, under its number.
  bool closes_others = false;  ///< Also those that are not marked to be closed.

  std::span<const cpu_set_t> cpus = {};        ///< One mask, however long; empty: not bound.
  std::optional<rlimit> open_file_limit = {};  ///< None: ours.
};

struct ChildProcess {
  pid_t pid = -1;
  UniqueFd watch;  ///< A pidfd: readable once the process has ended.
};

/// Starts a process that ends when the calling thread does. No signal is blocked in it, and none
/// that this process ignores for itself is ignored.
/// Blocks: until its program begins. Errors: those of exec, so a program that does not exist is
/// kNotFound.
[[nodiscard]] Result<ChildProcess> start_child(const ChildStart& start);

/// Our own variables, NAME=VALUE.
[[nodiscard]] std::vector<std::string> own_environment();

}  // namespace pinion
