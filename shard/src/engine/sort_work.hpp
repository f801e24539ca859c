#pragma once

#include <cstdint>

#include <pinion/core/blob_store.hpp>

#include "engine/sort_discard.hpp"
#include "engine/sort_key.hpp"
#include "engine/sort_ranges.hpp"

namespace pinion::engine {

/// What all states of a sort share. Constant while the step runs.
struct SortWork {
  IBlobStore& store;
  KeyReader keys;
  SortRanges ranges;
  std::uint64_t batch_bytes = 0;        ///< Most memory to take for a batch at once.
  std::uint64_t extent_bytes = 1;       ///< Memory for a group of ranges is taken in such pieces.
  std::uint64_t batch_shard_count = 1;  ///< Most shards in a batch.
  std::uint64_t seal_bytes = 0;         ///< Memory at which the engine seals a batch.
  /// A larger range is sorted from where its chunks lie; no cache would hold it.
  std::uint64_t collected_bytes_max = std::uint64_t{32} << 20;
  SortDiscard* discard = nullptr;  ///< Null: batches stay whole until the step is over.
};

}  // namespace pinion::engine
