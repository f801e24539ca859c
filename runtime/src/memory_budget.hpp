#pragma once

#include <cstddef>
#include <cstdint>

#include <pinion/core/memory_ledger.hpp>
#include <pinion/core/status.hpp>

#include "settings.hpp"

namespace pinion {

/// The memory that this process may use together with whatever shares its limits: the smallest of
/// the machine's and the limits of every cgroup (version 1 and 2) around the process.
[[nodiscard]] std::uint64_t usable_memory_bytes();

/// The budget of each of `rank_count` ranks of a host: what the settings say, or a share of half of
/// the usable memory. The other half is for the page cache, and for what nobody counts.
[[nodiscard]] std::uint64_t memory_budget_of(const Settings& settings, std::size_t rank_count);

/// The ledger of a rank. Three quarters of it may be blobs, so that steps can run whatever the
/// program keeps.
/// Errors: kResourceExhausted when a rank of so many workers cannot run with it, and what it needs.
[[nodiscard]] Result<MemoryLedger> make_ledger(std::uint64_t budget_bytes,
                                               std::size_t worker_count);

}  // namespace pinion
