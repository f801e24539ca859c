#include "engine/inflate.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <pinion/core/assert.hpp>

namespace pinion {
namespace {

// How much of the compressed file is read at once.
constexpr std::size_t kBlockBytes = std::size_t{256} << 10;

// Growth by halves keeps the number of moves small and the unused part below a third.
constexpr std::uint64_t kGrowthBytesMin = std::uint64_t{1} << 20;

// What one call of a decoder got done.
struct Progress {
  std::size_t consumed = 0;
  std::size_t produced = 0;
  bool is_at_end = false;  // Of a member or frame: the file may end here.
  ErrorCode code = ErrorCode::kOk;
  const char* reason = "";
};

class IDecoder {
 public:
  virtual ~IDecoder() = default;
  virtual Progress decode(std::span<const std::byte> in, std::span<std::byte> out) = 0;
};

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

  Progress decode(std::span<const std::byte> in, std::span<std::byte> out) override {
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
    Progress progress = {.consumed = in_bytes - stream_.avail_in,
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
  static Progress skip_padding(std::span<const std::byte> in) {
    const auto other =
        std::find_if(in.begin(), in.end(), [](std::byte byte) { return byte != std::byte{0}; });
    Progress progress = {.consumed = static_cast<std::size_t>(other - in.begin()),
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

  Progress decode(std::span<const std::byte> in, std::span<std::byte> out) override {
    if (context_ == nullptr) {
      return {.code = ErrorCode::kResourceExhausted, .reason = "no memory to inflate it"};
    }
    ZSTD_inBuffer from = {.src = in.data(), .size = in.size(), .pos = 0};
    ZSTD_outBuffer to = {.dst = out.data(), .size = out.size(), .pos = 0};
    const std::size_t answer = ::ZSTD_decompressStream(context_, &to, &from);
    Progress progress = {.consumed = from.pos, .produced = to.pos, .is_at_end = answer == 0};
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

std::unique_ptr<IDecoder> make_decoder(Compression compression) {
  PINION_ASSERT(compression != Compression::kNone);
  if (compression == Compression::kGzip) {
    return std::make_unique<GzipDecoder>();
  }
  return std::make_unique<ZstdDecoder>();
}

std::string name_of(const InputSource& source) {
  return std::string(name_of(source.compression)) + " input file '" + source.path + "'";
}

Status damaged(const InputSource& source, std::uint64_t offset, const Progress& progress) {
  const std::string at =
      " at byte " + std::to_string(offset) + " of " + std::to_string(source.size_bytes);
  if (progress.code == ErrorCode::kResourceExhausted) {
    return {progress.code, name_of(source) + " cannot be inflated" + at + ": " + progress.reason};
  }
  return {ErrorCode::kDataLoss, name_of(source) + " is damaged" + at + ": " + progress.reason +
                                    "; make it again from what it was made of"};
}

Status cut_short(const InputSource& source, std::uint64_t inflated_bytes) {
  return {ErrorCode::kDataLoss, name_of(source) + " is cut short: it ends at byte " +
                                    std::to_string(source.size_bytes) + ", after " +
                                    std::to_string(inflated_bytes) +
                                    " inflated bytes, where more must follow; copy it again"};
}

Status too_large(const InputSource& source, const ShardText& text) {
  return {ErrorCode::kResourceExhausted,
          name_of(source) + " inflates to more than the " + std::to_string(text.size_bytes_max()) +
              " bytes that a worker may hold; store it inflated, so that it can be read in " +
              "shards, or cut it into several compressed files"};
}

// The bytes of a file, block after block.
class Blocks {
 public:
  Blocks(const InputFile& file, std::uint64_t size_bytes)
      : file_(file),
        size_bytes_(size_bytes),
        block_(std::min<std::uint64_t>(size_bytes, kBlockBytes)) {}

  // Precondition: the block is used up.
  [[nodiscard]] Status next() {
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(block_.size(), size_bytes_ - offset_));
    PINION_RETURN_IF_ERROR(file_.read(offset_, size_bytes_, std::span(block_).first(count)));
    left_ = std::span(block_).first(count);
    offset_ += count;
    return {};
  }

  void consume(std::size_t count) noexcept { left_ = left_.subspan(count); }

  [[nodiscard]] std::span<const std::byte> left() const noexcept { return left_; }
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_ - left_.size(); }
  [[nodiscard]] bool is_at_end() const noexcept { return offset() == size_bytes_; }

 private:
  const InputFile& file_;
  std::uint64_t size_bytes_;
  std::vector<std::byte> block_;
  std::span<const std::byte> left_;
  std::uint64_t offset_ = 0;
};

[[nodiscard]] Status make_room(const InputSource& source, ShardText& text) {
  if (!text.room().empty()) {
    return {};
  }
  const std::uint64_t growth = std::max(kGrowthBytesMin, text.size() / 2);
  Status status = text.reserve(std::min(growth, text.size_bytes_max() - text.size()));
  if (status.ok()) {
    return status;
  }
  return std::move(status).with_context(
      name_of(source) + " has " + std::to_string(source.size_bytes) +
      " bytes and inflates to more than " + std::to_string(text.size()));
}

}  // namespace

std::string_view name_of(Compression compression) noexcept {
  switch (compression) {
    case Compression::kNone:
      break;
    case Compression::kGzip:
      return "gzip";
    case Compression::kZstd:
      return "zstd";
  }
  return "";
}

Compression compression_of(std::span<const std::byte> begin) noexcept {
  if (begin.size() < kMagicBytes) {
    return Compression::kNone;
  }
  std::array<unsigned char, kMagicBytes> magic = {};
  std::memcpy(magic.data(), begin.data(), magic.size());
  // The two bytes of gzip, deflate as its method, and no flag that has no meaning.
  if (magic[0] == 0x1f && magic[1] == 0x8b && magic[2] == 8 && (magic[3] & 0xe0) == 0) {
    return Compression::kGzip;
  }
  constexpr std::array<unsigned char, kMagicBytes> kFrame = {0x28, 0xb5, 0x2f, 0xfd};
  // Tools that compress with several threads put a skippable frame first.
  const bool is_skippable =
      (magic[0] & 0xf0) == 0x50 && magic[1] == 0x2a && magic[2] == 0x4d && magic[3] == 0x18;
  return magic == kFrame || is_skippable ? Compression::kZstd : Compression::kNone;
}

Status inflate(const InputFile& file, const InputSource& source, ShardText& text) {
  const std::unique_ptr<IDecoder> decoder = make_decoder(source.compression);
  Blocks blocks(file, source.size_bytes);
  const std::uint64_t begin = text.size();
  bool has_more = true;
  bool is_complete = false;
  while (has_more || !blocks.is_at_end()) {
    if (blocks.left().empty() && !blocks.is_at_end()) {
      PINION_RETURN_IF_ERROR(blocks.next());
    }
    PINION_RETURN_IF_ERROR(make_room(source, text));
    // Whether a text of just the most has ended shows only when one more byte is asked for.
    std::byte beyond = {};
    const bool is_full = text.room().empty();
    const std::span<std::byte> out = is_full ? std::span(&beyond, 1) : text.room();
    const Progress progress = decoder->decode(blocks.left(), out);
    blocks.consume(progress.consumed);
    if (progress.code != ErrorCode::kOk) {
      return damaged(source, blocks.offset(), progress);
    }
    if (is_full && progress.produced > 0) {
      return too_large(source, text);
    }
    if (!is_full) {
      text.add(progress.produced);
    }
    is_complete = progress.is_at_end;
    // A full window may hide what the decoder still holds.
    has_more = !is_complete && progress.produced == out.size();
    if (progress.consumed == 0 && progress.produced == 0 && !blocks.left().empty()) {
      return damaged(source, blocks.offset(), {.reason = "it does not go on"});
    }
  }
  return is_complete ? Status() : cut_short(source, text.size() - begin);
}

}  // namespace pinion
