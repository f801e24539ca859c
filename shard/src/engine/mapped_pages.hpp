#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <pinion/core/status.hpp>

namespace pinion {

/// Anonymous memory of this process in whole pages, huge ones where the system has them. Zeroed at
/// first touch.
///
/// Thread safety: none for one object.
class MappedPages {
 public:
  /// Of at least `size_bytes`; large ones begin at a multiple of a huge page.
  /// Errors: kResourceExhausted when the system has no such memory.
  [[nodiscard]] static Result<MappedPages> map(std::uint64_t size_bytes);

  /// None.
  MappedPages() noexcept = default;
  ~MappedPages();
  MappedPages(MappedPages&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  MappedPages& operator=(MappedPages&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  /// At least `size_bytes` with the content kept; the address may change. Bytes are not copied.
  /// Errors: kResourceExhausted; the memory is then as it was.
  [[nodiscard]] Status grow(std::uint64_t size_bytes);

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

 private:
  explicit MappedPages(std::span<std::byte> bytes) noexcept : bytes_(bytes) {}

  std::span<std::byte> bytes_;
};

}  // namespace pinion
