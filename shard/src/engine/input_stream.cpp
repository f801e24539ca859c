#include "engine/input_stream.hpp"

#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>

#include <poll.h>
#include <unistd.h>

namespace pinion {
namespace {

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

}  // namespace

Result<std::vector<Blob>> read_stream(int descriptor, std::size_t block_bytes, IBlobStore& store) {
  const std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[block_bytes]);
  if (memory == nullptr) {
    return Status(ErrorCode::kResourceExhausted, "no memory for a block of standard input of " +
                                                     std::to_string(block_bytes) + " bytes");
  }
  std::vector<Blob> blobs;
  std::uint64_t total_bytes = 0;
  while (true) {
    const Result<std::size_t> count = fill(descriptor, {memory.get(), block_bytes});
    if (!count) {
      return count.error();
    }
    if (*count == 0) {
      return blobs;
    }
    Result<Blob> blob = make_blob({memory.get(), *count}, store);
    if (!blob) {
      return std::move(blob).error().with_context(
          "standard input is kept in memory; after " + std::to_string(total_bytes) +
          " bytes of it the next " + std::to_string(*count) +
          " found no room (give the job more memory, or the data as a file)");
    }
    blobs.push_back(std::move(blob).value());
    total_bytes += *count;
    if (*count < block_bytes) {
      return blobs;
    }
  }
}

}  // namespace pinion
