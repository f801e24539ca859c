#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include <pinion/shard/fold.hpp>
#include <pinion/shard/key_arena.hpp>
#include <pinion/shard/open_table.hpp>
#include <pinion/shard/table_key.hpp>

namespace pinion {

/// The states of text keys. Three tables, by the length of the key, and in front of those for short
/// and medium keys small tables without collisions that stay in the second-level cache: a key that
/// does not find its place there takes it, and what it drives out goes on a list. Lists are worked
/// off in blocks, so that the slots of a block are fetched from memory together.
///
/// Thread safety: none for one object.
template <Fold F>
class TextKeyState {
 public:
  using S = typename F::State;
  using Value = typename F::Value;

  /// Readable bytes behind the begin of a key that add_padded() relies on.
  static constexpr std::size_t kReadableBytes = 16;

  /// Makes the lists and the front table. Call it before adding.
  void prepare() {
    if (front_ == nullptr) {
      front_ = std::make_unique<FrontEntry[]>(kFrontCount);
      medium_front_ = std::make_unique<MediumEntry[]>(kMediumFrontCount);
      short_list_ = std::make_unique<FrontEntry[]>(kListCount);
      medium_list_ = std::make_unique<MediumEntry[]>(kListCount);
      long_list_ = std::make_unique<LongEntry[]>(kListCount);
    }
  }

  /// Adds a value for the key of `size` bytes at `key`. At least kReadableBytes bytes from `key` on
  /// are readable. The bytes of the key must stay until drain_borrowed().
  void add_padded(const char* key, std::size_t size, const Value& value) {
    if (size - 1 < 8) {
      if (key[size - 1] != '\0') [[likely]] {
        add_short(load_word(key) & kFirstBytes[size], value);
        return;
      }
    } else if (size - 9 < 8) {
      if (key[size - 1] != '\0') [[likely]] {
        add_medium({load_word(key), load_word(key + 8) & kFirstBytes[size - 8]}, value);
        return;
      }
    }
    add_long({key, size}, value);
  }

  /// Adds a value for a key that may be gone afterwards.
  void add_copied(std::string_view key, const Value& value) {
    switch (text_class_of(key)) {
      case TextClass::kShort:
        add_short(short_text(key).word, value);
        break;
      case TextClass::kMedium:
        add_medium(medium_text(key), value);
        break;
      case TextClass::kLong:
        join(LongText::of(key), F::first(value));
        break;
    }
  }

  /// Afterwards nothing refers to the bytes of keys that were added.
  void drain_borrowed() {
    for (std::size_t i = 0; i < long_count_; ++i) {
      long_.prefetch(long_list_[i].key.hash());
    }
    for (std::size_t i = 0; i < long_count_; ++i) {
      join(long_list_[i].key, long_list_[i].state);
    }
    long_count_ = 0;
  }

  /// Makes room for so many short, medium and long keys: see OpenTable::reserve().
  void reserve(const std::array<std::size_t, 3>& counts, HashRange range) {
    short_.reserve(counts[0], range);
    medium_.reserve(counts[1], range);
    long_.reserve(counts[2], range);
  }

  void join(const ShortText& key, const S& state) { join_in(short_, key, state); }
  void join(const MediumText& key, const S& state) { join_in(medium_, key, state); }
  void join(const LongText& key, const S& state) {
    const auto [slot, added] = long_.find_or_add(key, key.hash());
    if (added) {
      slot->key = LongText::with_hash(key.text_hash, arena_.keep(key.text()));
      slot->state = state;
    } else {
      F::join(slot->state, state);
    }
  }

  struct Ordered {
    std::vector<OrderedEntry<ShortText, S>> short_texts;
    std::vector<OrderedEntry<MediumText, S>> medium_texts;
    std::vector<OrderedEntry<LongText, S>> long_texts;
  };

  /// Everything, in the order of hashes. What is added afterwards makes the lists invalid.
  [[nodiscard]] Ordered in_order() {
    drain_fronts();
    drain_short();
    drain_medium();
    drain_borrowed();
    return {entries_in_order(short_), entries_in_order(medium_), entries_in_order(long_)};
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept {
    return short_.memory_bytes() + medium_.memory_bytes() + long_.memory_bytes() +
           arena_.memory_bytes() +
           (front_ == nullptr
                ? 0
                : kFrontCount * sizeof(FrontEntry) + kMediumFrontCount * sizeof(MediumEntry));
  }

 private:
  struct FrontEntry {
    std::uint64_t word = 0;  // 0: nothing here.
    S state = {};
  };
  struct MediumEntry {
    MediumText key = {};
    S state = {};
  };
  struct LongEntry {
    LongText key = {};
    S state = {};
  };

  // Less than a quarter of a megabyte in all: with the block of input and the lists it fits into
  // the second-level cache of the machines of the last ten years.
  static constexpr std::size_t kFrontCount =
      std::bit_floor((std::size_t{128} << 10) / sizeof(FrontEntry));
  static constexpr int kFrontShift = 64 - std::countr_zero(kFrontCount);
  static constexpr std::size_t kMediumFrontCount =
      std::bit_floor((std::size_t{96} << 10) / sizeof(MediumEntry));
  static constexpr int kMediumFrontShift = 64 - std::countr_zero(kMediumFrontCount);

  // Odd, and without pattern: the high bits of a product with it depend on every bit of the word.
  static constexpr std::uint64_t kSpread = 0x9e3779b97f4a7c15u;

  // Which bytes of a word a key of 0 to 8 bytes has.
  static constexpr std::array<std::uint64_t, 9> kFirstBytes = [] {
    std::array<std::uint64_t, 9> masks = {};
    for (std::size_t size = 1; size < masks.size(); ++size) {
      masks[size] = ~std::uint64_t{0} >> (64 - 8 * size);
    }
    return masks;
  }();
  static constexpr std::size_t kListCount = 256;

  [[nodiscard]] static std::uint64_t load_word(const char* at) noexcept {
    // Hides from the compiler what `at` points to: where a program emits a literal it would warn of
    // the bytes behind it, though literals never come here.
    __asm__("" : "+r"(at));
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof(word));
    return word;
  }

  void add_short(std::uint64_t word, const Value& value) {
    FrontEntry& entry = front_[(word * kSpread) >> kFrontShift];
    if (entry.word == word) [[likely]] {
      F::add(entry.state, value);
      return;
    }
    if (entry.word != 0) {
      if (short_count_ == kListCount) {
        drain_short();
      }
      short_list_[short_count_++] = entry;
    }
    entry.word = word;
    entry.state = F::first(value);
  }

  void add_medium(const MediumText& key, const Value& value) {
    MediumEntry& entry =
        medium_front_[((key.low ^ (key.high >> 1)) * kSpread + key.high) * kSpread >>
                      kMediumFrontShift];
    if (entry.key == key) [[likely]] {
      F::add(entry.state, value);
      return;
    }
    if (!entry.key.empty()) {
      if (medium_count_ == kListCount) {
        drain_medium();
      }
      medium_list_[medium_count_++] = entry;
    }
    entry = {key, F::first(value)};
  }

  [[gnu::noinline]] void add_long(std::string_view key, const Value& value) {
    if (long_count_ == kListCount) {
      drain_borrowed();
    }
    long_list_[long_count_++] = {LongText::of(key), F::first(value)};
  }

  [[gnu::noinline]] void drain_short() {
    for (std::size_t i = 0; i < short_count_; ++i) {
      short_.prefetch(ShortText{short_list_[i].word}.hash());
    }
    for (std::size_t i = 0; i < short_count_; ++i) {
      join(ShortText{short_list_[i].word}, short_list_[i].state);
    }
    short_count_ = 0;
  }

  [[gnu::noinline]] void drain_medium() {
    for (std::size_t i = 0; i < medium_count_; ++i) {
      medium_.prefetch(medium_list_[i].key.hash());
    }
    for (std::size_t i = 0; i < medium_count_; ++i) {
      join(medium_list_[i].key, medium_list_[i].state);
    }
    medium_count_ = 0;
  }

  void drain_fronts() {
    for (std::size_t i = 0; front_ != nullptr && i < kFrontCount; ++i) {
      if (front_[i].word != 0) {
        join(ShortText{front_[i].word}, front_[i].state);
        front_[i].word = 0;
      }
    }
    for (std::size_t i = 0; medium_front_ != nullptr && i < kMediumFrontCount; ++i) {
      if (!medium_front_[i].key.empty()) {
        join(medium_front_[i].key, medium_front_[i].state);
        medium_front_[i].key = {};
      }
    }
  }

  template <TableKey K>
  static void join_in(OpenTable<K, S>& table, const K& key, const S& state) {
    const auto [slot, added] = table.find_or_add(key, key.hash());
    if (added) {
      slot->state = state;
    } else {
      F::join(slot->state, state);
    }
  }

  OpenTable<ShortText, S> short_;
  OpenTable<MediumText, S> medium_;
  OpenTable<LongText, S> long_;
  KeyArena arena_;

  std::unique_ptr<FrontEntry[]> front_;
  std::unique_ptr<MediumEntry[]> medium_front_;
  std::unique_ptr<FrontEntry[]> short_list_;
  std::unique_ptr<MediumEntry[]> medium_list_;
  std::unique_ptr<LongEntry[]> long_list_;
  std::size_t short_count_ = 0;
  std::size_t medium_count_ = 0;
  std::size_t long_count_ = 0;
};

}  // namespace pinion
