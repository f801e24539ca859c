#pragma once

#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shm/channel.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

struct RankStart {
  std::vector<std::string> command = {};
  std::vector<std::pair<std::string, std::string>> environment = {};  ///< Added to our own.
  std::vector<std::string> absent_variables = {};  ///< Of our environment, not handed on.
  std::vector<unsigned> cpus = {};  ///< What the process is bound to; empty: not bound.

  // What becomes its standard input, output and error.
  int input = -1;  ///< -1: /dev/null.
  int output = STDOUT_FILENO;
  int errors = STDERR_FILENO;

  rlim_t open_file_limit = RLIM_INFINITY;  ///< Its soft limit of descriptors, at most the hard one.

  /// Keeps the process in this process group, so that it may read from the terminal; 0 gives it a
  /// group of its own.
  pid_t process_group = 0;
};

/// A running rank: its process and our end of the socket to it.
struct RankProcess {
  pid_t pid = -1;
  UniqueFd watch;  ///< A pidfd: readable once the process has ended.
  Channel channel;
};

/// Starts a process that ends when the calling process does. The socket's other end is left open
/// in it, under the number that PINION_AGENT_FD gives.
/// The calling thread is the one with whose end the rank is to end; the process may have others.
/// Errors: those of exec, so a program that does not exist is kNotFound.
[[nodiscard]] Result<RankProcess> start_rank(const RankStart& start);

/// Whether the process is over; it still has to be waited for.
[[nodiscard]] bool has_ended(const RankProcess& process) noexcept;

/// "killed by signal 9 (Killed)", "exit status 3".
[[nodiscard]] std::string describe_wait_status(int wait_status);

}  // namespace pinion
