#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <type_traits>

namespace pinion::bench {

/// Whether large arrays ask for huge pages. Each plain program is built both ways: as it is mostly
/// written, and as one writes it who knows that trick.
#if defined(PINION_BENCH_HUGE_PAGES)
inline constexpr bool kHugePages = true;
#else
inline constexpr bool kHugePages = false;
#endif

/// An array on pages of its own, zero-filled by the system when first touched.
template <class T>
class Pages {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  Pages() noexcept = default;
  explicit Pages(std::size_t size) : size_(size) {
    if (size_ == 0) {
      return;
    }
    void* const pages = mmap(nullptr, size_ * sizeof(T), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
      throw std::bad_alloc();
    }
    if (kHugePages) {
      madvise(pages, size_ * sizeof(T), MADV_HUGEPAGE);
    }
    begin_ = static_cast<T*>(pages);
  }
  ~Pages() {
    if (begin_ != nullptr) {
      munmap(static_cast<void*>(begin_), size_ * sizeof(T));
    }
  }
  Pages(Pages&& other) noexcept : begin_(other.begin_), size_(other.size_) {
    other.begin_ = nullptr;
    other.size_ = 0;
  }
  Pages& operator=(Pages&& other) noexcept {
    T* const begin = other.begin_;
    const std::size_t size = other.size_;
    other.begin_ = begin_;
    other.size_ = size_;
    begin_ = begin;
    size_ = size;
    return *this;
  }

  [[nodiscard]] T* data() noexcept { return begin_; }
  [[nodiscard]] T* begin() noexcept { return begin_; }
  [[nodiscard]] T* end() noexcept { return begin_ + size_; }
  [[nodiscard]] const T* begin() const noexcept { return begin_; }
  [[nodiscard]] const T* end() const noexcept { return begin_ + size_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] T& operator[](std::size_t index) noexcept { return begin_[index]; }
  [[nodiscard]] const T& operator[](std::size_t index) const noexcept { return begin_[index]; }

 private:
  T* begin_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace pinion::bench
