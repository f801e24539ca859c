// The body of the program pinion-agent.

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>
#include <pinion/runtime/version.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "agent/agent.hpp"
#include "hosts/host_launch.hpp"
#include "hosts/remote_shell.hpp"
#include "launch/launched_job.hpp"
#include "launch/start_agent.hpp"
#include "launch_spec.hpp"

namespace pinion {
namespace {

constexpr std::string_view kLaunchedOption = "--launched=";

Result<LaunchSpec> read_spec(int descriptor) {
  const UniqueFd file(descriptor);
  const Result<std::string> text = read_description(file.get());
  return text ? decode_launch_spec(*text) : Result<LaunchSpec>(text.error());
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

// On another host: by a remote shell, whose input says what to do and then lives as long as whoever
// has started it.
int run_on_host() {
  // A remote shell that has become this process was to end with the agent that has started it.
  prctl(PR_SET_PDEATHSIG, 0);
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

// Started by the first of the ranks that another launcher has put on this host; what comes of it is
// told to that rank, once.
int run_launched(int description, int report) {
  open_standard_descriptors();
  UniqueFd report_pipe(report);
  fcntl(report_pipe.get(), F_SETFD, FD_CLOEXEC);
  const auto tell = [&report_pipe](const AgentReport& what) {
    const std::string text = encode_agent_report(what);
    const bool told =
        write(report_pipe.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
    report_pipe.reset();
    return told;
  };
  const UniqueFd file(description);
  const Result<std::string> text = read_description(file.get());
  const Result<LaunchedHost> host =
      text ? decode_launched_host(*text) : Result<LaunchedHost>(text.error());
  Result<std::unique_ptr<Agent>> agent =
      host ? Agent::create_launched(*host) : Result<std::unique_ptr<Agent>>(host.error());
  if (!agent) {
    static_cast<void>(tell({.outcome = agent.error()}));
    return error_info(agent.error().code()).exit_status;
  }
  // Nobody waits for what the ranks do not know of.
  return tell((*agent)->report()) ? (*agent)->run()
                                  : error_info(ErrorCode::kUnavailable).exit_status;
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
        "pinion-agent is started by `pinion run`, or by a program that mpirun or srun has\n"
        "started, one for each host of a job; see `pinion run --help`.");
    return 0;
  }
  if (argument == kHostOfJobOption) {
    return run_on_host();
  }
  if (const std::size_t comma = argument.find(','); argument.starts_with(kLaunchedOption)) {
    const int description = number_behind(kLaunchedOption, argument.substr(0, comma));
    const int report = comma < argument.size() ? number_behind("", argument.substr(comma + 1)) : -1;
    if (description >= 0 && report >= 0) {
      return run_launched(description, report);
    }
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
