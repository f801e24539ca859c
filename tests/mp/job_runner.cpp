#include "mp/job_runner.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace pinion {
namespace {

namespace fs = std::filesystem;

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) {
    pointers.push_back(text.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

// Ours without the settings of Pinion and without what `additions` gives another value: of two
// values for one name, programs read the first.
std::vector<std::string> environment_with(const RunningCommand::Environment& additions) {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view name =
        std::string_view(*entry).substr(0, std::string_view(*entry).find('='));
    const bool is_replaced =
        std::any_of(additions.begin(), additions.end(),
                    [name](const auto& addition) { return addition.first == name; });
    if (!name.starts_with("PINION_") && !is_replaced) {
      entries.emplace_back(*entry);
    }
  }
  for (const auto& [name, value] : additions) {
    entries.push_back(name + "=" + value);
  }
  return entries;
}

void feed(int descriptor, const std::string& input) {
  // A command that does not read to the end must not end the test.
  sigset_t broken_pipe;
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
  std::size_t written = 0;
  while (written < input.size()) {
    const ssize_t now = write(descriptor, input.data() + written, input.size() - written);
    if (now <= 0) {
      break;
    }
    written += static_cast<std::size_t>(now);
  }
  close(descriptor);
}

int shell_status(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

}  // namespace

RunningCommand::RunningCommand(const TemporaryFolder& folder,
                               const std::vector<std::string>& command,
                               const Environment& environment, const std::string& input) {
  static int count = 0;
  const std::string number = std::to_string(++count);
  output_path_ = folder / "output." + number;
  errors_path_ = folder / "errors." + number;
  std::vector<std::string> arguments = command;
  std::vector<std::string> entries = environment_with(environment);
  std::vector<char*> argument_pointers = pointers_to(arguments);
  std::vector<char*> entry_pointers = pointers_to(entries);
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) {
    std::abort();
  }
  pid_ = fork();
  if (pid_ == 0) {
    setpgid(0, 0);
    dup2(pipe_ends[0], STDIN_FILENO);
    dup2(open(output_path_.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600), STDOUT_FILENO);
    dup2(open(errors_path_.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600), STDERR_FILENO);
    execvpe(argument_pointers[0], argument_pointers.data(), entry_pointers.data());
    _exit(127);
  }
  close(pipe_ends[0]);
  // A command that does not read must not stop the test.
  std::thread([descriptor = pipe_ends[1], input] { feed(descriptor, input); }).detach();
}

RunningCommand::~RunningCommand() {
  if (!status_) {
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

std::optional<int> RunningCommand::wait_for(std::chrono::milliseconds patience) {
  if (status_) {
    return status_;
  }
  const int watch = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  pollfd watched{watch, POLLIN, 0};
  const int ready = poll(&watched, 1, static_cast<int>(patience.count()));
  close(watch);
  int wait_status = 0;
  if (ready == 1 && waitpid(pid_, &wait_status, 0) == pid_) {
    status_ = shell_status(wait_status);
  }
  return status_;
}

std::string RunningCommand::output() const {
  return read_file(output_path_);
}
std::string RunningCommand::errors() const {
  return read_file(errors_path_);
}

TerminalCommand::TerminalCommand(const std::vector<std::string>& command,
                                 const RunningCommand::Environment& environment) {
  std::vector<std::string> arguments = command;
  std::vector<std::string> entries = environment_with(environment);
  std::vector<char*> argument_pointers = pointers_to(arguments);
  std::vector<char*> entry_pointers = pointers_to(entries);
  const winsize size{.ws_row = 24, .ws_col = 100, .ws_xpixel = 0, .ws_ypixel = 0};
  pid_ = forkpty(&terminal_, nullptr, nullptr, &size);
  if (pid_ < 0) {
    std::perror("forkpty");
    std::abort();
  }
  if (pid_ == 0) {
    execvpe(argument_pointers[0], argument_pointers.data(), entry_pointers.data());
    _exit(127);
  }
}

TerminalCommand::~TerminalCommand() {
  if (!status_) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(terminal_);
}

bool TerminalCommand::read_some() {
  pollfd watched{terminal_, POLLIN, 0};
  if (poll(&watched, 1, 10) == 0) {
    return true;
  }
  char bytes[4096];
  const ssize_t count = read(terminal_, bytes, sizeof(bytes));
  // The master's end reads an error once no process has the terminal open.
  output_.append(bytes, count > 0 ? static_cast<std::size_t>(count) : 0);
  return count > 0;
}

bool TerminalCommand::writes(const std::string& text, std::size_t count) {
  for (int round = 0; round < 6000 && count_of(text, output_) < count && read_some(); ++round) {
  }
  return count_of(text, output_) >= count;
}

void TerminalCommand::type(const std::string& keys) {
  if (write(terminal_, keys.data(), keys.size()) != static_cast<ssize_t>(keys.size())) {
    std::abort();
  }
}

std::optional<int> TerminalCommand::wait_for_end() {
  for (int round = 0; round < 6000 && !status_; ++round) {
    // What nobody reads would stop the command.
    const bool open = read_some();
    int wait_status = 0;
    if (waitpid(pid_, &wait_status, open ? WNOHANG : 0) == pid_) {
      status_ = shell_status(wait_status);
    }
  }
  while (status_ && read_some()) {
    if (pollfd watched{terminal_, POLLIN, 0}; poll(&watched, 1, 0) == 0) {
      break;
    }
  }
  return status_;
}

CommandResult run_command(const TemporaryFolder& folder, const std::vector<std::string>& command,
                          const RunningCommand::Environment& environment,
                          const std::string& input) {
  RunningCommand running(folder, command, environment, input);
  const std::optional<int> status = running.wait_for(std::chrono::seconds(240));
  return {status.value_or(-1), running.output(), running.errors()};
}

CommandResult run_pinion(const TemporaryFolder& folder, std::vector<std::string> arguments,
                         const RunningCommand::Environment& environment, const std::string& input) {
  arguments.insert(arguments.begin(), PINION_COMMAND);
  return run_command(folder, arguments, environment, input);
}

bool eventually(const std::function<bool()>& condition) {
  for (int round = 0; round < 12'000; ++round) {
    if (condition()) {
      return true;
    }
    poll(nullptr, 0, 5);
  }
  return condition();
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();  // An iterator would throw when the process behind a file of /proc ends.
  return text.str();
}

void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(line);
  }
  return lines;
}

std::size_t count_of(const std::string& part, const std::string& text) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos;
       at = text.find(part, at + part.size())) {
    ++count;
  }
  return count;
}

namespace {

// What follows "NAME:" and white space in /proc/PID/status; empty when there is no such process.
std::string status_of(pid_t pid, const std::string& name) {
  for (const std::string& line : lines_of(read_file("/proc/" + std::to_string(pid) + "/status"))) {
    if (line.starts_with(name + ":\t")) {
      return line.substr(name.size() + 2);
    }
  }
  return "";
}

}  // namespace

pid_t parent_of(pid_t pid) {
  return static_cast<pid_t>(std::atoi(status_of(pid, "PPid").c_str()));
}

bool is_stopped(pid_t pid) {
  return status_of(pid, "State").starts_with("T");
}

std::vector<std::string> named_things(const std::string& except) {
  std::vector<std::string> names;
  for (const char* folder : {"/dev/shm", "/tmp", "/var/tmp"}) {
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
      names.push_back(entry.path().string());
    }
  }
  for (const std::string& line : lines_of(read_file("/proc/net/unix"))) {
    if (const std::size_t name = line.find('/'); name != std::string::npos) {
      names.push_back("socket " + line.substr(name));
    }
  }
  std::erase_if(
      names, [&except](const std::string& name) { return name.find(except) != std::string::npos; });
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<pid_t> processes_with(const std::string& entry) {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const fs::directory_entry& process : fs::directory_iterator("/proc", ignored)) {
    const pid_t pid = static_cast<pid_t>(std::atoi(process.path().filename().c_str()));
    if (pid <= 0 || pid == getpid()) {
      continue;
    }
    const std::string environment = read_file((process.path() / "environ").string());
    if (environment.starts_with(entry) || environment.find('\0' + entry) != std::string::npos) {
      found.push_back(pid);
    }
  }
  return found;
}

}  // namespace pinion
