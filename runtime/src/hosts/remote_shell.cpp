#include "hosts/remote_shell.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <sstream>
#include <utility>

#include "agent/child_process.hpp"

namespace pinion {
namespace {

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
  command.insert(command.end(), {host, agent, std::string(kHostOfJobOption)});
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
                                       int words) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Status::from_errno(errno, "cannot make a pipe");
  }
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  fcntl(writer.get(), F_SETFL, O_NONBLOCK);  // Of this end only.
  // In a group of its own, as a signal from the terminal is for the agents, who hear of it from the
  // head; and without the descriptors of a transport, by which others would take it for the head
  // when that is gone.
  Result<ChildProcess> child = start_child({.command = command,
                                            .environment = own_environment(),
                                            .name = "the remote shell " + command.front(),
                                            .death_signal = SIGTERM,
                                            .input = reader.get(),
                                            .output = words,
                                            .errors = words,
                                            .closes_others = true});
  if (!child) {
    return std::move(child).error();
  }
  return RemoteShell(child->pid, std::move(child->watch), std::move(writer), std::move(input));
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

void RemoteShell::let_go() noexcept {
  pid_ = -1;
  pipe_ = UniqueFd();
}

void RemoteShell::kill() noexcept {
  if (pid_ > 0) {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
  }
}

}  // namespace pinion
