#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>

namespace pinion {

/// A process that another launcher than ours has started, as it tells the others of its job.
struct LaunchedProcess {
  /// Equal for those that can have one agent: of one machine, where they see each other's
  /// processes and sockets, and of one PINION_HOST_ID where that divides the machine further.
  std::string host = {};
  std::string host_name = {};  ///< For people.
  pid_t pid = 0;
  pid_t launcher = 0;               ///< The launcher's process on this host; 0: not known.
  std::vector<unsigned> cpus = {};  ///< That it may run on, ascending.

  friend bool operator==(const LaunchedProcess&, const LaunchedProcess&) = default;
};

/// Whether a launcher that speaks PMIx has started this process, or what started it, and that was
/// no rank of a job of the same launch.
[[nodiscard]] bool is_launched_by_other();

/// What to tell a user whose launcher has started several processes, and speaks no PMIx, so that
/// each of them is a job of its own; empty in all of them but the first, and elsewhere.
[[nodiscard]] std::string warning_of_lone_processes();

[[nodiscard]] LaunchedProcess describe_this_process();

[[nodiscard]] std::string encode_launched_process(const LaunchedProcess& process);
/// Errors: kInvalidArgument for what is none.
[[nodiscard]] Result<LaunchedProcess> decode_launched_process(std::string_view text);

}  // namespace pinion
