#include "agent/rank_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <span>
#include <sstream>

#include "agent/affinity_mask.hpp"
#include "settings.hpp"

namespace pinion {
namespace {

std::vector<std::string> environment_of(const RankStart& start, int socket) {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    entries.emplace_back(*entry);
  }
  const auto remove = [&entries](const std::string& name) {
    std::erase_if(entries, [&name](const std::string& e) { return e.starts_with(name + "="); });
  };
  const auto set = [&](const std::string& name, const std::string& value) {
    remove(name);
    entries.push_back(name + "=" + value);
  };
  for (const std::string& name : start.absent_variables) {
    remove(name);
  }
  for (const auto& [name, value] : start.environment) {
    set(name, value);
  }
  set("PINION_AGENT_FD", std::to_string(socket));
  return entries;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) {
    pointers.push_back(text.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

// A search along PATH fails with "permission denied" as soon as one folder may not be looked into,
// whether or not the program is anywhere.
int cause_of_exec_failure(const std::string& program, int error) {
  const std::string path = environment_value("PATH");
  if (error != EACCES || program.find('/') != std::string::npos) {
    return error;
  }
  std::istringstream folders(path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access(((folder.empty() ? "." : folder) + "/" + program).c_str(), F_OK) == 0) {
      return error;
    }
  }
  return ENOENT;
}

// Everything the child needs, made before the fork: between fork and exec nothing may allocate.
struct ChildPlan {
  pid_t parent;
  pid_t process_group;
  int socket;
  int error_pipe;
  int input;  // -1: /dev/null.
  int output;
  int errors;
  std::span<const cpu_set_t> cpus;  // One mask, however long; empty: not bound.
  rlimit open_files;
  char** arguments;
  char** environment;
};

// `source` is none of the standard descriptors, or is `target`, so the order does not matter.
void make_standard(int source, int target) {
  if (source != target) {
    dup2(source, target);
  }
}

[[noreturn]] void run_child(const ChildPlan& plan) {
  // The kernel ends us when the thread that started us ends, which is the agent's first; the check
  // closes the gap before the call.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != plan.parent) {
    _exit(127);
  }
  setpgid(0, plan.process_group);
  signal(SIGPIPE, SIG_DFL);  // The agent ignores both, and exec would hand that on.
  signal(SIGXFSZ, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = plan.input >= 0 ? -1 : open("/dev/null", O_RDONLY);
  make_standard(plan.input >= 0 ? plan.input : null, STDIN_FILENO);
  if (null > STDIN_FILENO) {
    close(null);
  }
  make_standard(plan.output, STDOUT_FILENO);
  make_standard(plan.errors, STDERR_FILENO);
  if (!plan.cpus.empty()) {
    // A CPU that has gone offline since is reported by the executor, with words.
    sched_setaffinity(0, plan.cpus.size_bytes(), plan.cpus.data());
  }
  setrlimit(RLIMIT_NOFILE, &plan.open_files);
  fcntl(plan.socket, F_SETFD, 0);
  execvpe(plan.arguments[0], plan.arguments, plan.environment);
  const int error = errno;
  const ssize_t told = write(plan.error_pipe, &error, sizeof(error));
  _exit(told == sizeof(error) ? 127 : 126);
}

}  // namespace

Result<RankProcess> start_rank(const RankStart& start) {
  Result<std::pair<Channel, Channel>> sockets = Channel::create_pair();
  if (!sockets) {
    return std::move(sockets).error();
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Status::from_errno(errno, "cannot make a pipe");
  }
  const UniqueFd error_reader(ends[0]);
  UniqueFd error_writer(ends[1]);
  std::vector<std::string> command = start.command;
  std::vector<std::string> environment = environment_of(start, sockets->second.descriptor());
  std::vector<char*> arguments = pointers_to(command);
  std::vector<char*> variables = pointers_to(environment);
  const std::vector<cpu_set_t> cpus = affinity_mask(start.cpus);
  ChildPlan plan{.parent = getpid(),
                 .process_group = start.process_group,
                 .socket = sockets->second.descriptor(),
                 .error_pipe = error_writer.get(),
                 .input = start.input,
                 .output = start.output,
                 .errors = start.errors,
                 .cpus = cpus,
                 .open_files = {},
                 .arguments = arguments.data(),
                 .environment = variables.data()};
  getrlimit(RLIMIT_NOFILE, &plan.open_files);
  plan.open_files.rlim_cur = std::min(start.open_file_limit, plan.open_files.rlim_max);
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
    const std::string& program = start.command.front();
    return Status::from_errno(cause_of_exec_failure(program, error), "cannot start " + program);
  }
  UniqueFd watch(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!watch.valid()) {
    const int cause = errno;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return Status::from_errno(cause, "cannot watch a process");
  }
  return RankProcess{pid, std::move(watch), std::move(sockets->first)};
}

bool has_ended(const RankProcess& process) noexcept {
  pollfd watched{process.watch.get(), POLLIN, 0};
  return poll(&watched, 1, 0) == 1;
}

std::string describe_wait_status(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    return "killed by signal " + std::to_string(signal) + " (" + strsignal(signal) + ")";
  }
  return "exit status " + std::to_string(WEXITSTATUS(wait_status));
}

}  // namespace pinion
