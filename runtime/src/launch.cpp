// Starts the agent and stands between it and whoever started us.

#include <pinion/runtime/launch.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include <fmt/format.h>

#include <pinion/shm/unique_fd.hpp>

#include "agent/rank_process.hpp"
#include "agent/strays.hpp"
#include "launch/find_agent.hpp"
#include "launch_spec.hpp"

namespace pinion {
namespace {

constexpr int kForwardedSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};

// The description as a file without a name, so that nothing is left behind whatever dies.
Result<UniqueFd> make_spec_file(const LaunchSpec& spec) {
  UniqueFd file(memfd_create("pinion-launch", MFD_CLOEXEC));
  const std::string text = encode_launch_spec(spec);
  if (!file.valid() ||
      write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return Status::from_errno(errno, "cannot hand the launch description to the agent");
  }
  return file;
}

sigset_t forwarded_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : kForwardedSignals) {
    sigaddset(&signals, signal);
  }
  sigaddset(&signals, SIGCHLD);
  return signals;
}

// Until the agent ends. Signals are blocked and taken here one by one, so none is lost.
int wait_for_agent(pid_t agent, const sigset_t& signals, bool debugs) {
  while (true) {
    int wait_status = 0;
    if (waitpid(agent, &wait_status, WNOHANG) == agent) {
      if (WIFSIGNALED(wait_status)) {
        // The others say themselves how they end.
        fmt::print(stderr, "pinion: the agent of this job was {}; its ranks end with it\n",
                   describe_wait_status(wait_status));
      }
      return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    }
    siginfo_t info{};
    const int signal = sigwaitinfo(&signals, &info);
    // The keyboard's interrupt is meant for a debugger that shares the terminal with us.
    const bool for_debugger = debugs && signal == SIGINT && info.si_code == SI_KERNEL;
    if (signal > 0 && signal != SIGCHLD && !for_debugger) {
      kill(agent, signal);
    }
  }
}

}  // namespace

Result<int> launch(const LaunchSpec& spec) {
  Result<std::string> agent = find_agent();
  if (!agent) {
    return std::move(agent).error();
  }
  Result<UniqueFd> file = make_spec_file(spec);
  if (!file) {
    return std::move(file).error();
  }
  const pid_t parent = getpid();
  const std::string spec_option = "--spec-fd=" + std::to_string(file->get());
  const std::string launcher_option = "--launcher=" + std::to_string(parent);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Status::from_errno(errno, "cannot make a pipe");
  }
  const UniqueFd error_reader(ends[0]);
  UniqueFd error_writer(ends[1]);
  // Where the agent is killed, what the ranks have started becomes our child.
  const std::vector<pid_t> own_children = child_processes();
  int was_subreaper = 0;
  prctl(PR_GET_CHILD_SUBREAPER, &was_subreaper);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const sigset_t signals = forwarded_signals();
  sigset_t before;
  sigprocmask(SIG_BLOCK, &signals, &before);
  // Where it is ignored, a child vanishes without its exit status, and without this signal.
  const sighandler_t before_for_children = signal(SIGCHLD, SIG_DFL);
  const auto restore = [&] {
    signal(SIGCHLD, before_for_children);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    prctl(PR_SET_CHILD_SUBREAPER, was_subreaper);
  };
  const char* const program = agent->c_str();
  const pid_t pid = fork();
  if (pid == 0) {
    // The agent ends what its ranks have started, which the kernel would leave; and a stopped agent
    // has to go on for that.
    prctl(PR_SET_PDEATHSIG, SIGCONT);
    if (getppid() != parent) {
      _exit(127);
    }
    setpgid(0, 0);
    fcntl(file->get(), F_SETFD, 0);
    execl(program, program, spec_option.c_str(), launcher_option.c_str(),
          static_cast<char*>(nullptr));
    const int error = errno;
    const ssize_t told = write(error_writer.get(), &error, sizeof(error));
    _exit(told == sizeof(error) ? 127 : 126);
  }
  int cause = pid < 0 ? errno : 0;
  error_writer.reset();
  if (pid > 0 && read(error_reader.get(), &cause, sizeof(cause)) == sizeof(cause)) {
    waitpid(pid, nullptr, 0);
  }
  if (cause != 0) {
    restore();
    return Status::from_errno(cause, "cannot start " + *agent);
  }
  const int status = wait_for_agent(pid, signals, spec.debug_rank.has_value());
  end_child_processes([&own_children](pid_t child) {
    return std::find(own_children.begin(), own_children.end(), child) != own_children.end();
  });
  restore();
  return status;
}

}  // namespace pinion
