#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/blob_store.hpp>

namespace pinion::testing_input {

/// Blobs on the heap, kept until the store goes, for tests in one thread.
class MemoryBlobStore final : public IBlobStore {
 public:
  explicit MemoryBlobStore(
      std::uint64_t budget_bytes = std::numeric_limits<std::uint64_t>::max()) noexcept
      : budget_bytes_(budget_bytes) {}

  Result<BlobWriter> create(std::uint64_t size_bytes, Place place) override {
    if (size_bytes > budget_bytes_ - used_bytes_) {
      return Status(ErrorCode::kResourceExhausted,
                    "the store has " + std::to_string(budget_bytes_ - used_bytes_) +
                        " bytes left, " + std::to_string(size_bytes) + " were asked for");
    }
    used_bytes_ += size_bytes;
    const auto memory = std::make_shared<std::vector<std::byte>>(size_bytes);
    return BlobWriter(*memory, [this, memory, place]() -> Result<Blob> {
      const BlobHandle handle = {.job = 1,
                                 .generation = blobs_.size() + 1,
                                 .length_bytes = memory->size(),
                                 .epoch = 1,
                                 .host = 0,
                                 .segment = 0,
                                 .index = static_cast<std::uint32_t>(blobs_.size())};
      return blobs_.emplace(handle.generation, Blob(handle, place, *memory, memory)).first->second;
    });
  }

  Result<Blob> open(const BlobHandle& handle) override {
    const auto found = blobs_.find(handle.generation);
    if (found == blobs_.end() || found->second.handle() != handle) {
      return Status(ErrorCode::kNotFound, "no such blob");
    }
    return found->second;
  }

  BlobStoreUsage usage() const override {
    return {.blob_count = blobs_.size(), .memory_bytes = used_bytes_};
  }

  /// A sealed blob with this content.
  Blob add(std::string_view content) {
    BlobWriter writer = create(content.size(), Place{}).value();
    const std::span<const std::byte> bytes = std::as_bytes(std::span(content));
    std::copy(bytes.begin(), bytes.end(), writer.bytes().begin());
    return writer.seal().value();
  }

 private:
  std::uint64_t budget_bytes_;
  std::uint64_t used_bytes_ = 0;
  std::map<std::uint64_t, Blob> blobs_;
};

}  // namespace pinion::testing_input
