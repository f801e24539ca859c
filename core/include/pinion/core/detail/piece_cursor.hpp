#pragma once

#include <atomic>
#include <cstddef>
#include <optional>

namespace pinion::detail {

/// Hands out the pieces of a part of a loop by their numbers, from 0 up to their count, each to one
/// caller: to the workers whose part it is, and to those who help them.
///
/// Thread safety: take() from any thread, after reset().
template <template <class> class Atom = std::atomic>
class PieceCursor {
 public:
  PieceCursor() = default;
  PieceCursor(const PieceCursor&) = delete;
  PieceCursor& operator=(const PieceCursor&) = delete;

  void reset(std::size_t count) noexcept {
    count_ = count;
    next_.store(0, std::memory_order_relaxed);  // The caller hands it on, with the count.
  }

  [[nodiscard]] std::size_t count() const noexcept { return count_; }

  /// Nothing when all are taken.
  [[nodiscard]] std::optional<std::size_t> take() noexcept {
    // Relaxed: the number alone decides; what the pieces did is handed on when they end. The look
    // comes first so that those who come too late leave the line where it is.
    if (next_.load(std::memory_order_relaxed) >= count_) {
      return std::nullopt;
    }
    const std::size_t piece = next_.fetch_add(1, std::memory_order_relaxed);
    return piece < count_ ? std::optional(piece) : std::nullopt;
  }

 private:
  std::size_t count_ = 0;
  Atom<std::size_t> next_{0};
};

}  // namespace pinion::detail
