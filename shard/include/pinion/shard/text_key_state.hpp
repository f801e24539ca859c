#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <type_traits>
#include <vector>

#include <pinion/shard/fold.hpp>
#include <pinion/shard/key_arena.hpp>
#include <pinion/shard/key_front.hpp>
#include <pinion/shard/key_sum.hpp>
#include <pinion/shard/open_table.hpp>
#include <pinion/shard/table_key.hpp>

namespace pinion {

/// The states of text keys. Three tables, by the length of the key, and in front of those for short
/// and medium keys a KeyFront each, which stays in the second-level cache.
///
/// Thread safety: none for one object.
template <Fold F>
class TextKeyState {
 public:
  using S = typename F::State;
  using Value = typename F::Value;
  using PassedValue = std::conditional_t<std::is_trivially_copyable_v<Value> && sizeof(Value) <= 16,
                                         Value, const Value&>;

  /// Readable bytes behind the begin of a key that add_padded() relies on.
  static constexpr std::size_t kReadableBytes = 16;

  /// Makes what stands in front of the tables. Call it before adding.
  void prepare() {
    if (long_list_ == nullptr) {
      short_front_.prepare();
      medium_front_.prepare();
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
    add_long({key, size}, F::first(value));
  }

  /// Adds a value for a key that may be gone afterwards.
  // Not inlined, so that a loop whose keys lie in the text keeps what it needs in registers; for
  // the same reason a small value does not come by reference.
  [[gnu::noinline]] void add_copied(std::string_view key, PassedValue value) {
    switch (text_class_of(key)) {
      case TextClass::kShort:
        add_short(short_text(key).word, value);
        break;
      case TextClass::kMedium:
        add_medium(medium_text(key), value);
        break;
      case TextClass::kLong: {
        const LongText text = LongText::of(key);
        held_.add(text.hash());
        join(text, F::first(value));
        break;
      }
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

  /// Says which keys come by join() next. in_order() lists them all, those that come twice once.
  void expect(const KeySum& keys) noexcept { held_ += keys; }

  /// Joins a state that was sealed.
  void join(const ShortText& key, const S& state) { join_in(short_, key, state); }
  void join(const MediumText& key, const S& state) { join_in(medium_, key, state); }
  void join(const LongText& key, const S& state) {
    const auto [slot, added] = long_.find_or_add(key, key.hash());
    if (added) {
      slot->key = LongText::with_hash(key.text_hash, arena_.keep(key.text()));
      slot->state = state;
    } else {
      F::join(slot->state, state);
      held_.remove(key.hash());
    }
  }

  struct Ordered {
    std::vector<OrderedEntry<ShortText, S>> short_texts;
    std::vector<OrderedEntry<MediumText, S>> medium_texts;
    std::vector<OrderedEntry<LongText, S>> long_texts;
  };

  /// Everything, in the order of hashes. What is added afterwards makes the lists invalid.
  [[nodiscard]] Ordered in_order() {
    short_front_.drain(short_);
    medium_front_.drain(medium_);
    drain_borrowed();
    return {entries_in_order(short_), entries_in_order(medium_), entries_in_order(long_)};
  }

  /// What in_order() must have listed, by what came.
  [[nodiscard]] KeySum held() const noexcept {
    KeySum held = held_;
    held += short_front_.keys();
    held += medium_front_.keys();
    return held;
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept {
    return short_.memory_bytes() + medium_.memory_bytes() + long_.memory_bytes() +
           arena_.memory_bytes() + short_front_.memory_bytes() + medium_front_.memory_bytes();
  }

  /// For tests: the tables of short, medium and long texts.
  template <class Function>
  void for_each_table(Function function) const {
    function(short_);
    function(medium_);
    function(long_);
  }

 private:
  struct LongEntry {
    LongText key = {};
    S state = {};
  };

  // With the block of input and the lists both fit into a second-level cache of half a megabyte.
  // Where it is smaller most keys are found there all the same, as the same ones come all the time.
  static constexpr std::size_t kShortFrontBytes = std::size_t{256} << 10;
  static constexpr std::size_t kMediumFrontBytes = std::size_t{96} << 10;

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
    short_front_.add({word}, word * kSpread, value, short_);
  }

  void add_medium(const MediumText& key, const Value& value) {
    const std::uint64_t spread = ((key.low ^ (key.high >> 1)) * kSpread + key.high) * kSpread;
    medium_front_.add(key, spread, value, medium_);
  }

  [[gnu::noinline]] void add_long(std::string_view key, S state) {
    if (long_count_ == kListCount) {
      drain_borrowed();
    }
    const LongText text = LongText::of(key);
    held_.add(text.hash());
    long_list_[long_count_++] = {text, state};
  }

  template <TableKey K>
  void join_in(OpenTable<K, S>& table, const K& key, const S& state) {
    const std::uint64_t hash = key.hash();
    const auto [slot, added] = table.find_or_add(key, hash);
    if (added) {
      slot->state = state;
    } else {
      F::join(slot->state, state);
      held_.remove(hash);
    }
  }

  OpenTable<ShortText, S> short_;
  OpenTable<MediumText, S> medium_;
  OpenTable<LongText, S> long_;
  KeyArena arena_;

  KeyFront<ShortText, F, kShortFrontBytes> short_front_;
  KeyFront<MediumText, F, kMediumFrontBytes> medium_front_;
  std::unique_ptr<LongEntry[]> long_list_;
  std::size_t long_count_ = 0;

  // Of all entries that were made, or were to come, but for those that were joined with others.
  // Those that were made in front of the tables are counted there.
  KeySum held_;
};

}  // namespace pinion
