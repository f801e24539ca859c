#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/sort_key.hpp"

namespace pinion::engine {

/// Records by their numbers; lines without their line feeds.
///
/// Thread safety: immutable.
/// Lifetime: borrows the records.
class RecordTable {
 public:
  /// Records that lie anywhere.
  explicit RecordTable(std::span<const RecordBytes> records) noexcept
      : records_(records), size_(records.size()) {}

  /// Records of `width` bytes, side by side. Precondition: width > 0.
  RecordTable(std::span<const std::byte> bytes, std::uint32_t width) noexcept
      : bytes_(bytes.data()), width_(width), size_(bytes.size() / width) {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] RecordBytes operator[](std::size_t number) const noexcept {
    return width_ > 0 ? RecordBytes(bytes_ + number * width_, width_) : records_[number];
  }

 private:
  const std::byte* bytes_ = nullptr;
  std::uint32_t width_ = 0;
  std::span<const RecordBytes> records_;
  std::size_t size_ = 0;
};

}  // namespace pinion::engine
