#pragma once

#include <optional>

#include "bed.hpp"

namespace pinion::bench {

/// What a fault of the device amid copies costs, in seconds.
struct FaultCost {
  double lost = 0.0;     ///< Of the whole time, against a run without it.
  double batch = 0.0;    ///< What a batch of shards takes.
  double restart = 0.0;  ///< From the begin of a process to its first shard.
};

/// Sums shards in a process of its own, batch by batch; what is summed up is safe in memory that
/// the processes share. The device of the first one fails half way: as a rank would, it ends, and
/// another one goes on. Empty where there is no device. Precondition: this process has no thread
/// and has not opened a device.
[[nodiscard]] std::optional<FaultCost> measure_fault(const Options& options);

/// Prints the row.
void fault_row(const std::optional<FaultCost>& cost, const Options& options);

}  // namespace pinion::bench
