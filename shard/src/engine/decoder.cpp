#include "engine/decoder.hpp"

#include <algorithm>

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <pinion/core/assert.hpp>

namespace pinion {
namespace {

// RFC 1952: members, one after the other; zeros behind the last one are padding, as on tapes.
class GzipDecoder final : public IDecoder {
 public:
  // 16 asks for gzip's header and trailer, 15 is the largest window.
  GzipDecoder() : is_ready_(::inflateInit2(&stream_, 16 + 15) == Z_OK) {}
  ~GzipDecoder() override {
    if (is_ready_) {
      ::inflateEnd(&stream_);
    }
  }
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;

  DecoderProgress decode(std::span<const std::byte> in, std::span<std::byte> out) override {
    if (!is_ready_) {
      return {.code = ErrorCode::kResourceExhausted, .reason = "no memory to inflate it"};
    }
    if (is_at_end_ && !in.empty()) {
      if (is_padding_ || in.front() == std::byte{0}) {
        is_padding_ = true;
        return skip_padding(in);
      }
      ::inflateReset(&stream_);
      is_at_end_ = false;
    }
    // zlib does not write where it reads; its interface is older than const.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
    stream_.avail_in = static_cast<uInt>(std::min<std::size_t>(in.size(), 1u << 30));
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(out.size(), 1u << 30));
    const uInt in_bytes = stream_.avail_in;
    const uInt out_bytes = stream_.avail_out;
    const int answer = ::inflate(&stream_, Z_NO_FLUSH);
    DecoderProgress progress = {.consumed = in_bytes - stream_.avail_in,
                                .produced = out_bytes - stream_.avail_out};
    is_at_end_ = answer == Z_STREAM_END;
    progress.is_at_end = is_at_end_;
    if (answer == Z_MEM_ERROR) {
      progress.code = ErrorCode::kResourceExhausted;
      progress.reason = "no memory to inflate it";
    } else if (answer != Z_OK && answer != Z_STREAM_END && answer != Z_BUF_ERROR) {
      progress.code = ErrorCode::kDataLoss;
      progress.reason = stream_.msg != nullptr ? stream_.msg : "it does not decode";
    }
    return progress;
  }

 private:
  static DecoderProgress skip_padding(std::span<const std::byte> in) {
    const auto other =
        std::find_if(in.begin(), in.end(), [](std::byte byte) { return byte != std::byte{0}; });
    DecoderProgress progress = {.consumed = static_cast<std::size_t>(other - in.begin()),
                                .is_at_end = true};
    if (other != in.end()) {
      progress.code = ErrorCode::kDataLoss;
      progress.reason = "what follows the last member is not gzip";
    }
    return progress;
  }

  z_stream stream_ = {};
  bool is_ready_;
  bool is_at_end_ = false;
  bool is_padding_ = false;
};

// RFC 8878: frames, one after the other, skippable ones among them.
class ZstdDecoder final : public IDecoder {
 public:
  ZstdDecoder() : context_(::ZSTD_createDCtx()) {}
  ~ZstdDecoder() override { ::ZSTD_freeDCtx(context_); }
  ZstdDecoder(const ZstdDecoder&) = delete;
  ZstdDecoder& operator=(const ZstdDecoder&) = delete;

  DecoderProgress decode(std::span<const std::byte> in, std::span<std::byte> out) override {
    if (context_ == nullptr) {
      return {.code = ErrorCode::kResourceExhausted, .reason = "no memory to inflate it"};
    }
    ZSTD_inBuffer from = {.src = in.data(), .size = in.size(), .pos = 0};
    ZSTD_outBuffer to = {.dst = out.data(), .size = out.size(), .pos = 0};
    const std::size_t answer = ::ZSTD_decompressStream(context_, &to, &from);
    DecoderProgress progress = {.consumed = from.pos, .produced = to.pos, .is_at_end = answer == 0};
    if (::ZSTD_isError(answer) != 0) {
      progress.code = code_of(::ZSTD_getErrorCode(answer));
      progress.reason = ::ZSTD_getErrorName(answer);
    }
    return progress;
  }

 private:
  static ErrorCode code_of(ZSTD_ErrorCode error) noexcept {
    switch (error) {
      case ZSTD_error_memory_allocation:
      case ZSTD_error_frameParameter_windowTooLarge:
        return ErrorCode::kResourceExhausted;
      default:
        return ErrorCode::kDataLoss;
    }
  }

  ZSTD_DCtx* context_;
};

}  // namespace

std::unique_ptr<IDecoder> make_decoder(Compression compression) {
  PINION_ASSERT(compression != Compression::kNone);
  if (compression == Compression::kGzip) {
    return std::make_unique<GzipDecoder>();
  }
  return std::make_unique<ZstdDecoder>();
}

}  // namespace pinion
