#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/shard/fold.hpp>
#include <pinion/shard/hash_order.hpp>
#include <pinion/shard/key_sum.hpp>
#include <pinion/shard/open_table.hpp>
#include <pinion/shard/row_scatter.hpp>
#include <pinion/shard/table_key.hpp>
#include <pinion/shard/zeroed_pages.hpp>

namespace pinion {

/// The states of integer or struct keys. Starts with a hash table, and goes by what the rows show.
/// When integers turn out to be small and dense it moves them into an array that they index, which
/// has no probes and half the footprint. While nearly all rows have a key of their own, it keeps
/// the rows, in parts by their hashes (RowScatter), instead of a table that no cache holds.
///
/// Thread safety: none for one object.
template <AggregationKey Key, Fold F>
class FixedKeyState {
 public:
  using K = FixedKey<Key>;
  using S = typename F::State;
  using Value = typename F::Value;
  using Entry = OrderedEntry<K, S>;

  /// Adds one value for each key. Precondition: as many values as keys.
  void add(std::span<const Key> keys, std::span<const Value> values) {
    PINION_ASSERT(keys.size() == values.size());
    for (std::size_t done = 0; done < keys.size();) {
      const std::size_t block = dense_limit_ > 0 ? kDenseBlock : kBlock;
      const std::size_t count = std::min(block, keys.size() - done);
      add_block(keys.data() + done, values.data() + done, count);
      done += count;
    }
  }

  /// Makes room for `count` keys in all: see OpenTable::reserve().
  void reserve(std::size_t count, HashRange range = {}) { table_.reserve(count, range); }

  /// Says which keys come by join() next. in_order() lists them all, those that come twice once.
  void expect(const KeySum& keys) noexcept { held_ += keys; }

  /// Joins a state that was sealed.
  void join(const K& key, const S& state) {
    const std::uint64_t hash = key.hash();
    if constexpr (kMayBeDense) {
      if (index_of(key.value) < dense_limit_) {
        join_dense(index_of(key.value), state);
        held_.remove(hash);
        return;
      }
    }
    if (key.empty()) {
      join_zero(state);
      return;
    }
    if (scatter_ != nullptr) {
      scatter_->add(key, hash, state);
      return;
    }
    const auto [slot, added] = table_.find_or_add(key, hash);
    if (added) {
      slot->state = state;
    } else {
      F::join(slot->state, state);
      held_.remove(hash);
    }
  }

  /// Everything, in the order of hashes. What is added afterwards makes the list invalid.
  [[nodiscard]] std::vector<Entry> in_order() {
    if constexpr (kMayBeDense) {
      if (dense_limit_ > 0) {
        return dense_in_order();
      }
    }
    std::vector<Entry> entries;
    if (has_zero_) {
      entries.push_back({0, &zero_});  // Its hash is 0, so it is the first.
    }
    if (scatter_ != nullptr) {
      entries.reserve(entries.size() + static_cast<std::size_t>(scatter_->row_count()));
      held_ -= scatter_->append_in_order(entries);
      return entries;
    }
    if (entries.empty()) {
      return entries_in_order(table_);
    }
    entries.reserve(table_.size() + 1);
    table_.for_each([&](const auto& slot) {
      append_in_order<K, S>(entries, {slot.key.hash(), &slot});
    });
    return entries;
  }

  /// What in_order() must have listed, by what came.
  [[nodiscard]] KeySum held() const noexcept {
    KeySum held = held_;
    held += dense_keys_;
    return held;
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept {
    return table_.memory_bytes() + dense_states_.size_bytes() + dense_marks_.size_bytes() +
           ordered_.size_bytes() + (scatter_ == nullptr ? 0 : scatter_->memory_bytes());
  }

  /// For tests: how many keys index the array; 0 while there is none.
  [[nodiscard]] std::uint64_t dense_limit() const noexcept { return dense_limit_; }
  [[nodiscard]] bool keeps_rows() const noexcept { return scatter_ != nullptr; }
  [[nodiscard]] const OpenTable<K, S>& table() const noexcept { return table_; }

 private:
  using Slot = typename OpenTable<K, S>::Slot;

  static constexpr bool kMayBeDense = std::integral<Key>;
  static constexpr std::size_t kBlock = 256;
  static constexpr std::size_t kDenseBlock = 4096;
  static constexpr std::size_t kPrefetchDistance = 16;

  // Below this the table lies in a cache that is near enough.
  static constexpr std::uint64_t kNearBytes = std::uint64_t{256} << 10;

  // What an array may cost: memory in all, and elements for each key that is there.
  static constexpr std::uint64_t kDenseBytesMax = std::uint64_t{256} << 20;
  static constexpr std::uint64_t kDenseElementsPerKey = 16;
  static constexpr std::size_t kFirstDenseCheck = 32;

  // Arrays of so few states are there several times.
  static constexpr std::uint64_t kCopiedLimit = 1024;
  static constexpr std::size_t kCopies = 4;

  static constexpr std::size_t kDensePrefetchDistance = 64;

  // Of a table with so many keys most slots are in no cache. Rows are kept instead while more than
  // this share of them have new keys, and as long as the other share has a key of its own: there a
  // table, five eighths full at most and half of that on average, takes about as much memory.
  static constexpr std::size_t kFirstScatterCheck = std::size_t{1} << 20;
  static constexpr double kNewKeysMin = 0.75;
  static constexpr double kDistinctKeysMin = 0.5;

  [[nodiscard]] static std::uint64_t index_of(Key key) noexcept requires kMayBeDense {
    return static_cast<std::make_unsigned_t<Key>>(key);
  }
  [[nodiscard]] S* dense_states() const noexcept {
    return reinterpret_cast<S*>(dense_states_.begin());
  }
  [[nodiscard]] std::uint8_t* dense_marks() const noexcept {
    return reinterpret_cast<std::uint8_t*>(dense_marks_.begin());
  }

  void add_block(const Key* keys, const Value* values, std::size_t count) {
    if constexpr (kMayBeDense) {
      if (table_.size() >= next_dense_check_) {
        consider_dense();
      }
      if (dense_limit_ > 0) {
        add_dense(keys, values, count);
        return;
      }
    }
    if (scatter_ != nullptr) {
      add_scattered(keys, values, count);
      return;
    }
    rows_since_check_ += count;
    if (table_.size() >= next_scatter_check_ && consider_scatter()) {
      add_scattered(keys, values, count);
      return;
    }
    if (table_.size() == 0) {
      table_.reserve(1);
    }
    if (table_.memory_bytes() <= kNearBytes) {
      add_near(keys, values, count);
    } else {
      add_far(keys, values, count);
    }
  }

  void add_near(const Key* keys, const Value* values, std::size_t count) {
    auto finder = table_.finder();
    for (std::size_t i = 0; i < count; ++i) {
      const K key = {keys[i]};
      const std::uint64_t hash = key.hash();
      if (auto* const slot = finder.find(key, hash); slot != nullptr && !key.empty()) [[likely]] {
        F::add(slot->state, values[i]);
      } else {
        add_one(key, hash, values[i]);
        finder = table_.finder();
      }
    }
  }

  // Fetches the slots of keys ahead of their turn.
  void add_far(const Key* keys, const Value* values, std::size_t count) {
    std::array<std::uint64_t, kBlock + kPrefetchDistance> hashes;
    for (std::size_t i = 0; i < count; ++i) {
      hashes[i] = K{keys[i]}.hash();
    }
    std::fill_n(hashes.begin() + static_cast<std::ptrdiff_t>(count), kPrefetchDistance, 0);
    auto finder = table_.finder();
    for (std::size_t i = 0; i < kPrefetchDistance; ++i) {
      finder.prefetch(hashes[i]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      finder.prefetch(hashes[i + kPrefetchDistance]);
      const K key = {keys[i]};
      if (auto* const slot = finder.find(key, hashes[i]); slot != nullptr && !key.empty())
          [[likely]] {
        F::add(slot->state, values[i]);
      } else {
        add_one(key, hashes[i], values[i]);
        finder = table_.finder();
      }
    }
  }

  void add_one(const K& key, std::uint64_t hash, const Value& value) {
    if (key.empty()) {
      add_zero(value);
      return;
    }
    const auto [slot, added] = table_.find_or_add(key, hash);
    if (added) {
      slot->state = F::first(value);
      held_.add(hash);
    } else {
      F::add(slot->state, value);
    }
  }

  void add_scattered(const Key* keys, const Value* values, std::size_t count) {
    KeySum added;
    for (std::size_t i = 0; i < count; ++i) {
      const K key = {keys[i]};
      if (key.empty()) {
        add_zero(values[i]);
      } else {
        const std::uint64_t hash = key.hash();
        scatter_->add(key, hash, F::first(values[i]));
        added.add(hash);
      }
    }
    held_ += added;
    rows_since_check_ += count;
    if (rows_since_check_ >= next_scatter_check_ && scatter_->distinct_share() < kDistinctKeysMin) {
      leave_scatter();
    } else if (rows_since_check_ >= next_scatter_check_) {
      next_scatter_check_ = rows_since_check_ * 2;
    }
  }

  // Called when the table has doubled since it was asked last. True: rows are kept from here on.
  [[nodiscard]] bool consider_scatter() {
    const auto new_keys = static_cast<double>(table_.size() - size_at_check_);
    const bool enters = new_keys > kNewKeysMin * static_cast<double>(rows_since_check_);
    size_at_check_ = table_.size();
    next_scatter_check_ = size_at_check_ * 2;
    if (enters) {
      scatter_ = std::make_unique<RowScatter<K, F>>();
      table_.for_each(
          [this](const auto& slot) { scatter_->add(slot.key, slot.key.hash(), slot.state); });
      table_ = {};
    }
    rows_since_check_ = enters ? size_at_check_ : 0;
    return enters;
  }

  void leave_scatter() {
    const auto scatter = std::exchange(scatter_, nullptr);
    const auto row_count = static_cast<double>(scatter->row_count());
    table_.reserve(static_cast<std::size_t>(row_count * kDistinctKeysMin));
    scatter->for_each([this](const K& key, const S& state) { join(key, state); });
    size_at_check_ = table_.size();
    next_scatter_check_ = size_at_check_ * 2;
    rows_since_check_ = 0;
  }

  void add_dense(const Key* keys, const Value* values, std::size_t count) {
    std::size_t done = 0;
    if constexpr (kStartsFromZero<F>) {
      if (dense_states_.size_bytes() > kNearBytes && has_frequent_keys(keys, count)) {
        done = add_dense_rows<kDensePrefetchDistance>(keys, values, count);
      }
      done += add_dense_rows<0>(keys + done, values + done, count - done);
    }
    add_dense_one_by_one(keys + done, values + done, count - done);
  }

  // Whether some keys come so often that a processor takes the state it loads for one that it has
  // just stored, waits for that store, and no longer loads ahead: then fetching ahead is worth its
  // instructions. Looks at a sixteenth of the rows.
  [[nodiscard]] static bool has_frequent_keys(const Key* keys, std::size_t count) noexcept {
    std::size_t pair_count = 0;
    for (std::size_t i = 1; i < count / 16; ++i) {
      pair_count += keys[i] == keys[i - 1] ? 1 : 0;
    }
    return pair_count > 1;
  }

  // Adds rows, eight at a time, as long as `Distance` more follow; returns how many. Rows that
  // follow each other use different copies, so that none waits for the one before it where few keys
  // come again and again.
  template <std::size_t Distance>
  std::size_t add_dense_rows(const Key* keys, const Value* values, std::size_t count) {
    constexpr std::size_t kStep = 8;
    S* const states = dense_states();
    std::uint8_t* const marks = dense_marks();
    const std::uint64_t limit = dense_limit_;
    const std::size_t stride = dense_copies_ == 1 ? 0 : static_cast<std::size_t>(limit);
    std::size_t i = 0;
    for (; i + kStep + Distance <= count; i += kStep) {
      std::array<std::uint64_t, kStep> at;
      std::uint64_t all = 0;
      for (std::size_t row = 0; row < kStep; ++row) {
        at[row] = index_of(keys[i + row]);
        all |= at[row];
        if constexpr (Distance > 0) {
          __builtin_prefetch(states + (index_of(keys[i + row + Distance]) & (limit - 1)), 1);
        }
      }
      // The limit is a power of two.
      if (all >= limit) {
        add_dense_one_by_one(keys + i, values + i, kStep);
        continue;
      }
      for (std::size_t row = 0; row < kStep; ++row) {
        S& state = states[at[row] + row % kCopies * stride];
        F::add(state, values[i + row]);
        if (is_zero(state)) [[unlikely]] {
          marks[at[row]] = 1;
        }
      }
    }
    return i;
  }

  void add_dense_one_by_one(const Key* keys, const Value* values, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t index = index_of(keys[i]);
      if (index >= dense_limit_) {
        const K key = {keys[i]};
        add_one(key, key.hash(), values[i]);
      } else if (is_there(index)) {
        F::add(dense_states()[index], values[i]);
        dense_marks()[index] = 1;
      } else {
        dense_states()[index] = F::first(values[i]);
        dense_marks()[index] = 1;
      }
    }
  }

  [[nodiscard]] static bool is_zero(const S& state) noexcept {
    constexpr std::array<std::byte, sizeof(S)> kZeros = {};
    return std::memcmp(&state, kZeros.data(), sizeof(S)) == 0;
  }

  // Whether a key was added, when copies are joined. Where folds start from zero, a state that is
  // not zero says so by itself: a mark for each row would cost as much as the sum.
  [[nodiscard]] bool is_there(std::uint64_t index) const noexcept {
    return dense_marks()[index] != 0 || (kStartsFromZero<F> && !is_zero(dense_states()[index]));
  }

  // The keys that index the array below `limit`, by `hash_of(index)`, when copies are joined.
  template <class HashOf>
  [[nodiscard]] KeySum keys_below(std::uint64_t limit, HashOf hash_of) const noexcept {
    KeySum keys;
    for (std::uint64_t index = 0; index < limit; ++index) {
      const bool there = is_there(index);
      keys.count += there ? 1 : 0;
      keys.hashes += there ? hash_of(index) : 0;
    }
    return keys;
  }
  // With each index in place of its hash: enough to tell whether an array that has moved holds the
  // same.
  [[nodiscard]] KeySum indices_below(std::uint64_t limit) const noexcept {
    return keys_below(limit, [](std::uint64_t index) { return index; });
  }
  // In whichever copy: what lies only in another one comes into the first when they are joined.
  [[nodiscard]] KeySum indices_of_copies() const noexcept {
    KeySum indices;
    for (std::uint64_t index = 0; index < dense_limit_; ++index) {
      bool there = is_there(index);
      for (std::uint64_t copy = 1; copy < dense_copies_; ++copy) {
        there = there || !is_zero(dense_states()[copy * dense_limit_ + index]);
      }
      if (there) {
        indices.add(index);
      }
    }
    return indices;
  }

  void join_dense(std::uint64_t index, const S& state) {
    if (is_there(index)) {
      F::join(dense_states()[index], state);
    } else {
      dense_states()[index] = state;
    }
    dense_marks()[index] = 1;
  }

  // Joins the copies in the first, and empties them.
  void join_dense_copies() {
    if (dense_copies_ == 1) {
      return;
    }
    held_ += indices_of_copies();
    S* const states = dense_states();
    for (std::uint64_t copy = 1; copy < dense_copies_; ++copy) {
      for (std::uint64_t index = 0; index < dense_limit_; ++index) {
        if (S& other = states[copy * dense_limit_ + index]; !is_zero(other)) {
          join_dense(index, other);
          std::memset(static_cast<void*>(&other), 0, sizeof(S));
        }
      }
    }
    held_ -= indices_below(dense_limit_);
  }

  void add_zero(const Value& value) {
    if (has_zero_) {
      F::add(zero_.state, value);
    } else {
      has_zero_ = true;
      zero_.state = F::first(value);
      held_.add(zero_.key.hash());
    }
  }
  void join_zero(const S& state) {
    if (has_zero_) {
      F::join(zero_.state, state);
      held_.remove(zero_.key.hash());
    } else {
      has_zero_ = true;
      zero_.state = state;
    }
  }

  // Called when the table has doubled since it was asked last, so that its cost is spread.
  void consider_dense() {
    std::uint64_t greatest = dense_limit_ > 0 ? dense_limit_ - 1 : 0;
    table_.for_each(
        [&](const auto& slot) { greatest = std::max(greatest, index_of(slot.key.value)); });
    next_dense_check_ = table_.size() * 2;
    join_dense_copies();
    const KeySum indices = indices_below(dense_limit_);
    const std::uint64_t key_count = table_.size() + indices.count;
    if (greatest >= kDenseElementsPerKey * key_count ||
        (greatest + 1) * sizeof(S) > kDenseBytesMax / 2) {
      return;
    }
    grow_dense(std::bit_ceil(greatest + 1), indices);
  }

  // `indices` are those of the array. All others are behind its end.
  void grow_dense(std::uint64_t limit, const KeySum& indices) {
    const std::size_t copies = limit <= kCopiedLimit && kStartsFromZero<F> ? kCopies : 1;
    ZeroedPages states(static_cast<std::size_t>(limit) * copies * sizeof(S));
    ZeroedPages marks(static_cast<std::size_t>(limit));
    std::copy_n(dense_states(), dense_limit_, reinterpret_cast<S*>(states.begin()));
    std::copy_n(dense_marks(), dense_limit_, reinterpret_cast<std::uint8_t*>(marks.begin()));
    dense_states_ = std::move(states);
    dense_marks_ = std::move(marks);
    held_ += indices;
    held_ -= indices_below(std::exchange(dense_limit_, limit));
    dense_copies_ = copies;
    const auto for_each_other = [this](auto function) {
      table_.for_each(function);
      if (has_zero_) {
        function(zero_);
      }
    };
    for_each_other([this](const Slot& slot) { join_dense(index_of(slot.key.value), slot.state); });
    for_each_other([this](const Slot& slot) {
      if (is_there(index_of(slot.key.value))) {
        held_.remove(slot.key.hash());
      }
    });
    has_zero_ = false;
    table_ = {};
    next_dense_check_ = kFirstDenseCheck;
    size_at_check_ = 0;
    rows_since_check_ = 0;
  }

  // Those of the array and, behind its end, those of the table.
  [[nodiscard]] std::vector<Entry> dense_in_order() {
    join_dense_copies();
    dense_keys_ = keys_below(dense_limit_,
                             [](std::uint64_t index) { return K{static_cast<Key>(index)}.hash(); });
    const std::size_t count = table_.size() + static_cast<std::size_t>(dense_keys_.count);
    ordered_ = slots_by_hash<Slot>(count, [this](auto function) {
      for (std::uint64_t index = 0; index < dense_limit_; ++index) {
        if (is_there(index)) {
          function(K{static_cast<Key>(index)}, dense_states()[index]);
        }
      }
      table_.for_each([&](const auto& slot) { function(slot.key, slot.state); });
    });
    std::vector<Entry> entries;
    entries.reserve(count);
    for (const Slot& slot : std::span(reinterpret_cast<const Slot*>(ordered_.begin()), count)) {
      append_in_order<K, S>(entries, {slot.key.hash(), &slot});
    }
    return entries;
  }

  OpenTable<K, S> table_;
  Slot zero_ = {};  // The key of zero bytes, which no table can hold.
  bool has_zero_ = false;
  ZeroedPages dense_states_;
  ZeroedPages dense_marks_;
  ZeroedPages ordered_;  // Slots of the list that in_order() gave, when there is an array.
  std::uint64_t dense_limit_ = 0;
  std::uint64_t dense_copies_ = 1;
  std::size_t next_dense_check_ = kFirstDenseCheck;

  std::unique_ptr<RowScatter<K, F>> scatter_;  // While rows are kept; the table is empty then.
  std::size_t next_scatter_check_ = kFirstScatterCheck;  // Keys of the table, or rows.
  std::size_t size_at_check_ = 0;
  std::size_t rows_since_check_ = 0;

  // Of all entries that were made, or were to come, but for those that were joined with others. The
  // array does not tell when it has a new key: what lies there is counted when it is listed. What
  // it holds less than before when it has moved, or more, stays in here, by indices.
  KeySum held_;
  KeySum dense_keys_;
};

}  // namespace pinion
