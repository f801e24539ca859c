#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <vector>

#include <pinion/core/assert.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/fold.hpp>
#include <pinion/shard/key_hash.hpp>
#include <pinion/shard/key_sum.hpp>
#include <pinion/shard/open_table.hpp>
#include <pinion/shard/table_key.hpp>

// One partition of a sealed keyed state: a run of entries in the order of the hashes of their keys.
// After a header come sections, one for each class of keys (fixed keys have the first only): a
// column of keys, then one of states. Short and medium texts lie in the column themselves; of long
// ones the column holds the hash, a column more the end of its bytes, and the bytes come last.
// Columns begin at multiples of eight bytes. All numbers are little-endian.

namespace pinion {

struct KeyedRunHeader {
  std::uint64_t checksum = 0;      ///< hash_bytes() of all that follows it.
  std::uint64_t record_count = 0;  ///< Emitted records that went into the run and those beside it.
  std::uint64_t type = 0;          ///< Of key and fold.
  std::uint32_t key_width = 0;     ///< Bytes of a fixed key; 0 for text.
  std::uint32_t state_width = 0;
  std::array<std::uint64_t, 3> counts = {};  ///< Entries: fixed or short, medium, long.
  std::uint64_t text_bytes = 0;              ///< Of all long texts together.
  std::uint64_t key_sum = 0;                 ///< The hashes of all keys together: see KeySum.
  HashRange range = {};                      ///< Which part of all hashes the run may hold.

  friend bool operator==(const KeyedRunHeader&, const KeyedRunHeader&) = default;
};
static_assert(sizeof(KeyedRunHeader) == 80);

/// Where the columns lie. `size_bytes` is the length of the whole run.
struct KeyedRunLayout {
  std::array<std::uint64_t, 3> keys = {};
  std::array<std::uint64_t, 3> states = {};
  std::uint64_t ends = 0;
  std::uint64_t texts = 0;
  std::uint64_t size_bytes = 0;
};

/// Precondition: the numbers are of a run that fits into memory.
[[nodiscard]] KeyedRunLayout layout_keyed_run(const KeyedRunHeader& header);

/// Checks all that reading relies on: the checksum, the header against `expected` types, the
/// columns against the length of `run`, and the ends of long texts.
/// Errors: kDataLoss for bytes that are not of this form or of other types.
[[nodiscard]] Result<KeyedRunHeader> check_keyed_run(std::span<const std::byte> run,
                                                     const KeyedRunHeader& expected);

/// Writes the header, with its checksum, in front of columns that are written.
void finish_keyed_run(std::span<std::byte> run, KeyedRunHeader header);

/// What a run needs to know of a fold: the state that it holds for a key, as its bytes.
template <class F>
concept RunFold = std::is_trivially_copyable_v<typename F::State> &&
    std::is_default_constructible_v<typename F::State>;

/// The header, but for the counts, of a run of these types.
template <AggregationKey Key, RunFold F>
[[nodiscard]] KeyedRunHeader keyed_run_types() {
  KeyedRunHeader header;
  header.type = hash_text(typeid(Key).name()) ^ mix_bits(hash_text(typeid(F).name()));
  if constexpr (!std::same_as<Key, std::string_view>) {
    header.key_width = sizeof(Key);
  }
  header.state_width = sizeof(typename F::State);
  return header;
}

/// What was written into sections: the keys, by their bytes, and whether each has the hash of its
/// entry and comes after the one before it, so that no section has a key twice.
struct WrittenKeys {
  KeySum sum = {};
  bool is_in_order = true;

  WrittenKeys& operator+=(const WrittenKeys& other) noexcept {
    sum += other.sum;
    is_in_order = is_in_order && other.is_in_order;
    return *this;
  }
};

/// Compares what a state has written with what it must hold, by what came into it.
/// Errors: kDataLoss where a key got lost, came twice or has changed on the way.
[[nodiscard]] Status check_written_keys(const KeySum& expected, const WrittenKeys& written);

/// Compares which partition a run is of with which it is taken for.
/// Errors: kDataLoss where it is another one.
[[nodiscard]] Status check_partition(const HashRange& expected, const HashRange& found);

/// Writes one section but the bytes of its long texts, in the order of `entries`, with the states
/// that `state_of(entry)` gives.
template <TableKey K, class S, class StateOf>
[[nodiscard]] WrittenKeys write_keyed_section(std::span<std::byte> run, std::uint64_t keys,
                                              std::uint64_t states,
                                              std::span<const OrderedEntry<K, S>> entries,
                                              StateOf state_of) {
  std::byte* key_out = run.data() + keys;
  std::byte* state_out = run.data() + states;
  WrittenKeys written = {.sum = {.count = entries.size()}};
  const OrderedEntry<K, S>* before = nullptr;
  for (const OrderedEntry<K, S>& entry : entries) {
    std::uint64_t hash = 0;
    if constexpr (std::same_as<K, LongText>) {
      hash = hash_text(entry.slot->key.text());
      std::memcpy(key_out, &hash, sizeof(hash));
      key_out += sizeof(hash);
    } else {
      hash = entry.slot->key.hash();
      std::memcpy(key_out, &entry.slot->key, sizeof(K));
      key_out += sizeof(K);
    }
    const auto& state = state_of(entry);
    std::memcpy(state_out, &state, sizeof(state));
    state_out += sizeof(state);
    written.sum.hashes += hash;
    if (hash != entry.hash || (before != nullptr && !comes_before(*before, entry))) [[unlikely]] {
      written.is_in_order = false;
    }
    before = &entry;
  }
  return written;
}
template <TableKey K, class S>
[[nodiscard]] WrittenKeys write_keyed_section(std::span<std::byte> run, std::uint64_t keys,
                                              std::uint64_t states,
                                              std::span<const OrderedEntry<K, S>> entries) {
  return write_keyed_section(run, keys, states, entries,
                             [](const auto& entry) -> const S& { return entry.slot->state; });
}

/// Writes the ends and the bytes of long texts.
template <class S>
void write_long_texts(std::span<std::byte> run, const KeyedRunLayout& layout,
                      std::span<const OrderedEntry<LongText, S>> entries) {
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::string_view text = entries[i].slot->key.text();
    text.copy(reinterpret_cast<char*>(run.data() + layout.texts + end), text.size());
    end += text.size();
    std::memcpy(run.data() + layout.ends + i * sizeof(end), &end, sizeof(end));
  }
}

/// Reads a sealed run from where it lies.
///
/// Thread safety: immutable.
/// Lifetime: borrows the bytes, and so do texts.
template <AggregationKey Key, RunFold F>
class KeyedRunView {
 public:
  using S = typename F::State;

  /// Errors: kDataLoss for bytes that are not a sealed run of these types.
  [[nodiscard]] static Result<KeyedRunView> open(std::span<const std::byte> run) {
    const Result<KeyedRunHeader> header = check_keyed_run(run, keyed_run_types<Key, F>());
    if (!header) {
      return Status(header.error());
    }
    return KeyedRunView(run.data(), *header);
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] const KeyedRunHeader& header() const noexcept { return header_; }
  [[nodiscard]] KeySum keys() const noexcept { return {.count = size_, .hashes = header_.key_sum}; }

  // Precondition of these: index < size().

  [[nodiscard]] Key key(std::size_t index) const noexcept {
    if constexpr (kText) {
      const auto [section, at] = position(index);
      return section == 0   ? padded_text(layout_.keys[0] + at * 8, 8)
             : section == 1 ? padded_text(layout_.keys[1] + at * 16, 16)
                            : long_text(at);
    } else {
      return load<FixedKey<Key>>(layout_.keys[0], index).value;
    }
  }
  [[nodiscard]] S state(std::size_t index) const noexcept {
    const auto [section, at] = position(index);
    return load<S>(layout_.states[section], at);
  }

  [[nodiscard]] std::optional<S> find(const Key& wanted) const noexcept {
    if constexpr (kText) {
      switch (text_class_of(wanted)) {
        case TextClass::kShort:
          return find_in<ShortText>(0, short_text(wanted));
        case TextClass::kMedium:
          return find_in<MediumText>(1, medium_text(wanted));
        case TextClass::kLong:
          return find_in<LongText>(2, LongText::of(wanted));
      }
    }
    if constexpr (!kText) {
      return find_in<FixedKey<Key>>(0, {wanted});
    }
    return std::nullopt;
  }

  /// Calls `function(key, state)` for each entry, with the key as tables hold it.
  template <class Function>
  void for_each(Function function) const {
    if constexpr (kText) {
      for_each_in<ShortText>(0, function);
      for_each_in<MediumText>(1, function);
      for_each_in<LongText>(2, function);
    } else {
      for_each_in<FixedKey<Key>>(0, function);
    }
  }

 private:
  static constexpr bool kText = std::same_as<Key, std::string_view>;

  struct Position {
    std::size_t section;
    std::size_t at;
  };

  KeyedRunView(const std::byte* bytes, const KeyedRunHeader& header) noexcept
      : bytes_(bytes),
        header_(header),
        layout_(layout_keyed_run(header)),
        size_(header.counts[0] + header.counts[1] + header.counts[2]) {}

  [[nodiscard]] Position position(std::size_t index) const noexcept {
    if (index < header_.counts[0]) {
      return {0, index};
    }
    index -= header_.counts[0];
    return index < header_.counts[1] ? Position{1, index} : Position{2, index - header_.counts[1]};
  }

  template <class T>
  [[nodiscard]] T load(std::uint64_t column, std::size_t index) const noexcept {
    T value;
    std::memcpy(&value, bytes_ + column + index * sizeof(T), sizeof(T));
    return value;
  }

  [[nodiscard]] std::string_view padded_text(std::uint64_t at, std::size_t size) const noexcept {
    const char* const begin = reinterpret_cast<const char*>(bytes_ + at);
    while (size > 0 && begin[size - 1] == '\0') {
      --size;
    }
    return {begin, size};
  }

  [[nodiscard]] std::string_view long_text(std::size_t at) const noexcept {
    const std::uint64_t begin = at == 0 ? 0 : load<std::uint64_t>(layout_.ends, at - 1);
    const std::uint64_t end = load<std::uint64_t>(layout_.ends, at);
    return {reinterpret_cast<const char*>(bytes_ + layout_.texts + begin), end - begin};
  }

  template <TableKey K>
  [[nodiscard]] K table_key(std::size_t section, std::size_t at) const noexcept {
    if constexpr (std::same_as<K, LongText>) {
      return LongText::with_hash(load<std::uint64_t>(layout_.keys[section], at), long_text(at));
    } else {
      return load<K>(layout_.keys[section], at);
    }
  }

  template <TableKey K>
  [[nodiscard]] std::optional<S> find_in(std::size_t section, const K& wanted) const noexcept {
    const std::uint64_t hash = wanted.hash();
    std::size_t begin = 0;
    std::size_t end = header_.counts[section];
    while (begin < end) {
      const std::size_t middle = begin + (end - begin) / 2;
      if (table_key<K>(section, middle).hash() < hash) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    for (; begin < header_.counts[section]; ++begin) {
      const K key = table_key<K>(section, begin);
      if (key == wanted) {
        return load<S>(layout_.states[section], begin);
      }
      if (key.hash() != hash) {
        break;
      }
    }
    return std::nullopt;
  }

  template <TableKey K, class Function>
  void for_each_in(std::size_t section, Function& function) const {
    for (std::size_t at = 0; at < header_.counts[section]; ++at) {
      function(table_key<K>(section, at), load<S>(layout_.states[section], at));
    }
  }

  const std::byte* bytes_;
  KeyedRunHeader header_;
  KeyedRunLayout layout_;
  std::size_t size_;
};

}  // namespace pinion
