#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include <pinion/core/status.hpp>
#include <pinion/shard/input.hpp>

namespace pinion {

/// What one call of a decoder got done.
struct DecoderProgress {
  std::size_t consumed = 0;
  std::size_t produced = 0;
  bool is_at_end = false;  ///< Of a member or frame: the bytes may end here.
  ErrorCode code = ErrorCode::kOk;
  const char* reason = "";
};

/// Inflates bytes that come piece by piece: all members of gzip, all frames of zstd.
///
/// Thread safety: none.
class IDecoder {
 public:
  virtual ~IDecoder() = default;

  /// Reads from the begin of `in`, writes from the begin of `out` on.
  virtual DecoderProgress decode(std::span<const std::byte> in, std::span<std::byte> out) = 0;
};

/// Precondition: not kNone.
[[nodiscard]] std::unique_ptr<IDecoder> make_decoder(Compression compression);

}  // namespace pinion
