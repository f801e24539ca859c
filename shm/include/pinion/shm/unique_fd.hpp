#pragma once

#include <utility>

namespace pinion {

/// Owns one file descriptor and closes it. Movable, not copyable.
///
/// Thread safety: none for one object.
class UniqueFd {
 public:
  UniqueFd() noexcept = default;

  /// Takes over `descriptor`; a negative number owns nothing.
  explicit UniqueFd(int descriptor) noexcept : descriptor_(descriptor) {}

  UniqueFd(UniqueFd&& other) noexcept : descriptor_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const noexcept { return descriptor_; }
  [[nodiscard]] bool valid() const noexcept { return descriptor_ >= 0; }

  /// The caller owns the descriptor from here on.
  [[nodiscard]] int release() noexcept { return std::exchange(descriptor_, -1); }

  /// Closes what is owned and takes over `descriptor`.
  void reset(int descriptor = -1) noexcept;

 private:
  int descriptor_ = -1;
};

}  // namespace pinion
