#include "hosts/remote_shell.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <sstream>
#include <utility>

namespace pinion {
namespace {

struct ChildPlan {
  pid_t parent;
  int input;
  int output;
  int errors;
  int error_pipe;
  char** arguments;
};

[[noreturn]] void run_child(const ChildPlan& plan) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != plan.parent) {
    _exit(127);
  }
  // A signal from the terminal is for the agents, who hear of it from the head.
  setpgid(0, 0);
  signal(SIGPIPE, SIG_DFL);
  signal(SIGXFSZ, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(plan.input, STDIN_FILENO);
  dup2(plan.output, STDOUT_FILENO);
  dup2(plan.errors, STDERR_FILENO);
  // Not the descriptors of a transport, by which others would take us for the head when it is gone.
  syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  execvp(plan.arguments[0], plan.arguments);
  const int error = errno;
  const ssize_t told = write(plan.error_pipe, &error, sizeof(error));
  _exit(told == sizeof(error) ? 127 : 126);
}

bool is_plain(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("/._-+,:@%=").find(c) != std::string_view::npos;
}

}  // namespace

Result<std::vector<std::string>> remote_command(const std::string& remote_shell,
                                                const std::string& host, const std::string& agent) {
  // ssh hands it to a shell there, a script may not.
  if (!std::all_of(agent.begin(), agent.end(), is_plain)) {
    return Status(ErrorCode::kInvalidArgument,
                  "the path of the agent, " + agent +
                      ", has characters that a remote shell takes for something else; install it "
                      "elsewhere");
  }
  std::vector<std::string> command;
  std::istringstream words(remote_shell);
  for (std::string word; words >> word;) {
    command.push_back(word);
  }
  if (command.empty()) {
    return Status(ErrorCode::kInvalidArgument, "the setting remote-shell names no command");
  }
  command.insert(command.end(), {host, agent, "--host-of-job"});
  return command;
}

RemoteShell::RemoteShell(pid_t pid, UniqueFd watch, UniqueFd pipe, std::string input) noexcept
    : pid_(pid), watch_(std::move(watch)), pipe_(std::move(pipe)), input_(std::move(input)) {}

RemoteShell::RemoteShell(RemoteShell&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      watch_(std::move(other.watch_)),
      pipe_(std::move(other.pipe_)),
      input_(std::move(other.input_)) {}

RemoteShell& RemoteShell::operator=(RemoteShell&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(watch_, other.watch_);
  std::swap(pipe_, other.pipe_);
  std::swap(input_, other.input_);
  return *this;
}

RemoteShell::~RemoteShell() {
  if (pid_ > 0) {
    kill();
    waitpid(pid_, nullptr, 0);
  }
}

Result<RemoteShell> RemoteShell::start(const std::vector<std::string>& command, std::string input,
                                       int output, int errors) {
  int input_ends[2];
  int error_ends[2];
  if (pipe2(input_ends, O_CLOEXEC) != 0) {
    return Status::from_errno(errno, "cannot make a pipe");
  }
  const UniqueFd input_reader(input_ends[0]);
  UniqueFd input_writer(input_ends[1]);
  if (pipe2(error_ends, O_CLOEXEC) != 0) {
    return Status::from_errno(errno, "cannot make a pipe");
  }
  const UniqueFd error_reader(error_ends[0]);
  UniqueFd error_writer(error_ends[1]);
  fcntl(input_writer.get(), F_SETFL, O_NONBLOCK);  // Of this end only.
  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  for (std::string& word : words) {
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  const ChildPlan plan{.parent = getpid(),
                       .input = input_reader.get(),
                       .output = output,
                       .errors = errors,
                       .error_pipe = error_writer.get(),
                       .arguments = arguments.data()};
  const pid_t pid = fork();
  if (pid < 0) {
    return Status::from_errno(errno, "cannot start a process");
  }
  if (pid == 0) {
    run_child(plan);
  }
  error_writer = UniqueFd();
  int error = 0;
  if (read(error_reader.get(), &error, sizeof(error)) == sizeof(error)) {
    waitpid(pid, nullptr, 0);
    return Status::from_errno(error, "cannot start the remote shell " + command.front());
  }
  UniqueFd watch(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!watch.valid()) {
    const int cause = errno;
    ::kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return Status::from_errno(cause, "cannot watch a process");
  }
  return RemoteShell(pid, std::move(watch), std::move(input_writer), std::move(input));
}

void RemoteShell::write_input() {
  while (!input_.empty()) {
    const ssize_t count = write(pipe_.get(), input_.data(), input_.size());
    if (count > 0) {
      input_.erase(0, static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      if (errno != EAGAIN) {
        input_.clear();  // Nobody reads; that it ends, and why, is told elsewhere.
      }
      return;
    }
  }
}

bool RemoteShell::has_ended(int& wait_status) {
  pollfd watched{watch_.get(), POLLIN, 0};
  if (pid_ <= 0 || poll(&watched, 1, 0) != 1 || waitpid(pid_, &wait_status, WNOHANG) != pid_) {
    return false;
  }
  pid_ = -1;
  pipe_ = UniqueFd();
  return true;
}

void RemoteShell::kill() noexcept {
  if (pid_ > 0) {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
  }
}

}  // namespace pinion
