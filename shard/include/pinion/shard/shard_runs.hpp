#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

// Records as shards emitted them: the sealed form of collect(). One partition holds a header, a
// table of runs by ascending shard id, and the runs, each at a multiple of 64 bytes. Runs of text
// begin with the ends of their records, counted from where the bytes of the run begin.

namespace pinion {

/// The records that one shard emitted.
struct ShardRun {
  std::uint64_t shard = 0;
  std::uint64_t record_count = 0;
  std::span<const std::uint64_t> ends = {};  ///< Of records of text; empty for fixed width.
  std::span<const std::byte> bytes = {};
};

/// Bytes of a record; 0 for text.
using RecordWidth = std::uint32_t;

/// The runs of a partition, checked. They borrow its bytes.
/// Errors: kDataLoss for bytes that seal_shard_runs() did not write, or for records of another
///   width.
[[nodiscard]] Result<std::vector<ShardRun>> open_shard_runs(std::span<const std::byte> partition,
                                                            RecordWidth width);

/// Sorts `runs` by shard.
/// Errors: kDataLoss when a shard is there twice: then something was counted twice.
[[nodiscard]] Status sort_shard_runs(std::vector<ShardRun>& runs);

/// Seals runs, the run of shard i in partition i % partition_count. Copies their bytes.
/// Precondition: `runs` ascend by shard.
/// Errors: those of the store.
[[nodiscard]] Result<Blob> seal_shard_runs(IBlobStore& store, Place place,
                                           std::uint32_t partition_count, RecordWidth width,
                                           std::span<const ShardRun> runs);

}  // namespace pinion
