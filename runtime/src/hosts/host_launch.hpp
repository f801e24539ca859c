#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>

namespace pinion {

/// What an agent that a remote shell has started on another host is told, over its standard input,
/// which then stays open for as long as the agent lives that has started it.
struct HostLaunch {
  LaunchSpec spec = {};  ///< Of the whole job.
  std::uint32_t host = 0;
  std::uint64_t job = 0;
  std::uint32_t epoch = 1;
  std::string token = {};
  std::string head_address = {};
  std::string remote_shell = {};              ///< By which it starts the agents of more hosts,
  std::uint32_t start_width = 1;              ///< so many of them at most; greater than 0.
  std::string start_directory = {};           ///< Where the job was started.
  std::vector<std::string> environment = {};  ///< NAME=VALUE: that of the job.
};

/// With its length in front, so that its end is known while the input stays open.
[[nodiscard]] std::string encode_host_launch(const HostLaunch& launch);

/// The description without its length.
/// Errors: kFailedPrecondition for another version of Pinion; kInvalidArgument for what is none.
[[nodiscard]] Result<HostLaunch> decode_host_launch(std::string_view text);

/// What encode_host_launch() has made, from a pipe. Blocks: until it is there.
/// Errors: those of decoding; kDataLoss when it is cut off.
[[nodiscard]] Result<HostLaunch> read_host_launch(int descriptor);

/// Makes the environment of this process that of the job. What tells of the way to this host
/// (SSH_...) and its name (HOSTNAME, SLURMD_NODENAME) stay its own.
void take_environment(const std::vector<std::string>& environment);

/// The environment of this process, for other hosts.
[[nodiscard]] std::vector<std::string> environment_to_give();

}  // namespace pinion
