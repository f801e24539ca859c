#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <pinion/core/device.hpp>
#include <pinion/core/status.hpp>

#include "agent_link.hpp"
#include "devices/rank_devices.hpp"

namespace pinion {

/// Says to the agent of a rank, and to people, what becomes of its devices. A plain value. Borrows
/// the link, which is null in a job of one process.
///
/// Thread safety: all members may be called from any thread.
struct DeviceReporter {
  AgentLink* agent_link = nullptr;
  std::uint32_t rank = 0;
  bool quiet = false;

  /// Of a device that does nothing any more. Returns where this process goes on without it; a rank
  /// that is to be started again ends here, with the status of the error, so that the next one has
  /// a device that works. Blocks: for the agent's answer.
  void lost(const DeviceInfo& device, const Status& error) const;

  /// Of one that is about to be given up, which this process may not outlive. As lost().
  void hangs(const DeviceInfo& device, const Status& error) const;

  /// What is true for all ranks of the host, or was found for this one.
  void say_once(const std::string& message) const;

  /// The summary of what the devices have done.
  void say_what_was_done(std::span<const DeviceAccount> accounts) const;
};

}  // namespace pinion
