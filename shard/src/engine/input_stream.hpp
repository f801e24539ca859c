#pragma once

#include <cstddef>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// Reads `descriptor` to its end into blobs of `block_bytes`, the last one smaller; none when the
/// stream is empty. The descriptor stays open.
/// Blocks: until the other side closes the stream.
/// Errors: kUnavailable when nothing is open there; those of read(2) and of the store. Everything
///   read so far is then lost.
[[nodiscard]] Result<std::vector<Blob>> read_stream(int descriptor, std::size_t block_bytes,
                                                    IBlobStore& store);

/// The same, inflated where the stream begins like one that is compressed.
/// Errors: beside those kDataLoss for a stream that is damaged or cut short, saying where; a zstd
///   window beyond 128 MiB is kResourceExhausted.
[[nodiscard]] Result<std::vector<Blob>> read_inflated_stream(int descriptor,
                                                             std::size_t block_bytes,
                                                             IBlobStore& store);

}  // namespace pinion
