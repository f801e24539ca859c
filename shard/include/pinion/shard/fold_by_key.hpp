#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include <pinion/core/assert.hpp>
#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/fixed_key_state.hpp>
#include <pinion/shard/fold.hpp>
#include <pinion/shard/keyed_result.hpp>
#include <pinion/shard/keyed_run.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/shard.hpp>
#include <pinion/shard/table_key.hpp>
#include <pinion/shard/text_key_state.hpp>

namespace pinion {

/// Folds values by key. The factories below make one for the usual folds.
///
/// Thread safety: none for one object.
template <AggregationKey Key, Fold F>
class FoldByKey final : public IAggregator {
  static constexpr bool kText = std::same_as<Key, std::string_view>;
  using Keys = std::conditional_t<kText, TextKeyState<F>, FixedKeyState<Key, F>>;

 public:
  using Value = typename F::Value;
  using Record = KeyValue<Key, Value>;
  using Result = KeyedResult<Key, F>;
  class Emitter;

  static constexpr std::uint32_t kPartitionCount = 32;
  static constexpr bool kCombinesPartials = true;

  FoldByKey() = default;

  /// Only an aggregator without content is copied: the one that a program passes to a step.
  FoldByKey(const FoldByKey& other) : IAggregator(other) {
    PINION_ASSERT(other.record_count_ == 0);
  }
  FoldByKey& operator=(const FoldByKey&) = delete;
  ~FoldByKey() override = default;

  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override {
    return std::make_unique<FoldByKey>();
  }

  void accumulate(const Part& part) override {
    join_only_run();
    const std::span<const Record> records = part.records<Record>();
    record_count_ += records.size();
    if constexpr (kText) {
      keys_.prepare();
      for (const Record& record : records) {
        keys_.add_copied(record.key, record.value);
      }
    } else {
      for (const Record& record : records) {
        keys_.add({&record.key, 1}, {&record.value, 1});
      }
    }
  }

  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>> partials) override {
    const bool is_first = !merged_ && record_count_ == 0;
    merged_ = true;
    std::vector<Run> runs;
    for (const std::span<const std::byte> partial : partials) {
      const auto run = Run::open(partial);
      if (!run) {
        return Status(run.error());
      }
      runs.push_back(*run);
      record_count_ += run->header().record_count;
      const HashRange range = run->header().range;
      PINION_RETURN_IF_ERROR(check_partition(range_.value_or(range), range));
      range_ = range;
    }
    if (is_first && runs.size() == 1) {
      only_run_ = OnlyRun{runs.front(), partials.front()};
      return {};
    }
    join_only_run();
    join_runs(runs);
    return {};
  }

  void finalize() override {}

  [[nodiscard]] pinion::Result<Blob> seal(IBlobStore& store, Place place,
                                          std::uint32_t partition_count) override {
    PINION_ASSERT(partition_count > 0);
    if (only_run_ && partition_count == 1) {
      return seal_copy(store, place, only_run_->bytes);
    }
    join_only_run();
    if constexpr (kText) {
      const auto ordered = keys_.in_order();
      return seal_sections(store, place, partition_count,
                           Sections{Section<ShortText>(ordered.short_texts),
                                    Section<MediumText>(ordered.medium_texts),
                                    Section<LongText>(ordered.long_texts)});
    } else {
      const auto ordered = keys_.in_order();
      return seal_sections(store, place, partition_count, FixedSection{ordered, {}, {}});
    }
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override {
    return keys_.memory_bytes();
  }

  /// For tests.
  [[nodiscard]] const Keys& keys() const noexcept { return keys_; }

 private:
  using S = typename F::State;
  using Run = KeyedRunView<Key, F>;
  template <class K>
  using Section = std::span<const OrderedEntry<K, S>>;

  struct Sections {
    Section<ShortText> first;
    Section<MediumText> second;
    Section<LongText> third;
  };
  struct FixedSection {
    Section<FixedKey<std::conditional_t<kText, std::uint64_t, Key>>> first;
    Section<MediumText> second;
    Section<LongText> third;
  };

  // The first run that was merged, while it is the only one: its bytes are then the answer.
  struct OnlyRun {
    Run view;
    std::span<const std::byte> bytes;
  };

  void join_only_run() {
    if (only_run_) {
      join_runs({&only_run_->view, 1});
      only_run_.reset();
    }
  }

  // Runs come in the order of hashes: see OpenTable for what happens without room.
  void join_runs(std::span<const Run> runs) {
    std::array<std::size_t, 3> counts = {};
    for (const Run& run : runs) {
      for (std::size_t i = 0; i < counts.size(); ++i) {
        counts[i] += run.header().counts[i];
      }
    }
    if constexpr (kText) {
      keys_.reserve(counts, range_.value_or(HashRange()));
    } else {
      keys_.reserve(counts[0], range_.value_or(HashRange()));
    }
    for (const Run& run : runs) {
      keys_.expect(run.keys());
      run.for_each([this](const auto& key, const auto& state) { keys_.join(key, state); });
    }
  }

  [[nodiscard]] static pinion::Result<Blob> seal_copy(IBlobStore& store, Place place,
                                                      std::span<const std::byte> run) {
    const std::array<std::uint64_t, 1> lengths = {run.size()};
    const PartitionedLayout layout = layout_partitions(lengths);
    pinion::Result<BlobWriter> writer = store.create(layout.size_bytes, place);
    if (!writer) {
      return std::move(writer).error();
    }
    write_partition_table(writer->bytes(), layout);
    std::ranges::copy(run, partition_of(writer->bytes(), layout, 0).begin());
    return writer->seal();
  }

  template <class All>
  [[nodiscard]] pinion::Result<Blob> seal_sections(IBlobStore& store, Place place,
                                                   std::uint32_t partition_count, All rest) const {
    std::vector<All> partitions;
    std::vector<KeyedRunHeader> headers;
    std::vector<std::uint64_t> lengths;
    for (std::uint32_t i = 0; i < partition_count; ++i) {
      const All part = {take_partition(rest.first, i, partition_count),
                        take_partition(rest.second, i, partition_count),
                        take_partition(rest.third, i, partition_count)};
      KeyedRunHeader header = keyed_run_types<Key, F>();
      header.record_count = i == 0 ? record_count_ : 0;
      header.range =
          partition_count == 1 ? range_.value_or(HashRange()) : HashRange{i, partition_count};
      header.counts = {part.first.size(), part.second.size(), part.third.size()};
      for (const auto& entry : part.third) {
        header.text_bytes += entry.slot->key.size;
      }
      partitions.push_back(part);
      headers.push_back(header);
      lengths.push_back(layout_keyed_run(header).size_bytes);
    }
    const PartitionedLayout layout = layout_partitions(lengths);
    pinion::Result<BlobWriter> writer = store.create(layout.size_bytes, place);
    if (!writer) {
      return std::move(writer).error();
    }
    write_partition_table(writer->bytes(), layout);
    WrittenKeys written;
    for (std::uint32_t i = 0; i < partition_count; ++i) {
      const std::span<std::byte> run = partition_of(writer->bytes(), layout, i);
      const KeyedRunLayout columns = layout_keyed_run(headers[i]);
      WrittenKeys part =
          write_keyed_section(run, columns.keys[0], columns.states[0], partitions[i].first);
      part += write_keyed_section(run, columns.keys[1], columns.states[1], partitions[i].second);
      part += write_keyed_section(run, columns.keys[2], columns.states[2], partitions[i].third);
      write_long_texts(run, columns, partitions[i].third);
      headers[i].key_sum = part.sum.hashes;
      finish_keyed_run(run, headers[i]);
      written += part;
    }
    PINION_RETURN_IF_ERROR(check_written_keys(keys_.held(), written));
    return writer->seal();
  }

  Keys keys_;
  std::uint64_t record_count_ = 0;
  std::optional<HashRange> range_;  // Of what was merged.
  bool merged_ = false;
  std::optional<OnlyRun> only_run_;
};

/// What a body emits into: emit(key, value), emit(key) where the fold takes no value, and for
/// integer and struct keys whole columns at once, emit(keys, values), which is the quickest.
///
/// Thread safety: none; lives on the stack of one body.
/// Lifetime: keys may end right after the call. A text key that lies in the shard's text is not
///   copied before the table sees it first.
template <AggregationKey Key, Fold F>
class FoldByKey<Key, F>::Emitter {
 public:
  /// Borrows both. Precondition: the state is a FoldByKey of these types.
  Emitter(IAggregator& state, const Shard& shard) : Emitter(as_fold(state), shard.text()) {}
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  void operator()(const Key& key, const Value& value) {
    if constexpr (kText) {
      ++record_counts_[reinterpret_cast<std::uintptr_t>(key.data()) % record_counts_.size()];
      if (lies_in_text(key)) [[likely]] {
        keys_.add_padded(key.data(), key.size(), value);
      } else {
        keys_.add_copied(key, value);
      }
    } else {
      if (waiting_ == kWaitingMax) {
        hand_over();
      }
      waiting_keys_[waiting_] = key;
      waiting_values_[waiting_++] = value;
    }
  }

  void operator()(const Key& key) requires std::same_as<Value, NoValue> { (*this)(key, NoValue{}); }

  /// One value for each key. Precondition: as many values as keys.
  void operator()(std::span<const Key> keys, std::span<const Value> values) requires(!kText) {
    state_.record_count_ += keys.size();
    keys_.add(keys, values);
  }

  /// Hands over what was collected. Call it at the end of the body, not when the body throws.
  void flush() {
    if constexpr (kText) {
      keys_.drain_borrowed();
      for (std::uint64_t& count : record_counts_) {
        state_.record_count_ += std::exchange(count, 0);
      }
    } else {
      hand_over();
    }
  }

 private:
  static constexpr std::size_t kWaitingMax = kText ? 1 : 256;

  [[nodiscard]] static FoldByKey& as_fold(IAggregator& state) {
    PINION_ASSERT(typeid(state) == typeid(FoldByKey));
    return static_cast<FoldByKey&>(state);
  }

  Emitter(FoldByKey& state, std::string_view text) : state_(state), keys_(state.keys_) {
    state_.join_only_run();
    if constexpr (kText) {
      keys_.prepare();
      text_begin_ = reinterpret_cast<std::uintptr_t>(text.data());
      text_size_ = text.size();
    }
  }

  // Behind the shard's text lie 64 readable bytes, so what begins in it may be read past its end.
  [[nodiscard]] bool lies_in_text(const Key& key) const noexcept requires kText {
    return reinterpret_cast<std::uintptr_t>(key.data()) - text_begin_ < text_size_;
  }

  void hand_over() {
    keys_.add(std::span(waiting_keys_).first(waiting_), std::span(waiting_values_).first(waiting_));
    state_.record_count_ += std::exchange(waiting_, 0);
  }

  FoldByKey& state_;
  Keys& keys_;
  // Of texts, by where they lie: one count would be loaded right after it was stored, word by word.
  std::array<std::uint64_t, 8> record_counts_ = {};
  std::uintptr_t text_begin_ = 0;
  std::size_t text_size_ = 0;
  std::size_t waiting_ = 0;
  std::array<Key, kWaitingMax> waiting_keys_;
  std::array<Value, kWaitingMax> waiting_values_;
};

/// Folds values by key in a way of the program's own: `pinion::fold_by_key<Key, MyFold>()`.
template <AggregationKey Key, Fold F>
[[nodiscard]] FoldByKey<Key, F> fold_by_key() {
  return {};
}

/// Sums values by key: `pinion::sum_by_key<std::string_view, std::uint64_t>()`.
template <AggregationKey Key, Summable Value>
[[nodiscard]] FoldByKey<Key, Sum<Value>> sum_by_key() {
  return {};
}

/// How often each key was emitted: `pinion::count_by_key<std::string_view>()`, with emit(key).
template <AggregationKey Key>
[[nodiscard]] FoldByKey<Key, Count> count_by_key() {
  return {};
}

template <AggregationKey Key, Summable Value>
[[nodiscard]] FoldByKey<Key, Min<Value>> min_by_key() {
  return {};
}

template <AggregationKey Key, Summable Value>
[[nodiscard]] FoldByKey<Key, Max<Value>> max_by_key() {
  return {};
}

/// Arithmetic means by key, in double.
template <AggregationKey Key, Summable Value>
[[nodiscard]] FoldByKey<Key, Mean<Value>> mean_by_key() {
  return {};
}

}  // namespace pinion
