#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include <pinion/core/status.hpp>

#include "engine/decoder.hpp"

namespace pinion {

/// Whom the words of errors are about.
struct InflatedSource {
  std::string name;  ///< "gzip input file 'a.gz'".
  std::string size;  ///< " of 300" where it is known.
};

[[nodiscard]] inline Status damaged(const InflatedSource& source, std::uint64_t offset,
                                    const DecoderProgress& progress) {
  const std::string at = " at byte " + std::to_string(offset) + source.size;
  if (progress.code == ErrorCode::kResourceExhausted) {
    return {progress.code, source.name + " cannot be inflated" + at + ": " + progress.reason};
  }
  return {ErrorCode::kDataLoss, source.name + " is damaged" + at + ": " + progress.reason +
                                    "; make it again from what it was made of"};
}

[[nodiscard]] inline Status cut_short(const InflatedSource& source, std::uint64_t offset,
                                      std::uint64_t inflated_bytes) {
  return {ErrorCode::kDataLoss, source.name + " is cut short: it ends at byte " +
                                    std::to_string(offset) + ", after " +
                                    std::to_string(inflated_bytes) +
                                    " inflated bytes, where more must follow; copy it again"};
}

/// Inflates all of `in` into `out`. An In gives bytes, block after block: left(), consume(),
/// next(), offset(), and is_at_end() once nothing is left and nothing follows. An Out takes them:
/// make_room() before each piece, room(), which is empty once it is full for good, add(), and
/// too_large(). Blocks: for both. Errors: kDataLoss for what is damaged or cut short, saying where;
/// kResourceExhausted for a zstd
///   window beyond 128 MiB and what is too large; those of `in` and `out`.
template <class In, class Out>
[[nodiscard]] Status inflate_all(const InflatedSource& source, IDecoder& decoder, In& in,
                                 Out& out) {
  std::uint64_t inflated_bytes = 0;
  bool has_more = true;
  bool is_complete = false;
  while (true) {
    if (in.left().empty() && !in.is_at_end()) {
      PINION_RETURN_IF_ERROR(in.next());
    }
    if (!has_more && in.is_at_end()) {
      return is_complete ? Status() : cut_short(source, in.offset(), inflated_bytes);
    }
    PINION_RETURN_IF_ERROR(out.make_room());
    // Whether a text of just the most has ended shows only when one more byte is asked for.
    std::byte beyond = {};
    const bool is_full = out.room().empty();
    const std::span<std::byte> room = is_full ? std::span(&beyond, 1) : out.room();
    const DecoderProgress progress = decoder.decode(in.left(), room);
    in.consume(progress.consumed);
    if (progress.code != ErrorCode::kOk) {
      return damaged(source, in.offset(), progress);
    }
    if (is_full && progress.produced > 0) {
      return out.too_large();
    }
    if (!is_full) {
      out.add(progress.produced);
    }
    inflated_bytes += progress.produced;
    is_complete = progress.is_at_end;
    // A full window may hide what the decoder still holds.
    has_more = !is_complete && progress.produced == room.size();
    if (progress.consumed == 0 && progress.produced == 0 && !in.left().empty()) {
      return damaged(source, in.offset(), {.reason = "it does not go on"});
    }
  }
}

}  // namespace pinion
