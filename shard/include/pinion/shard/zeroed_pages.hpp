#pragma once

#include <cstddef>
#include <new>
#include <string>
#include <utility>

#include <pinion/core/page_pool.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// Why a state gets no memory, for code that knows a std::bad_alloc. The batch fails with `status`.
class StateRefused : public std::bad_alloc {
 public:
  explicit StateRefused(Status status);

  [[nodiscard]] const Status& status() const noexcept { return status_; }
  [[nodiscard]] const char* what() const noexcept override { return words_.c_str(); }

 private:
  Status status_;
  std::string words_;
};

/// Zeroed memory for the state of an aggregation, in whole pages. While the engine calls the state,
/// or a body that emits into it, they are pages of the job at the worker's place, which are charged
/// to its budget and used again afterwards; elsewhere they come from the system.
///
/// Thread safety: none for one object.
class ZeroedPages {
 public:
  ZeroedPages() noexcept = default;

  /// Throws StateRefused when the budget or the system has no such memory.
  explicit ZeroedPages(std::size_t size_bytes);

  ZeroedPages(ZeroedPages&& other) noexcept
      : pages_(std::move(other.pages_)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  ZeroedPages& operator=(ZeroedPages&& other) noexcept {
    pages_ = std::move(other.pages_);
    size_bytes_ = std::exchange(other.size_bytes_, 0);
    return *this;
  }

  /// Aligned to a page; null when there is no memory.
  [[nodiscard]] std::byte* begin() const noexcept { return pages_.bytes().data(); }

  /// What was asked for, in whole pages of 4 KiB. The pool may give more, which stays untouched.
  [[nodiscard]] std::size_t size_bytes() const noexcept { return size_bytes_; }

 private:
  Pages pages_;
  std::size_t size_bytes_ = 0;
};

}  // namespace pinion
