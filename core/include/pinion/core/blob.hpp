#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// Names a sealed blob in messages, across processes and hosts. A plain value of fixed layout,
/// little-endian on the wire. It is a claim, not a right: a store checks every field before it
/// hands out bytes. A value-initialised handle names nothing.
struct BlobHandle {
  std::uint64_t job = 0;  ///< The job that owns it.
  std::uint64_t generation =
      0;  ///< Which use of the descriptor; at least 1 for a blob that exists.
  std::uint64_t length_bytes = 0;  ///< Exact size; may be 0.
  std::uint32_t epoch = 0;         ///< The coordinator's epoch when it was made.
  std::uint32_t host = 0;          ///< The host whose agent owns the memory.
  std::uint32_t segment = 0;       ///< The segment on that host.
  std::uint32_t index = 0;         ///< The descriptor in that segment.

  friend bool operator==(const BlobHandle&, const BlobHandle&) = default;
};
static_assert(sizeof(BlobHandle) == 40 && std::is_trivially_copyable_v<BlobHandle>);

/// The host that has the blob in this epoch of its job: that of the handle, but for what an earlier
/// epoch has left, which is with the coordinator, on host 0.
[[nodiscard]] constexpr std::uint32_t host_with(const BlobHandle& blob,
                                                std::uint32_t epoch) noexcept {
  return blob.epoch < epoch ? 0 : blob.host;
}

/// Some of the bytes of a blob. A plain value, as a handle is.
struct BlobPart {
  BlobHandle blob = {};
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;

  /// All of it.
  [[nodiscard]] static constexpr BlobPart whole(const BlobHandle& blob) noexcept {
    return {blob, 0, blob.length_bytes};
  }
  [[nodiscard]] constexpr bool is_inside() const noexcept {
    return offset <= blob.length_bytes && length_bytes <= blob.length_bytes - offset;
  }

  friend bool operator==(const BlobPart&, const BlobPart&) = default;
};
static_assert(sizeof(BlobPart) == 56 && std::is_trivially_copyable_v<BlobPart>);

/// A sealed, immutable run of bytes. Copying it copies a reference, never bytes.
///
/// Thread safety: distinct objects are independent; the bytes may be read from any thread.
/// Lifetime: the bytes stay mapped while any copy lives, also after the store is gone and after the
///   process that wrote them has died.
class Blob {
 public:
  Blob() noexcept = default;

  /// For stores. `keep_alive` owns the memory behind `bytes`.
  Blob(BlobHandle handle, Place home, std::span<const std::byte> bytes,
       std::shared_ptr<const void> keep_alive) noexcept
      : handle_(handle), home_(home), bytes_(bytes), keep_alive_(std::move(keep_alive)) {}

  /// Some of the bytes of `blob`, which lives as long as they. Precondition: they are inside.
  [[nodiscard]] static Blob part_of(Blob blob, std::uint64_t offset, std::uint64_t length_bytes) {
    const std::span<const std::byte> bytes = blob.bytes_.subspan(
        static_cast<std::size_t>(offset), static_cast<std::size_t>(length_bytes));
    return {blob.handle_, blob.home_, bytes, std::move(blob.keep_alive_)};
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] const BlobHandle& handle() const noexcept { return handle_; }
  [[nodiscard]] Place home() const noexcept { return home_; }

 private:
  BlobHandle handle_;
  Place home_;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> keep_alive_;
};

/// The only right to write a blob: fill bytes(), then seal(). Dropped unsealed, the memory goes
/// back and nobody ever sees the blob. Movable, not copyable.
///
/// Thread safety: none for one object; several threads may fill disjoint parts of bytes().
class BlobWriter {
 public:
  /// For stores. `seal` is called at most once and owns the memory behind `bytes`.
  BlobWriter(std::span<std::byte> bytes, std::function<Result<Blob>()> seal)
      : bytes_(bytes), seal_(std::move(seal)) {}

  BlobWriter(BlobWriter&&) noexcept = default;
  BlobWriter& operator=(BlobWriter&&) noexcept = default;

  /// Starts as zeros, aligned to 64 bytes. Invalid after seal().
  [[nodiscard]] std::span<std::byte> bytes() noexcept { return bytes_; }

  /// Makes the bytes immutable and the blob known to the store; bytes() are gone afterwards.
  /// Blocks: for a round trip to the owner of the memory, where that is another process.
  /// Precondition: called at most once.
  /// Errors: the store's; the blob then does not exist.
  [[nodiscard]] Result<Blob> seal() {
    PINION_ASSERT(seal_ != nullptr);
    bytes_ = {};
    return std::exchange(seal_, nullptr)();
  }

 private:
  std::span<std::byte> bytes_;
  std::function<Result<Blob>()> seal_;
};

}  // namespace pinion
