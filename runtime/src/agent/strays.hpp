#pragma once

#include <sys/types.h>

#include <functional>
#include <vector>

namespace pinion {

/// The child processes of the calling thread.
[[nodiscard]] std::vector<pid_t> child_processes();

/// Whether the process is an agent, of this or another job, that a remote shell has started.
[[nodiscard]] bool is_agent_of_other_host(pid_t pid);

/// Kills and reaps all children of the calling thread but those that are `spared`, and, where it is
/// a subreaper, what these leave it in turn. Bounded: processes that go on forking faster than they
/// are killed are given up on. Blocks: until they are gone, about a second at most.
void end_child_processes(const std::function<bool(pid_t)>& spared);

}  // namespace pinion
