#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "temporary_folder.hpp"

namespace pinion {

/// A command that runs beside the test, with its output in files. Ended, whole group, with the
/// object if it still runs.
class RunningCommand {
 public:
  using Environment = std::vector<std::pair<std::string, std::string>>;

  /// `input` becomes its standard input, from a pipe.
  RunningCommand(const TemporaryFolder& folder, const std::vector<std::string>& command,
                 const Environment& environment = {}, const std::string& input = {});
  ~RunningCommand();
  RunningCommand(const RunningCommand&) = delete;
  RunningCommand& operator=(const RunningCommand&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

  /// The exit status as a shell gives it (128 + signal); empty when it still runs at the deadline.
  [[nodiscard]] std::optional<int> wait_for(std::chrono::milliseconds patience);

  [[nodiscard]] std::string output() const;
  [[nodiscard]] std::string errors() const;

 private:
  std::string output_path_;
  std::string errors_path_;
  pid_t pid_ = -1;
  std::optional<int> status_;
};

/// A command that runs in a terminal of its own, 100 columns wide, which is its input, its output
/// and its standard error. Ended with the object if it still runs.
class TerminalCommand {
 public:
  explicit TerminalCommand(const std::vector<std::string>& command,
                           const RunningCommand::Environment& environment = {});
  ~TerminalCommand();
  TerminalCommand(const TerminalCommand&) = delete;
  TerminalCommand& operator=(const TerminalCommand&) = delete;

  /// Waits, at most a minute, until it has written `text` at least `count` times.
  [[nodiscard]] bool writes(const std::string& text, std::size_t count);

  void type(const std::string& keys);

  /// Its exit status as a shell gives it; empty when it has not ended after a minute.
  [[nodiscard]] std::optional<int> wait_for_end();

  /// Everything it wrote so far.
  [[nodiscard]] const std::string& output() const noexcept { return output_; }

 private:
  // False when nothing can come any more.
  bool read_some();

  int terminal_ = -1;
  pid_t pid_ = -1;
  std::string output_;
  std::optional<int> status_;
};

/// What a finished command did.
struct CommandResult {
  int status = -1;  ///< -1: it did not end in time.
  std::string output;
  std::string errors;
};

/// Runs `pinion` with these arguments to its end, at most two minutes.
[[nodiscard]] CommandResult run_pinion(const TemporaryFolder& folder,
                                       std::vector<std::string> arguments,
                                       const RunningCommand::Environment& environment = {},
                                       const std::string& input = {});

/// Runs any command to its end, at most two minutes.
[[nodiscard]] CommandResult run_command(const TemporaryFolder& folder,
                                        const std::vector<std::string>& command,
                                        const RunningCommand::Environment& environment = {},
                                        const std::string& input = {});

/// Asks again and again, at most a minute, until the answer is true; that answer, or the last.
[[nodiscard]] bool eventually(const std::function<bool()>& condition);

[[nodiscard]] std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& content);
[[nodiscard]] std::vector<std::string> lines_of(const std::string& text);

/// How often `part` lies in `text`, without overlap.
[[nodiscard]] std::size_t count_of(const std::string& part, const std::string& text);

/// The parent of a process, 0 when there is no such process.
[[nodiscard]] pid_t parent_of(pid_t pid);

/// Whether a signal has stopped the process.
[[nodiscard]] bool is_stopped(pid_t pid);

/// The names under /dev/shm, /tmp and /var/tmp and of Unix sockets in the file system, less those
/// that hold `except`. Abstract names of sockets end with the last process that has them.
[[nodiscard]] std::vector<std::string> named_things(const std::string& except);

/// Processes, other than this one, whose environment holds the entry `NAME=VALUE`.
[[nodiscard]] std::vector<pid_t> processes_with(const std::string& entry);

}  // namespace pinion
