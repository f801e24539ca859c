#pragma once

#include <cstddef>
#include <utility>

namespace pinion {

/// Zeroed memory of its own, in huge pages where it is large enough and the system gives them.
///
/// Thread safety: none for one object.
class ZeroedPages {
 public:
  ZeroedPages() noexcept = default;

  /// Throws std::bad_alloc when the system has no such memory.
  explicit ZeroedPages(std::size_t size_bytes);
  ~ZeroedPages();

  ZeroedPages(ZeroedPages&& other) noexcept
      : begin_(std::exchange(other.begin_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  ZeroedPages& operator=(ZeroedPages&& other) noexcept {
    std::swap(begin_, other.begin_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }

  /// Aligned to a page.
  [[nodiscard]] std::byte* begin() const noexcept { return begin_; }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return size_bytes_; }

 private:
  std::byte* begin_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace pinion
