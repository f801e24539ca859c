#include "engine/input_stream.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>

#include <poll.h>
#include <unistd.h>

#include "engine/decoder.hpp"
#include "engine/inflate.hpp"
#include "engine/inflate_all.hpp"

namespace pinion {
namespace {

// How much of a stream is read before it is known whether it is compressed.
constexpr std::size_t kPieceBytes = std::size_t{256} << 10;

// How many bytes came before the end of the stream or of `block`, whichever is first.
Result<std::size_t> fill(int descriptor, std::span<std::byte> block) {
  std::size_t filled = 0;
  while (filled < block.size()) {
    const ssize_t count = ::read(descriptor, block.data() + filled, block.size() - filled);
    if (count > 0) {
      filled += static_cast<std::size_t>(count);
      continue;
    }
    if (count == 0) {
      break;
    }
    if (errno == EAGAIN) {
      // Whoever shares the descriptor may have made it non-blocking.
      pollfd wait = {.fd = descriptor, .events = POLLIN, .revents = 0};
      ::poll(&wait, 1, -1);
    } else if (errno == EBADF) {
      return Status(ErrorCode::kUnavailable,
                    "standard input is closed; give it to the job, or name a file instead of -");
    } else if (errno != EINTR) {
      return Status::from_errno(errno, "cannot read standard input");
    }
  }
  return filled;
}

Result<Blob> make_blob(std::span<const std::byte> bytes, IBlobStore& store) {
  Result<BlobWriter> writer = store.create(bytes.size(), Place{});
  if (!writer) {
    return std::move(writer).error();
  }
  std::memcpy(writer->bytes().data(), bytes.data(), bytes.size());
  return writer->seal();
}

// Blobs that are filled one after the other.
class BlobBlocks {
 public:
  BlobBlocks(std::size_t block_bytes, IBlobStore& store)
      : block_bytes_(block_bytes),
        memory_(new (std::nothrow) std::byte[block_bytes]),
        store_(store) {}

  // What is left of the block.
  [[nodiscard]] std::span<std::byte> room() const noexcept {
    return {memory_.get() + filled_, block_bytes_ - filled_};
  }
  void add(std::size_t count) noexcept { filled_ += count; }

  // Seals the block if it is full.
  [[nodiscard]] Status make_room() {
    if (memory_ == nullptr) {
      return {ErrorCode::kResourceExhausted, "no memory for a block of standard input of " +
                                                 std::to_string(block_bytes_) + " bytes"};
    }
    return filled_ == block_bytes_ ? seal_block() : Status();
  }

  // There is always a next block.
  [[nodiscard]] static Status too_large() { return {}; }

  [[nodiscard]] Result<std::vector<Blob>> finish() {
    if (filled_ > 0) {
      PINION_RETURN_IF_ERROR(seal_block());
    }
    return std::move(blobs_);
  }

 private:
  [[nodiscard]] Status seal_block() {
    Result<Blob> blob = make_blob({memory_.get(), filled_}, store_);
    if (!blob) {
      return std::move(blob).error().with_context(
          "standard input is kept in memory; after " + std::to_string(sealed_bytes_) +
          " bytes of it the next " + std::to_string(filled_) +
          " found no room (give the job more memory, or the data as a file)");
    }
    blobs_.push_back(std::move(blob).value());
    sealed_bytes_ += std::exchange(filled_, 0);
    return {};
  }

  std::size_t block_bytes_;
  std::unique_ptr<std::byte[]> memory_;
  IBlobStore& store_;
  std::size_t filled_ = 0;
  std::uint64_t sealed_bytes_ = 0;
  std::vector<Blob> blobs_;
};

// The bytes of a stream, piece after piece.
class StreamPieces {
 public:
  explicit StreamPieces(int descriptor) : descriptor_(descriptor), piece_(kPieceBytes) {}

  [[nodiscard]] Status next() {
    const Result<std::size_t> count = fill(descriptor_, piece_);
    if (!count) {
      return count.error();
    }
    has_ended_ = *count < piece_.size();
    read_bytes_ += *count;
    left_ = std::span(piece_).first(*count);
    return {};
  }

  void consume(std::size_t count) noexcept { left_ = left_.subspan(count); }
  [[nodiscard]] std::span<const std::byte> left() const noexcept { return left_; }
  [[nodiscard]] std::uint64_t offset() const noexcept { return read_bytes_ - left_.size(); }
  [[nodiscard]] bool is_at_end() const noexcept { return has_ended_ && left_.empty(); }

 private:
  int descriptor_;
  std::vector<std::byte> piece_;
  std::span<const std::byte> left_;
  std::uint64_t read_bytes_ = 0;
  bool has_ended_ = false;
};

// Reads what is left of the stream as it is.
Result<std::vector<Blob>> read_on(int descriptor, BlobBlocks& blocks) {
  while (true) {
    PINION_RETURN_IF_ERROR(blocks.make_room());
    const std::size_t wanted = blocks.room().size();
    const Result<std::size_t> count = fill(descriptor, blocks.room());
    if (!count) {
      return count.error();
    }
    blocks.add(*count);
    if (*count < wanted) {
      return blocks.finish();
    }
  }
}

// Puts the piece that was read into blocks.
Status copy_piece(StreamPieces& pieces, BlobBlocks& blocks) {
  while (!pieces.left().empty()) {
    PINION_RETURN_IF_ERROR(blocks.make_room());
    const std::size_t count = std::min(pieces.left().size(), blocks.room().size());
    std::memcpy(blocks.room().data(), pieces.left().data(), count);
    blocks.add(count);
    pieces.consume(count);
  }
  return {};
}

}  // namespace

Result<std::vector<Blob>> read_stream(int descriptor, std::size_t block_bytes, IBlobStore& store) {
  BlobBlocks blocks(block_bytes, store);
  return read_on(descriptor, blocks);
}

Result<std::vector<Blob>> read_inflated_stream(int descriptor, std::size_t block_bytes,
                                               IBlobStore& store) {
  BlobBlocks blocks(block_bytes, store);
  StreamPieces pieces(descriptor);
  PINION_RETURN_IF_ERROR(pieces.next());
  const Compression compression = compression_of(pieces.left());
  if (compression == Compression::kNone) {
    PINION_RETURN_IF_ERROR(copy_piece(pieces, blocks));
    return pieces.is_at_end() ? blocks.finish() : read_on(descriptor, blocks);
  }
  const std::unique_ptr<IDecoder> decoder = make_decoder(compression);
  PINION_RETURN_IF_ERROR(
      inflate_all({.name = std::string(name_of(compression)) + " standard input", .size = ""},
                  *decoder, pieces, blocks));
  return blocks.finish();
}

}  // namespace pinion
