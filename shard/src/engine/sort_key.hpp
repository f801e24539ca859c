#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include <pinion/shard/sort.hpp>

namespace pinion::engine {

static_assert(std::endian::native == std::endian::little);

/// A record where it lies; a line without its line feed.
using RecordBytes = std::span<const std::byte>;

/// Reads keys out of records. Its prefix() never contradicts its less(): a record that comes before
/// another has a prefix that is not greater.
///
/// Thread safety: immutable.
class KeyReader {
 public:
  /// `common` is what most keys begin with, so that prefixes tell them apart: it is left out of
  /// them. Only for keys compared as bytes.
  explicit KeyReader(RecordForm form, std::string common = {})
      : form_(form), common_(std::move(common)) {}

  [[nodiscard]] const RecordForm& form() const noexcept { return form_; }
  [[nodiscard]] bool is_integer() const noexcept {
    return form_.key.order != SortKey::Order::kBytes;
  }

  /// Whether equal prefixes mean equal keys.
  [[nodiscard]] bool prefix_is_key() const noexcept {
    return is_integer() || (!form_.is_lines() && common_.empty() && form_.key.length <= 8);
  }

  /// The bytes of the key.
  [[nodiscard]] RecordBytes key(RecordBytes record) const noexcept {
    return form_.is_lines() ? record : record.subspan(form_.key.offset, form_.key.length);
  }

  /// The first eight bytes of the key that are not common, as a number that orders like them.
  [[nodiscard]] std::uint64_t prefix(RecordBytes record) const noexcept {
    const RecordBytes bytes = key(record);
    if (is_integer()) {
      return integer(bytes);
    }
    if (common_.empty()) [[likely]] {
      return window(bytes, 0);
    }
    const std::size_t shared = bytes.size() < common_.size() ? bytes.size() : common_.size();
    const int order = std::memcmp(bytes.data(), common_.data(), shared);
    if (order != 0 || shared < common_.size()) {
      return order > 0 ? ~std::uint64_t{0} : 0;
    }
    return window(bytes, common_.size());
  }

  /// Eight bytes of a key from `at` on as a number that orders like them; zeros where it ends.
  [[nodiscard]] static std::uint64_t window(RecordBytes key, std::size_t at) noexcept {
    std::uint64_t word = 0;
    if (key.size() >= at + 8) [[likely]] {
      std::memcpy(&word, key.data() + at, 8);
    } else if (key.size() > at) {
      std::memcpy(&word, key.data() + at, key.size() - at);
    }
    return __builtin_bswap64(word);
  }

  /// Negative, zero or positive as the key of `left` is less than, equal to or greater than that of
  /// `right`.
  [[nodiscard]] int compare(RecordBytes left, RecordBytes right) const noexcept {
    const RecordBytes a = key(left);
    const RecordBytes b = key(right);
    if (is_integer()) {
      return integer(a) < integer(b) ? -1 : integer(a) > integer(b) ? 1 : 0;
    }
    const std::size_t shared = a.size() < b.size() ? a.size() : b.size();
    const int order = shared == 0 ? 0 : std::memcmp(a.data(), b.data(), shared);
    return order != 0 ? order : a.size() < b.size() ? -1 : a.size() > b.size() ? 1 : 0;
  }

 private:
  [[nodiscard]] std::uint64_t integer(RecordBytes bytes) const noexcept {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), bytes.size());
    const std::uint64_t sign = std::uint64_t{1} << (8 * bytes.size() - 1);
    value ^= form_.key.order == SortKey::Order::kSigned ? sign : 0;
    return value;
  }

  RecordForm form_;
  std::string common_;
};

}  // namespace pinion::engine
