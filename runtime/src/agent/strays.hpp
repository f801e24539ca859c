#pragma once

#include <sys/types.h>

#include <span>
#include <vector>

namespace pinion {

/// The child processes of the calling thread.
[[nodiscard]] std::vector<pid_t> child_processes();

/// Kills and reaps all children of the calling thread but those of `except`, and, where it is a
/// subreaper, what these leave it in turn. Bounded: processes that go on forking faster than they
/// are killed are given up on. Blocks: until they are gone, about a second at most.
void end_child_processes(std::span<const pid_t> except = {});

}  // namespace pinion
