#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include <pinion/core/assert.hpp>

// How values that are more than their bytes write themselves and are read again: numbers as they
// lie in memory (little-endian), texts behind their length.

namespace pinion {

/// What is written as its bytes: numbers, enumerators, and structs without padding.
template <class T>
concept PlainBytes = std::is_arithmetic_v<T> ||
    (std::is_trivially_copyable_v<T>&& std::has_unique_object_representations_v<T> &&
     !std::is_pointer_v<T> && !std::same_as<T, std::string_view>);

/// Takes the bytes of a value, or only counts them.
///
/// Thread safety: none for one object.
class ByteWriter {
 public:
  /// Counts.
  ByteWriter() noexcept = default;

  /// Writes from the begin of `out` on, borrowed.
  explicit ByteWriter(std::span<std::byte> out) noexcept : out_(out), is_writing_(true) {}

  template <PlainBytes T>
  void put(const T& value) {
    put_bytes(std::as_bytes(std::span(&value, 1)));
  }
  void put_text(std::string_view text) {
    put(std::uint64_t{text.size()});
    put_bytes(std::as_bytes(std::span(text.data(), text.size())));
  }
  void put_bytes(std::span<const std::byte> bytes) {
    if (is_writing_ && !bytes.empty()) {
      PINION_ASSERT(bytes.size() <= out_.size() - size_);
      std::memcpy(out_.data() + size_, bytes.data(), bytes.size());
    }
    size_ += bytes.size();
  }

  /// Bytes that were put.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

 private:
  std::span<std::byte> out_;
  std::uint64_t size_ = 0;
  bool is_writing_ = false;
};

/// Gives the bytes of a value again. What is asked for and not there fails the reader, which from
/// then on gives zeros and empty texts; whoever made it asks is_complete() at the end.
///
/// Thread safety: none for one object.
/// Lifetime: borrows the bytes, and so do the texts that it gives.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) noexcept : left_(bytes) {}

  template <PlainBytes T>
  [[nodiscard]] T take() noexcept {
    T value = {};
    if (const std::span<const std::byte> bytes = take_bytes(sizeof(T)); !bytes.empty()) {
      std::memcpy(&value, bytes.data(), sizeof(T));
    }
    return value;
  }
  [[nodiscard]] std::string_view take_text() noexcept {
    const std::span<const std::byte> bytes = take_bytes(take<std::uint64_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  [[nodiscard]] std::span<const std::byte> take_bytes(std::uint64_t count) noexcept {
    if (has_failed_ || count > left_.size()) {
      fail();
      return {};
    }
    const std::span<const std::byte> taken = left_.first(static_cast<std::size_t>(count));
    left_ = left_.subspan(static_cast<std::size_t>(count));
    return taken;
  }

  /// A number of things that follow, each of at least `bytes_each` bytes: fails for more than can
  /// be there, so that nobody makes room for them, and is then 0.
  [[nodiscard]] std::uint64_t take_count(std::uint64_t bytes_each = 1) noexcept {
    const auto count = take<std::uint64_t>();
    if (bytes_each > 0 && count > left_.size() / bytes_each) {
      fail();
      return 0;
    }
    return count;
  }

  /// For values that cannot be.
  void fail() noexcept { has_failed_ = true; }

  [[nodiscard]] bool has_failed() const noexcept { return has_failed_; }

  /// Whether all bytes were taken, and nothing beyond them.
  [[nodiscard]] bool is_complete() const noexcept { return !has_failed_ && left_.empty(); }

 private:
  std::span<const std::byte> left_;
  bool has_failed_ = false;
};

}  // namespace pinion
