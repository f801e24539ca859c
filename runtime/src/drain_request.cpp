#include "drain_request.hpp"

#include <signal.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include <pinion/runtime/launch.hpp>

namespace pinion {
namespace {

// An agent blocks the signal and reads it; any other process would be ended by it.
bool reads_drain_signal(std::int64_t process) {
  const std::string name = "SigBlk:";
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, name.size(), name) == 0) {
      const std::uint64_t blocked = std::strtoull(line.c_str() + name.size(), nullptr, 16);
      return (blocked >> (drain_signal() - 1) & 1U) != 0;
    }
  }
  return false;
}

}  // namespace

// A real-time signal: no two become one, and each carries a number.
int drain_signal() noexcept {
  return SIGRTMIN;
}

Status ask_to_drain(std::int64_t agent, std::uint32_t rank) {
  const std::string name = "process " + std::to_string(agent);
  if (!reads_drain_signal(agent)) {
    return Status(ErrorCode::kFailedPrecondition,
                  name +
                      " is no agent that takes requests to drain a rank; it may have ended, or "
                      "be of another version");
  }
  sigval number = {};
  number.sival_int = static_cast<int>(rank);
  if (::sigqueue(static_cast<pid_t>(agent), drain_signal(), number) != 0) {
    return Status::from_errno(errno, "asking " + name + " to drain a rank");
  }
  return {};
}

}  // namespace pinion
