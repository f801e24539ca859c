#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// What tells a pinion-agent that its standard input says what to do.
inline constexpr std::string_view kHostOfJobOption = "--host-of-job";

/// The command that runs an agent on another host, by the words of the setting remote-shell.
/// Errors: kInvalidArgument for a path of the agent that a shell would take for something else, and
///   for no shell.
[[nodiscard]] Result<std::vector<std::string>> remote_command(const std::string& remote_shell,
                                                              const std::string& host,
                                                              const std::string& agent);

/// The process that reaches another host and runs an agent there. Its standard input is the
/// agent's: first a description of what to do, then nothing for as long as this object lives; its
/// end is how an agent that does not know the head yet learns of ours. Ended with the object if it
/// still runs.
///
/// Thread safety: none.
class RemoteShell {
 public:
  /// Both its outputs become `words`, which stays the caller's.
  /// Errors: those of exec, so a program that does not exist is kNotFound.
  [[nodiscard]] static Result<RemoteShell> start(const std::vector<std::string>& command,
                                                 std::string input, int words);

  RemoteShell(RemoteShell&& other) noexcept;
  RemoteShell& operator=(RemoteShell&& other) noexcept;
  ~RemoteShell();

  /// For poll: what has to be written to, or -1 when nothing is left to write.
  [[nodiscard]] int input_descriptor() const noexcept { return input_.empty() ? -1 : pipe_.get(); }

  /// For poll: readable once the process has ended.
  [[nodiscard]] int watch_descriptor() const noexcept { return watch_.get(); }

  /// Writes what can be written without waiting.
  void write_input();

  /// Reaps the process if it has ended; its wait status goes to `wait_status`.
  [[nodiscard]] bool has_ended(int& wait_status);

  void kill() noexcept;

  /// Closes its input and forgets the process, which gets SIGTERM when the calling thread ends.
  void let_go() noexcept;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

 private:
  RemoteShell(pid_t pid, UniqueFd watch, UniqueFd pipe, std::string input) noexcept;

  pid_t pid_ = -1;
  UniqueFd watch_;
  UniqueFd pipe_;
  std::string input_;  // What is still to be written.
};

}  // namespace pinion
