#include "engine/inflate.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/decoder.hpp"
#include "engine/inflate_all.hpp"

namespace pinion {
namespace {

// How much of the compressed file is read at once.
constexpr std::size_t kBlockBytes = std::size_t{256} << 10;

// Growth by halves keeps the number of moves small and the unused part below a third.
constexpr std::uint64_t kGrowthBytesMin = std::uint64_t{1} << 20;

std::string name_of(const InputSource& source) {
  return std::string(name_of(source.compression)) + " input file '" + source.path + "'";
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

// The text of a shard, which grows up to its most.
class GrowingText {
 public:
  GrowingText(const InputSource& source, ShardText& text) noexcept : source_(source), text_(text) {}

  [[nodiscard]] std::span<std::byte> room() const noexcept { return text_.room(); }
  void add(std::size_t count) noexcept { text_.add(count); }

  [[nodiscard]] Status make_room() {
    if (!text_.room().empty()) {
      return {};
    }
    const std::uint64_t growth = std::max(kGrowthBytesMin, text_.size() / 2);
    Status status = text_.reserve(std::min(growth, text_.size_bytes_max() - text_.size()));
    if (status.ok()) {
      return status;
    }
    return std::move(status).with_context(
        name_of(source_) + " has " + std::to_string(source_.size_bytes) +
        " bytes and inflates to more than " + std::to_string(text_.size()));
  }

  [[nodiscard]] Status too_large() const {
    return {ErrorCode::kResourceExhausted,
            name_of(source_) + " inflates to more than the " +
                std::to_string(text_.size_bytes_max()) +
                " bytes that a worker may hold; store it inflated, so that it can be read in " +
                "shards, or cut it into several compressed files"};
  }

 private:
  const InputSource& source_;
  ShardText& text_;
};

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
  GrowingText growing(source, text);
  return inflate_all({.name = name_of(source), .size = " of " + std::to_string(source.size_bytes)},
                     *decoder, blocks, growing);
}

}  // namespace pinion
