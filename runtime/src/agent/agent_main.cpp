// The body of the program pinion-agent.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>
#include <pinion/runtime/version.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "agent/agent.hpp"
#include "hosts/host_launch.hpp"
#include "launch_spec.hpp"

namespace pinion {
namespace {

Result<LaunchSpec> read_spec(int descriptor) {
  const UniqueFd file(descriptor);
  struct stat facts {};
  if (fstat(file.get(), &facts) != 0) {
    return Status::from_errno(errno, "cannot read the launch description");
  }
  std::string text(static_cast<std::size_t>(facts.st_size), '\0');
  if (pread(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return Status(ErrorCode::kDataLoss, "the launch description is shorter than it should be");
  }
  return decode_launch_spec(text);
}

// Pipes to ranks must not take the place of a standard descriptor that whoever started us has
// closed.
void open_standard_descriptors() {
  int descriptor = open("/dev/null", O_RDWR | O_CLOEXEC);
  while (descriptor >= 0 && descriptor <= STDERR_FILENO) {
    descriptor = open("/dev/null", O_RDWR | O_CLOEXEC);
  }
  if (descriptor > STDERR_FILENO) {
    close(descriptor);
  }
}

// The number in "OPTION=NUMBER"; -1 for any other argument.
int number_behind(std::string_view option, std::string_view argument) {
  int number = -1;
  if (!argument.starts_with(option)) {
    return -1;
  }
  const char* const end = argument.data() + argument.size();
  return std::from_chars(argument.data() + option.size(), end, number).ptr == end ? number : -1;
}

int fail(const Status& error) {
  std::fprintf(stderr, "pinion: %s\n", error.to_string().c_str());
  return error_info(error.code()).exit_status;
}

// On another host: by a remote shell, whose input says what to do and then lives as long as the
// head.
int run_on_host() {
  open_standard_descriptors();
  const Result<HostLaunch> launch = read_host_launch(STDIN_FILENO);
  if (!launch) {
    return fail(launch.error());
  }
  take_environment(launch->environment);
  UniqueFd lifeline(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!lifeline.valid()) {
    return fail(Status::from_errno(errno, "cannot watch standard input"));
  }
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(null, STDIN_FILENO);
  close(null);
  fcntl(lifeline.get(), F_SETFL, fcntl(lifeline.get(), F_GETFL) | O_NONBLOCK);
  Result<std::unique_ptr<Agent>> agent = Agent::create_on_host(*launch, std::move(lifeline));
  if (!agent) {
    return fail(std::move(agent).error().with_context(launch->spec.hosts[launch->host].name));
  }
  return (*agent)->run();
}

}  // namespace

int run_agent(int argc, char** argv) {
  const std::string_view argument = argc >= 2 ? argv[1] : "";
  if (argument == "--version") {
    std::printf("pinion-agent %s\n", std::string(version()).c_str());
    return 0;
  }
  if (argument == "--help") {
    std::puts(
        "pinion-agent is started by `pinion run`, one for each host of a job; see\n"
        "`pinion run --help`.");
    return 0;
  }
  if (argument == "--host-of-job") {
    return run_on_host();
  }
  const int descriptor = number_behind("--spec-fd=", argument);
  const int launcher = argc == 3 ? number_behind("--launcher=", argv[2]) : getppid();
  if (descriptor < 0 || launcher < 0) {
    return fail(Status(ErrorCode::kInvalidArgument,
                       "pinion-agent is started by `pinion run`, not by hand"));
  }
  open_standard_descriptors();
  const Result<LaunchSpec> spec = read_spec(descriptor);
  if (!spec) {
    return fail(spec.error());
  }
  Result<std::unique_ptr<Agent>> agent = Agent::create(*spec, launcher);
  if (!agent) {
    return fail(agent.error());
  }
  return (*agent)->run();
}

}  // namespace pinion
