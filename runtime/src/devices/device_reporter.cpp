#include "devices/device_reporter.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include <pinion/core/bytes.hpp>

namespace pinion {
namespace {

// Under an agent that starts this rank again the process ends; whatever it holds goes elsewhere.
void end_if_it_comes_back(AgentLink* agent_link, const DeviceInfo& device, const Status& error) {
  if (agent_link != nullptr && agent_link->ends_for({.uuid = device.uuid,
                                                     .name = device.name,
                                                     .number = device.place.index,
                                                     .error = error})) {
    std::_Exit(error_info(error.code()).exit_status);
  }
}

}  // namespace

void DeviceReporter::lost(const DeviceInfo& device, const Status& error) const {
  end_if_it_comes_back(agent_link, device, error);
  fmt::print(stderr, "pinion: rank {} goes on without device {} ({}), which has failed: {}\n", rank,
             device.place.index, device.name, error.to_string());
}

void DeviceReporter::hangs(const DeviceInfo& device, const Status& error) const {
  end_if_it_comes_back(agent_link, device, error);
  fmt::print(stderr, "pinion: rank {} gives up device {} ({}), which hangs: {}\n", rank,
             device.place.index, device.name, error.to_string());
}

void DeviceReporter::say_once(const std::string& message) const {
  if (agent_link != nullptr) {
    agent_link->say_once(message);
  } else if (!quiet) {
    fmt::print(stderr, "pinion: {}\n", message);
  }
}

void DeviceReporter::say_what_was_done(std::span<const DeviceAccount> accounts) const {
  if (quiet) {
    return;
  }
  for (const DeviceAccount& account : accounts) {
    fmt::print(
        stderr,
        "pinion: rank {}, device {} ({}): {} shards in {:.3f} s, {} to it, {} from it, {} of "
        "its memory at most{}\n",
        rank, account.info.place.index, account.info.name, account.shard_count,
        std::chrono::duration<double>(account.busy).count(), format_bytes(account.input_bytes),
        format_bytes(account.output_bytes), format_bytes(account.peak_bytes),
        account.cancelled_count == 0 ? std::string()
                                     : fmt::format("; {} more were taken back, as their step ended",
                                                   account.cancelled_count));
  }
}

}  // namespace pinion
