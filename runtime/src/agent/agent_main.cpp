// The body of the program pinion-agent.

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>
#include <pinion/runtime/version.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "agent/agent.hpp"
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

int fail(const Status& error) {
  std::fprintf(stderr, "pinion: %s\n", error.to_string().c_str());
  return error_info(error.code()).exit_status;
}

}  // namespace

int run_agent(int argc, char** argv) {
  constexpr std::string_view kOption = "--spec-fd=";
  const std::string_view argument = argc == 2 ? argv[1] : "";
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
  int descriptor = -1;
  if (argument.starts_with(kOption)) {
    const char* const end = argument.data() + argument.size();
    if (std::from_chars(argument.data() + kOption.size(), end, descriptor).ptr != end) {
      descriptor = -1;
    }
  }
  if (descriptor < 0) {
    return fail(Status(ErrorCode::kInvalidArgument,
                       "pinion-agent is started by `pinion run`, not by hand"));
  }
  const Result<LaunchSpec> spec = read_spec(descriptor);
  if (!spec) {
    return fail(spec.error());
  }
  Result<std::unique_ptr<Agent>> agent = Agent::create(*spec);
  if (!agent) {
    return fail(agent.error());
  }
  return (*agent)->run();
}

}  // namespace pinion
