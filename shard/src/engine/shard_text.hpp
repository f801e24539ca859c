#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include <pinion/core/device.hpp>
#include <pinion/core/page_scope.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// What may be read before the first byte of a shard that was read into memory, and behind the last
/// byte of any, so that bodies can look at whole vectors of bytes.
inline constexpr std::size_t kLeadBytes = 64;
inline constexpr std::size_t kTailBytes = 64;

/// The text of one shard after the other, built in always the same memory.
///
/// Thread safety: none.
class ShardText {
 public:
  /// Texts of more than `size_bytes_max` are refused.
  explicit ShardText(std::uint64_t size_bytes_max, const PageSource& source = {}) noexcept
      : source_(source), size_bytes_max_(std::min(size_bytes_max, std::uint64_t{1} << 46)) {}
  ShardText(const ShardText&) = delete;
  ShardText& operator=(const ShardText&) = delete;

  /// Begins an empty text that will have about `size_bytes`. Memory far beyond that goes back.
  /// Errors: kResourceExhausted.
  [[nodiscard]] Status begin(std::uint64_t size_bytes);

  /// Makes room for `size_bytes` more.
  /// Errors: kResourceExhausted when the text would have more than the most, or the budget or the
  ///   system has no such memory; what is there stays.
  [[nodiscard]] Status reserve(std::uint64_t size_bytes);

  /// Where the next bytes go, to be filled from its begin on; then add() says how many came. Valid
  /// until reserve().
  [[nodiscard]] std::span<std::byte> room() const noexcept;
  void add(std::size_t size_bytes) noexcept;

  /// Precondition: there is room.
  void append(std::string_view bytes) noexcept;

  [[nodiscard]] std::uint64_t size() const noexcept { return size_bytes_; }
  [[nodiscard]] std::uint64_t size_bytes_max() const noexcept { return size_bytes_max_; }
  [[nodiscard]] bool ends_with(std::string_view bytes) const noexcept;

  /// The text, with zeros behind it; its address is a multiple of 64.
  /// Lifetime: until begin().
  [[nodiscard]] std::span<const std::byte> finish() noexcept;

  /// Whether the last text failed for want of memory that others have, and not for its size.
  [[nodiscard]] bool lacked_memory() const noexcept { return lacked_memory_; }

  /// All that it has, whatever is in it. Valid until begin() or reserve().
  [[nodiscard]] std::span<std::byte> memory() const noexcept { return pages_.bytes(); }

  /// The registration of the memory with a device: ends before that moves or goes.
  void keep(HostRegistration registration) noexcept {
    registration_ = std::move(registration);
    is_registered_ = true;
  }
  [[nodiscard]] bool is_registered() const noexcept { return is_registered_; }

  /// Gives the memory back.
  void drop() noexcept;

 private:
  void end_registration() noexcept;
  [[nodiscard]] std::byte* text() const noexcept { return pages_.bytes().data() + kLeadBytes; }

  PageSource source_;
  std::uint64_t size_bytes_max_;
  std::uint64_t size_bytes_ = 0;
  Pages pages_;
  HostRegistration registration_;  // Of the pages, so behind them.
  bool is_registered_ = false;
  bool lacked_memory_ = false;
};

}  // namespace pinion
