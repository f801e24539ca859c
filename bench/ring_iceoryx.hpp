#pragma once

#include <optional>

#include "ring_contender.hpp"

namespace pinion {

/// A publisher and a subscriber of iceoryx in each of the two processes, beside iceoryx's daemon,
/// which becomes a child of this process: to be called while this process has one thread, and no
/// descriptor that must not outlive it. The daemon ends, and removes all that iceoryx leaves in
/// files, when the contender is destroyed in the process that made it, or both processes are dead;
/// the process that made it has to end by _Exit(), as iceoryx's runtime would look for the daemon.
/// Nothing where no daemon starts, as where the host has one; it says so.
std::optional<Contender> iceoryx_publisher();

}  // namespace pinion
