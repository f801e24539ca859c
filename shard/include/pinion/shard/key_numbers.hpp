#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

#include <pinion/shard/key_arena.hpp>
#include <pinion/shard/open_table.hpp>
#include <pinion/shard/table_key.hpp>

namespace pinion {

/// Numbers keys from 0 on as they come, for what is kept for a key and cannot lie in a table
/// itself.
///
/// Thread safety: none for one object.
template <AggregationKey Key>
class KeyNumbers {
  static constexpr bool kText = std::same_as<Key, std::string_view>;

 public:
  /// As tables hold a key that is no medium or long text.
  using First =
      std::conditional_t<kText, ShortText, FixedKey<std::conditional_t<kText, std::uint64_t, Key>>>;
  template <class K>
  using Entries = std::vector<OrderedEntry<K, std::uint64_t>>;

  /// Keys that have a number.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// The number of a key; a new key takes size(). Keys are copied.
  [[nodiscard]] std::uint64_t number_of(const Key& key) {
    if constexpr (kText) {
      switch (text_class_of(key)) {
        case TextClass::kShort:
          return number_of_key(short_text(key));
        case TextClass::kMedium:
          return number_of_key(medium_text(key));
        case TextClass::kLong:
          break;
      }
      return number_of_key(LongText::of(key));
    } else {
      return number_of_key(First{key});
    }
  }

  [[nodiscard]] std::uint64_t number_of_key(const First& key) {
    if constexpr (!kText) {
      if (key.empty()) {
        return number_of_zero();
      }
    }
    return number_in(first_, key);
  }
  [[nodiscard]] std::uint64_t number_of_key(const MediumText& key) requires kText {
    return number_in(medium_, key);
  }
  [[nodiscard]] std::uint64_t number_of_key(const LongText& key) requires kText {
    const auto [slot, added] = long_.find_or_add(key, key.hash());
    if (added) {
      slot->key = LongText::with_hash(key.text_hash, arena_.keep(key.text()));
      slot->state = size_++;
    }
    return slot->state;
  }

  /// Makes room for so many keys of each class: see OpenTable::reserve().
  void reserve(const std::array<std::size_t, 3>& counts, HashRange range) {
    first_.reserve(counts[0], range);
    medium_.reserve(counts[1], range);
    long_.reserve(counts[2], range);
  }

  struct Ordered {
    Entries<First> first;
    Entries<MediumText> medium;
    Entries<LongText> long_texts;
  };

  /// All keys with their numbers, in the order of hashes. Borrows.
  [[nodiscard]] Ordered in_order() const {
    Ordered ordered = {{}, entries_in_order(medium_), entries_in_order(long_)};
    ordered.first.reserve(first_.size() + 1);
    if (has_zero_) {
      ordered.first.push_back({0, &zero_});  // Its hash is 0, so it is the first.
    }
    first_.for_each([&](const auto& slot) {
      append_in_order<First, std::uint64_t>(ordered.first, {slot.key.hash(), &slot});
    });
    return ordered;
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept {
    return first_.memory_bytes() + medium_.memory_bytes() + long_.memory_bytes() +
           arena_.memory_bytes();
  }

  /// For tests.
  [[nodiscard]] const OpenTable<First, std::uint64_t>& first_table() const noexcept {
    return first_;
  }

 private:
  template <TableKey K>
  [[nodiscard]] std::uint64_t number_in(OpenTable<K, std::uint64_t>& table, const K& key) {
    const auto [slot, added] = table.find_or_add(key, key.hash());
    if (added) {
      slot->state = size_++;
    }
    return slot->state;
  }

  [[nodiscard]] std::uint64_t number_of_zero() noexcept {
    if (!has_zero_) {
      has_zero_ = true;
      zero_.state = size_++;
    }
    return zero_.state;
  }

  OpenTable<First, std::uint64_t> first_;
  OpenTable<MediumText, std::uint64_t> medium_;
  OpenTable<LongText, std::uint64_t> long_;
  KeyArena arena_;
  typename OpenTable<First, std::uint64_t>::Slot zero_ = {};  // The fixed key of zero bytes.
  bool has_zero_ = false;
  std::uint64_t size_ = 0;
};

}  // namespace pinion
