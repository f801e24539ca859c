#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/protocol/records.hpp>

#include "journal/journal_store.hpp"

namespace pinion {

/// Loads every blob that the records need by `load`, and leaves out what cannot be had without:
/// a partial or a partition that is damaged is made again, and so is a whole step whose plan is.
/// What was left out is added to the remarks, in words. Returns what is left, in order.
/// Errors: those of `load`; kDataLoss for a damaged result of a step that is done, and for damaged
///   input that cannot be read again.
[[nodiscard]] Result<std::vector<protocol::Record>> load_blobs(
    JournalContents& contents, const std::function<Status(const BlobHandle& handle, Place home,
                                                          std::span<const std::byte> bytes)>& load);

}  // namespace pinion
