#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include <pinion/core/assert.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/key_hash.hpp>
#include <pinion/shard/keyed_table.hpp>

// One partition of a sealed keyed state. After a header come columns, each at a multiple of eight
// bytes, entries sorted by key: for text keys their hashes and the ends of their bytes, for integer
// keys the keys; then the values; then, for text, the bytes of the keys. Columns have no padding
// inside, so equal content is equal bytes.

namespace pinion {

struct KeyedPartitionHeader {
  std::uint64_t entry_count = 0;
  std::uint64_t key_bytes = 0;    ///< All text keys together; 0 for integer keys.
  std::uint32_t key_width = 0;    ///< Bytes of an integer key; 0 for text.
  std::uint32_t value_width = 0;  ///< Bytes of a value; the highest bit is set for floating point.

  friend bool operator==(const KeyedPartitionHeader&, const KeyedPartitionHeader&) = default;
};
static_assert(sizeof(KeyedPartitionHeader) == 24);

/// Where the columns lie. `size_bytes` is the length of the whole partition.
struct KeyedPartitionLayout {
  std::uint64_t hashes = 0;
  std::uint64_t keys = 0;
  std::uint64_t values = 0;
  std::uint64_t arena = 0;
  std::uint64_t size_bytes = 0;
};

/// Precondition: the numbers are of a partition that fits into memory.
[[nodiscard]] KeyedPartitionLayout layout_keyed_partition(const KeyedPartitionHeader& header);

/// Checks all that reading relies on: the header against `expected` widths, the columns against the
/// length of `partition`, and the ends of text keys.
/// Errors: kDataLoss for bytes that are not of this form or of other types.
[[nodiscard]] Result<KeyedPartitionHeader> check_keyed_partition(
    std::span<const std::byte> partition, const KeyedPartitionHeader& expected);

/// The header, but for the counts, of a partition with these types.
template <AggregationKey Key, Summable Value>
[[nodiscard]] constexpr KeyedPartitionHeader keyed_partition_types() noexcept {
  KeyedPartitionHeader header;
  if constexpr (std::integral<Key>) {
    header.key_width = sizeof(Key);
  }
  header.value_width = sizeof(Value) | (std::is_floating_point_v<Value> ? 0x8000'0000u : 0u);
  return header;
}

/// Reads a sealed partition from where it lies.
///
/// Thread safety: immutable.
/// Lifetime: borrows the bytes.
template <AggregationKey Key, Summable Value>
class KeyedPartitionView {
 public:
  /// Errors: kDataLoss for bytes that are not a sealed partition of these types.
  [[nodiscard]] static Result<KeyedPartitionView> open(std::span<const std::byte> partition) {
    const Result<KeyedPartitionHeader> header =
        check_keyed_partition(partition, keyed_partition_types<Key, Value>());
    if (!header) {
      return Status(header.error());
    }
    return KeyedPartitionView(partition.data(), *header);
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  // Precondition of these: index < size().

  [[nodiscard]] std::uint64_t hash(std::size_t index) const noexcept {
    if constexpr (std::integral<Key>) {
      return hash_key(key(index));
    } else {
      return load<std::uint64_t>(layout_.hashes, index);
    }
  }

  [[nodiscard]] Key key(std::size_t index) const noexcept {
    if constexpr (std::integral<Key>) {
      return load<Key>(layout_.keys, index);
    } else {
      const std::uint64_t begin = index == 0 ? 0 : load<std::uint64_t>(layout_.keys, index - 1);
      const std::uint64_t end = load<std::uint64_t>(layout_.keys, index);
      return {reinterpret_cast<const char*>(bytes_ + layout_.arena + begin), end - begin};
    }
  }

  [[nodiscard]] Value value(std::size_t index) const noexcept {
    return load<Value>(layout_.values, index);
  }

  [[nodiscard]] std::optional<Value> find(Key wanted) const noexcept {
    std::size_t begin = 0;
    std::size_t end = size_;
    while (begin < end) {
      const std::size_t middle = begin + (end - begin) / 2;
      if (key(middle) < wanted) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    if (begin == size_ || key(begin) != wanted) {
      return std::nullopt;
    }
    return value(begin);
  }

 private:
  KeyedPartitionView(const std::byte* bytes, const KeyedPartitionHeader& header) noexcept
      : bytes_(bytes), size_(header.entry_count), layout_(layout_keyed_partition(header)) {}

  template <class T>
  [[nodiscard]] T load(std::uint64_t column, std::size_t index) const noexcept {
    T value;
    std::memcpy(&value, bytes_ + column + index * sizeof(T), sizeof(T));
    return value;
  }

  const std::byte* bytes_;
  std::size_t size_;
  KeyedPartitionLayout layout_;
};

/// The header of a partition that holds the entries of `table` that `members` lists.
template <AggregationKey Key, Summable Value>
[[nodiscard]] KeyedPartitionHeader keyed_partition_header(const KeyedTable<Key, Value>& table,
                                                          std::span<const std::uint32_t> members) {
  KeyedPartitionHeader header = keyed_partition_types<Key, Value>();
  header.entry_count = members.size();
  if constexpr (!std::integral<Key>) {
    for (const std::uint32_t member : members) {
      header.key_bytes += table.entries()[member].key.size();
    }
  }
  return header;
}

/// Writes those entries, in the order of `members`, which is that of their keys.
/// Precondition: `out` is zeroed and has the length that the header's layout gives.
template <AggregationKey Key, Summable Value>
void write_keyed_partition(std::span<std::byte> out, const KeyedPartitionHeader& header,
                           const KeyedTable<Key, Value>& table,
                           std::span<const std::uint32_t> members) {
  const KeyedPartitionLayout layout = layout_keyed_partition(header);
  PINION_ASSERT(out.size() == layout.size_bytes && members.size() == header.entry_count);
  const auto store = [&out](std::uint64_t column, std::size_t index, const auto& value) {
    std::memcpy(out.data() + column + index * sizeof(value), &value, sizeof(value));
  };
  std::memcpy(out.data(), &header, sizeof(header));
  std::uint64_t key_end = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const auto& entry = table.entries()[members[i]];
    store(layout.values, i, entry.value);
    if constexpr (std::integral<Key>) {
      store(layout.keys, i, entry.key);
    } else {
      store(layout.hashes, i, entry.hash);
      entry.key.copy(reinterpret_cast<char*>(out.data() + layout.arena + key_end),
                     entry.key.size());
      key_end += entry.key.size();
      store(layout.keys, i, key_end);
    }
  }
}

}  // namespace pinion
