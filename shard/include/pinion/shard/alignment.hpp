#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pinion {

/// Where a shard of bytes may end, beside the end of a source: anywhere, behind a delimiter, or
/// behind a whole number of records. A plain value.
///
/// What stands between two sources that share a shard follows from it: the delimiter (a line feed
/// where a shard may end anywhere) if the first does not end with one, and nothing between records.
class Alignment {
 public:
  enum class Kind : std::uint8_t { kNone, kDelimiter, kRecords };

  static constexpr std::size_t kDelimiterBytesMax = 16;

  /// Anywhere.
  constexpr Alignment() noexcept = default;

  /// Behind `delimiter`. Planners refuse one that is empty or longer than kDelimiterBytesMax.
  static constexpr Alignment to_delimiter(std::string_view delimiter) noexcept {
    Alignment alignment;
    alignment.kind_ = Kind::kDelimiter;
    std::copy_n(delimiter.begin(), std::min(delimiter.size(), kDelimiterBytesMax),
                alignment.delimiter_.begin());
    alignment.length_ = delimiter.size();
    return alignment;
  }

  /// Behind a multiple of `record_bytes`, counted from the source's begin. Planners refuse 0.
  static constexpr Alignment to_records(std::uint64_t record_bytes) noexcept {
    Alignment alignment;
    alignment.kind_ = Kind::kRecords;
    alignment.length_ = record_bytes;
    return alignment;
  }

  [[nodiscard]] constexpr Kind kind() const noexcept { return kind_; }

  /// Empty unless the kind is kDelimiter; of one that is too long, the begin.
  [[nodiscard]] constexpr std::string_view delimiter() const noexcept {
    return {delimiter_.data(),
            kind_ == Kind::kDelimiter ? std::min<std::size_t>(length_, kDelimiterBytesMax) : 0};
  }

  /// 0 unless the kind is kRecords.
  [[nodiscard]] constexpr std::uint64_t record_bytes() const noexcept {
    return kind_ == Kind::kRecords ? length_ : 0;
  }

  /// What stands between two sources in one shard; may be empty.
  [[nodiscard]] constexpr std::string_view separator() const noexcept {
    return kind_ == Kind::kNone ? std::string_view("\n") : delimiter();
  }

  /// Why no planner takes it, in words; empty when it is good.
  [[nodiscard]] std::string find_flaw() const;

  /// As a program writes it: "align_to_line", "align_to(\"\\x00\")", "align_to_records(100)". Empty
  /// for anywhere.
  [[nodiscard]] std::string describe() const;

  friend bool operator==(const Alignment&, const Alignment&) = default;

 private:
  std::array<char, kDelimiterBytesMax> delimiter_ = {};
  std::uint64_t length_ = 0;  // Of the delimiter as it was given, or of a record.
  Kind kind_ = Kind::kNone;
};

/// Behind a line feed. A longer line makes a longer shard.
inline constexpr Alignment align_to_line = Alignment::to_delimiter("\n");

/// Behind `delimiter`, 1 to 16 bytes: "\r\n", ";", "\n\n". A delimiter that can overlap itself, as
/// "\n\n" can, is found as if the source were read from its begin, and keeps sources in shards of
/// their own.
[[nodiscard]] constexpr Alignment align_to(std::string_view delimiter) noexcept {
  return Alignment::to_delimiter(delimiter);
}

/// Behind the byte `delimiter`: align_to('\0').
[[nodiscard]] constexpr Alignment align_to(char delimiter) noexcept {
  return Alignment::to_delimiter({&delimiter, 1});
}

/// Behind whole records of `record_bytes`. A source that is not a whole number of them is an error.
[[nodiscard]] constexpr Alignment align_to_records(std::uint64_t record_bytes) noexcept {
  return Alignment::to_records(record_bytes);
}

}  // namespace pinion
