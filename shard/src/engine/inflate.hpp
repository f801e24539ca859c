#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include <pinion/core/status.hpp>
#include <pinion/shard/input.hpp>

#include "engine/input_file.hpp"
#include "engine/shard_text.hpp"

namespace pinion {

/// "gzip", "zstd"; empty for none.
[[nodiscard]] std::string_view name_of(Compression compression) noexcept;

/// How many bytes compression_of() wants to see.
inline constexpr std::size_t kMagicBytes = 4;

/// How a file is compressed that begins with these bytes; kNone when they are fewer than
/// kMagicBytes.
[[nodiscard]] Compression compression_of(std::span<const std::byte> begin) noexcept;

/// Appends to `text` what the compressed file of `source` holds: all members of a gzip file, all
/// frames of a zstd file.
/// Blocks: for the file system.
/// Errors: kDataLoss for a file that is damaged or cut short, naming it and where; what is more
///   than `text` takes, and a zstd window beyond 128 MiB, is kResourceExhausted; those of
///   InputFile::read.
[[nodiscard]] Status inflate(const InputFile& file, const InputSource& source, ShardText& text);

}  // namespace pinion
