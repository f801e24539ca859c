#include "launch/start_agent.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include <fmt/format.h>

#include <pinion/shm/channel.hpp>

#include "launch/find_agent.hpp"

namespace pinion {
namespace {

struct ChildPlan {
  const char* program;
  const char* option;
  int description;
  int report;
};

// Between fork and exec; other threads of the program may be there.
[[noreturn]] void run_child(const ChildPlan& plan) {
  if (const pid_t agent = fork(); agent != 0) {
    _exit(agent > 0 ? 0 : 1);
  }
  setsid();  // What the launcher tells the ranks it tells them, and they us.
  const int null = open("/dev/null", O_RDWR);
  dup2(null, STDIN_FILENO);
  dup2(null, STDOUT_FILENO);
  syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  fcntl(plan.description, F_SETFD, 0);
  fcntl(plan.report, F_SETFD, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execl(plan.program, plan.program, plan.option, static_cast<char*>(nullptr));
  const int error = errno;
  const ssize_t told = write(plan.report, &error, sizeof(error));
  _exit(told == sizeof(error) ? 127 : 126);
}

std::string read_to_end(int descriptor) {
  std::string text;
  char block[4096];
  while (true) {
    const ssize_t count = read(descriptor, block, sizeof(block));
    if (count > 0) {
      text.append(block, static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      return text;
    }
  }
}

sockaddr_un address_of(const std::string& name, socklen_t& size) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // A name that begins with a zero is in no file system.
  const std::size_t count = std::min(name.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), count);
  size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + count);
  return address;
}

}  // namespace

Result<AgentReport> start_agent(const LaunchedHost& host) {
  const Result<std::string> program = find_agent();
  if (!program) {
    return program.error();
  }
  const UniqueFd description(memfd_create("pinion-launched", MFD_CLOEXEC));
  const std::string text = encode_launched_host(host);
  int ends[2];
  if (!description.valid() ||
      write(description.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      pipe2(ends, O_CLOEXEC) != 0) {
    return Status::from_errno(errno, "cannot hand the description of the job to its agent");
  }
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const std::string option = fmt::format("--launched={},{}", description.get(), writer.get());
  const ChildPlan plan{.program = program->c_str(),
                       .option = option.c_str(),
                       .description = description.get(),
                       .report = writer.get()};
  const pid_t pid = fork();
  if (pid == 0) {
    run_child(plan);
  }
  if (pid < 0) {
    return Status::from_errno(errno, "cannot start a process");
  }
  writer.reset();
  waitpid(pid, nullptr, 0);
  const std::string answer = read_to_end(reader.get());
  if (int cause = 0; answer.size() == sizeof(cause)) {
    std::memcpy(&cause, answer.data(), sizeof(cause));
    return Status::from_errno(cause, "cannot start " + *program);
  }
  if (answer.empty()) {
    return Status(ErrorCode::kUnavailable,
                  *program + " has ended before it was ready; it must be of Pinion's version");
  }
  return decode_agent_report(answer);
}

Result<UniqueFd> connect_to_agent(const std::string& socket) {
  UniqueFd descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  socklen_t size = 0;
  const sockaddr_un address = address_of(socket, size);
  if (!descriptor.valid() ||
      connect(descriptor.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    return Status::from_errno(errno, "cannot reach the agent of this host");
  }
  ucred peer{};
  socklen_t peer_size = sizeof(peer);
  if (getsockopt(descriptor.get(), SOL_SOCKET, SO_PEERCRED, &peer, &peer_size) != 0 ||
      peer.uid != geteuid()) {
    return Status(ErrorCode::kPermissionDenied,
                  "a process of another user answers in the place of the agent of this host");
  }
  return descriptor;
}

Result<ListeningSocket> listen_for_ranks() {
  std::random_device device;
  ListeningSocket listening{
      .descriptor = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
      .name =
          fmt::format("pinion-{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device())};
  socklen_t size = 0;
  const sockaddr_un address = address_of(listening.name, size);
  if (!listening.descriptor.valid() ||
      bind(listening.descriptor.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      listen(listening.descriptor.get(), SOMAXCONN) != 0) {
    return Status::from_errno(errno, "cannot make the socket that ranks connect to");
  }
  return listening;
}

Result<std::string> read_description(int descriptor) {
  struct stat facts {};
  if (fstat(descriptor, &facts) != 0) {
    return Status::from_errno(errno, "cannot read the launch description");
  }
  std::string text(static_cast<std::size_t>(facts.st_size), '\0');
  if (pread(descriptor, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return Status(ErrorCode::kDataLoss, "the launch description is shorter than it should be");
  }
  return text;
}

}  // namespace pinion
