#pragma once

#include "bed.hpp"

namespace pinion::bench {

/// A group-by of the workers of this machine, 16 at most, of the device, and of both, who divide
/// the shards by DevicePolicy as a step does. Prints a row for each. In real time only.
void group_by_rows(Bed& bed, const Options& options);

}  // namespace pinion::bench
