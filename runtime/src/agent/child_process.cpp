#include "agent/child_process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <sstream>
#include <utility>

#include "settings.hpp"

namespace pinion {
namespace {

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
  const ChildStart& start;
  pid_t parent;
  int error_pipe;
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
  const ChildStart& start = plan.start;
  // The kernel signals us when the thread that started us ends; the check closes the gap before the
  // call.
  prctl(PR_SET_PDEATHSIG, start.death_signal);
  if (getppid() != plan.parent) {
    _exit(127);
  }
  setpgid(0, start.process_group);
  signal(SIGPIPE, SIG_DFL);  // The agent ignores both, and exec would hand that on.
  signal(SIGXFSZ, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = start.input >= 0 ? -1 : open("/dev/null", O_RDONLY);
  make_standard(start.input >= 0 ? start.input : null, STDIN_FILENO);
  if (null > STDIN_FILENO) {
    close(null);
  }
  make_standard(start.output, STDOUT_FILENO);
  make_standard(start.errors, STDERR_FILENO);
  if (!start.cpus.empty()) {
    // A CPU that has gone offline since is reported by the executor, with words.
    sched_setaffinity(0, start.cpus.size_bytes(), start.cpus.data());
  }
  if (start.open_file_limit) {
    setrlimit(RLIMIT_NOFILE, &*start.open_file_limit);
  }
  if (start.closes_others) {
    syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  }
  if (start.kept_descriptor >= 0) {
    fcntl(start.kept_descriptor, F_SETFD, 0);
  }
  execvpe(plan.arguments[0], plan.arguments, plan.environment);
  const int error = errno;
  const ssize_t told = write(plan.error_pipe, &error, sizeof(error));
  _exit(told == sizeof(error) ? 127 : 126);
}

}  // namespace

Result<ChildProcess> start_child(const ChildStart& start) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Status::from_errno(errno, "cannot make a pipe");
  }
  const UniqueFd error_reader(ends[0]);
  UniqueFd error_writer(ends[1]);
  std::vector<std::string> command = start.command;
  std::vector<std::string> environment = start.environment;
  std::vector<char*> arguments = pointers_to(command);
  std::vector<char*> variables = pointers_to(environment);
  const ChildPlan plan{.start = start,
                       .parent = getpid(),
                       .error_pipe = error_writer.get(),
                       .arguments = arguments.data(),
                       .environment = variables.data()};
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
    return Status::from_errno(cause_of_exec_failure(start.command.front(), error),
                              "cannot start " + start.name);
  }
  UniqueFd watch(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!watch.valid()) {
    const int cause = errno;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return Status::from_errno(cause, "cannot watch a process");
  }
  return ChildProcess{pid, std::move(watch)};
}

std::vector<std::string> own_environment() {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    entries.emplace_back(*entry);
  }
  return entries;
}

}  // namespace pinion
