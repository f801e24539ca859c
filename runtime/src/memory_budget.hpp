#pragma once

#include <cstddef>
#include <cstdint>

#include <pinion/core/memory_ledger.hpp>
#include <pinion/core/status.hpp>

#include "settings.hpp"

namespace pinion {

/// The budget of each of `rank_count` ranks of a host: what the settings say, or a share of half of
/// the memory that memory_limits() allows. The other half is for the page cache, and for what
/// nobody counts. Errors: those of memory_limits().
[[nodiscard]] Result<std::uint64_t> memory_budget_of(const Settings& settings,
                                                     std::size_t rank_count);

/// What the system could give to this process now: what memory_limits() says is available, or all
/// there can be where the system does not tell.
[[nodiscard]] std::uint64_t available_bytes();

/// The ledger of a rank. Three quarters of it may be blobs, so that steps can run whatever the
/// program keeps.
/// Errors: kResourceExhausted when a rank of so many workers cannot run with it, and what it needs.
[[nodiscard]] Result<MemoryLedger> make_ledger(std::uint64_t budget_bytes,
                                               std::size_t worker_count);

}  // namespace pinion
