#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include <pinion/shard/key_hash.hpp>

// Keys as tables hold them: values of a fixed size that hash, compare and can be empty. A program's
// integers and structs are one such value each. Its texts are three: most words fit into one or two
// machine words, and then neither a pointer is followed nor a byte compared.

namespace pinion {

/// A struct that is its bytes: no padding, no pointer to what matters, equal when the bytes are.
template <class T>
concept StructKey =
    std::is_class_v<T> && std::is_trivially_copyable_v<T> &&
    std::has_unique_object_representations_v<T> && !std::same_as<T, std::string_view> &&
    sizeof(T) <= 64;

/// What keyed aggregation takes as a key: text (bytes of any value, also none), an integer, or a
/// struct that is its bytes.
template <class T>
concept AggregationKey = std::same_as<T, std::string_view> ||
                         (std::integral<T> && !std::same_as<T, bool>) ||
                         StructKey<T>;

/// A key of an OpenTable. All of its bytes zero means that it is empty.
template <class K>
concept TableKey = std::is_trivially_copyable_v<K> && requires(const K& key) {
  { key.hash() } -> std::same_as<std::uint64_t>;
  { key.empty() } -> std::same_as<bool>;
  { key == key } -> std::convertible_to<bool>;
  { key < key } -> std::convertible_to<bool>;  // Any order that is the same on every host.
};

/// An integer or a struct.
template <class Key>
struct FixedKey {
  Key value;

  [[nodiscard]] std::uint64_t hash() const noexcept {
    if constexpr (std::integral<Key>) {
      return mix_bits(static_cast<std::make_unsigned_t<Key>>(value));
    } else {
      std::uint64_t hash = 0;
      for (std::size_t at = 0; at < sizeof(Key); at += sizeof(std::uint64_t)) {
        hash = mix_bits(word(at) ^ ((hash << 23) | (hash >> 41)));
      }
      return hash;
    }
  }
  [[nodiscard]] bool empty() const noexcept {
    if constexpr (std::integral<Key>) {
      return value == 0;
    } else {
      const Key zero = {};
      return std::memcmp(&value, &zero, sizeof(Key)) == 0;
    }
  }
  friend bool operator==(const FixedKey& left, const FixedKey& right) noexcept {
    if constexpr (std::integral<Key>) {
      return left.value == right.value;
    } else {
      return std::memcmp(&left.value, &right.value, sizeof(Key)) == 0;
    }
  }
  friend bool operator<(const FixedKey& left, const FixedKey& right) noexcept {
    if constexpr (std::integral<Key>) {
      return left.value < right.value;
    } else {
      return std::memcmp(&left.value, &right.value, sizeof(Key)) < 0;
    }
  }

 private:
  [[nodiscard]] std::uint64_t word(std::size_t at) const noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, reinterpret_cast<const std::byte*>(&value) + at,
                sizeof(Key) - at < sizeof(word) ? sizeof(Key) - at : sizeof(word));
    return word;
  }
};

/// A text of 1 to 8 bytes whose last byte is not zero, padded with zeros: the last byte tells where
/// it ends.
struct ShortText {
  std::uint64_t word;

  [[nodiscard]] std::uint64_t hash() const noexcept { return mix_bits(word); }
  [[nodiscard]] bool empty() const noexcept { return word == 0; }
  friend auto operator<=>(const ShortText&, const ShortText&) = default;
};

/// A text of 9 to 16 bytes whose last byte is not zero, padded with zeros.
struct MediumText {
  std::uint64_t low;
  std::uint64_t high;

  [[nodiscard]] std::uint64_t hash() const noexcept { return mix_bits(mix_bits(low) ^ high); }
  [[nodiscard]] bool empty() const noexcept { return high == 0; }
  friend auto operator<=>(const MediumText&, const MediumText&) = default;
};

/// Any other text, by reference.
struct LongText {
  std::uint64_t text_hash;
  const char* data;
  std::size_t size;

  [[nodiscard]] static LongText of(std::string_view text) noexcept {
    return with_hash(hash_text(text), text);
  }
  [[nodiscard]] static LongText with_hash(std::uint64_t hash, std::string_view text) noexcept {
    // A text without bytes may come without an address, which would mean an empty key.
    return {hash, text.empty() ? "" : text.data(), text.size()};
  }
  [[nodiscard]] std::string_view text() const noexcept { return {data, size}; }
  [[nodiscard]] std::uint64_t hash() const noexcept { return text_hash; }
  [[nodiscard]] bool empty() const noexcept { return data == nullptr; }
  friend bool operator==(const LongText& left, const LongText& right) noexcept {
    return left.text_hash == right.text_hash && left.data != nullptr && right.data != nullptr &&
           left.text() == right.text();
  }
  friend bool operator<(const LongText& left, const LongText& right) noexcept {
    return left.text() < right.text();
  }
};

enum class TextClass : std::uint8_t { kShort, kMedium, kLong };

[[nodiscard]] inline TextClass text_class_of(std::string_view text) noexcept {
  if (text.empty() || text.size() > 16 || text.back() == '\0') {
    return TextClass::kLong;
  }
  return text.size() <= 8 ? TextClass::kShort : TextClass::kMedium;
}

/// Precondition: the text is of that class.
[[nodiscard]] inline ShortText short_text(std::string_view text) noexcept {
  ShortText key = {};
  std::memcpy(&key, text.data(), text.size());
  return key;
}
[[nodiscard]] inline MediumText medium_text(std::string_view text) noexcept {
  MediumText key = {};
  std::memcpy(&key, text.data(), text.size());
  return key;
}

/// The hash that chooses the partition of a key.
template <AggregationKey Key>
[[nodiscard]] std::uint64_t hash_key(const Key& key) noexcept {
  if constexpr (std::same_as<Key, std::string_view>) {
    const TextClass text_class = text_class_of(key);
    return text_class == TextClass::kShort    ? short_text(key).hash()
           : text_class == TextClass::kMedium ? medium_text(key).hash()
                                              : hash_text(key);
  } else {
    return FixedKey<Key>{key}.hash();
  }
}

/// An order of keys that is the same on every host: integers by value, texts and structs by bytes.
template <AggregationKey Key>
[[nodiscard]] bool key_is_less(const Key& left, const Key& right) noexcept {
  if constexpr (std::same_as<Key, std::string_view>) {
    return left < right;
  } else {
    return FixedKey<Key>{left} < FixedKey<Key>{right};
  }
}

}  // namespace pinion
