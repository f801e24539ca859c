#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/fold.hpp>
#include <pinion/shard/key_hash.hpp>
#include <pinion/shard/keyed_run.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/table_key.hpp>

namespace pinion {

template <class Key, class Value>
struct KeyValue {
  Key key;
  Value value;

  friend bool operator==(const KeyValue&, const KeyValue&) = default;
};

/// The answer of a keyed aggregation, read from where its partitions lie. Copying it copies a
/// reference.
///
/// Thread safety: immutable; may be read from several threads.
/// Lifetime: keys are views into the mapped partitions, valid while any copy of the result lives.
template <AggregationKey Key, Fold F>
class KeyedResult {
 public:
  using Value = typename F::Answer;
  using Record = KeyValue<Key, Value>;

  class Iterator {
   public:
    using iterator_concept = std::forward_iterator_tag;
    using iterator_category = std::input_iterator_tag;
    using value_type = Record;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = Record;

    Iterator() noexcept = default;

    [[nodiscard]] Record operator*() const noexcept {
      const auto& view = partitions_[partition_];
      return {view.key(index_), F::answer(view.state(index_))};
    }
    Iterator& operator++() noexcept {
      ++index_;
      skip_ended_partitions();
      return *this;
    }
    Iterator operator++(int) noexcept {
      Iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const Iterator& left, const Iterator& right) noexcept {
      return left.partition_ == right.partition_ && left.index_ == right.index_;
    }

   private:
    friend class KeyedResult;
    Iterator(std::span<const KeyedRunView<Key, F>> partitions, std::size_t partition) noexcept
        : partitions_(partitions), partition_(partition) {
      skip_ended_partitions();
    }

    void skip_ended_partitions() noexcept {
      while (partition_ < partitions_.size() && index_ == partitions_[partition_].size()) {
        ++partition_;
        index_ = 0;
      }
    }

    std::span<const KeyedRunView<Key, F>> partitions_;
    std::size_t partition_ = 0;
    std::size_t index_ = 0;
  };

  /// Nothing.
  KeyedResult() : state_(std::make_shared<const State>()) {}

  /// For the engine: one blob a partition, each holding a sealed state of one partition.
  /// Errors: kDataLoss for blobs that are not that.
  [[nodiscard]] static Result<KeyedResult> create(std::vector<Blob> blobs) {
    State state;
    for (const Blob& blob : blobs) {
      const auto partition = partition_of(blob.bytes(), 0);
      if (!partition) {
        return Status(partition.error());
      }
      const auto view = KeyedRunView<Key, F>::open(*partition);
      if (!view) {
        return Status(view.error());
      }
      state.partitions.push_back(*view);
      state.size += view->size();
      state.record_count += view->header().record_count;
    }
    state.blobs = std::move(blobs);
    return KeyedResult(std::make_shared<const State>(std::move(state)));
  }

  /// Distinct keys.
  [[nodiscard]] std::size_t size() const noexcept { return state_->size; }
  [[nodiscard]] bool empty() const noexcept { return state_->size == 0; }

  /// One a partition, for partitions().
  [[nodiscard]] std::span<const Blob> blobs() const noexcept { return state_->blobs; }

  /// How many records the bodies emitted.
  [[nodiscard]] std::uint64_t record_count() const noexcept { return state_->record_count; }

  /// All keys with their values, in an order that means nothing and is the same on every rank and
  /// in every run.
  [[nodiscard]] Iterator begin() const noexcept { return Iterator(state_->partitions, 0); }
  [[nodiscard]] Iterator end() const noexcept {
    return Iterator(state_->partitions, state_->partitions.size());
  }

  [[nodiscard]] std::optional<Value> find(const Key& key) const noexcept {
    if (state_->partitions.empty()) {
      return std::nullopt;
    }
    const auto partition_count = static_cast<std::uint32_t>(state_->partitions.size());
    const std::uint32_t partition = partition_of_hash(hash_key(key), partition_count);
    const std::optional<typename F::State> found = state_->partitions[partition].find(key);
    return found ? std::optional<Value>(F::answer(*found)) : std::nullopt;
  }

  /// The sum of all values.
  [[nodiscard]] Value total() const noexcept requires Summable<Value> {
    Value sum = 0;
    for (const Record record : *this) {
      sum = wrapping_sum(sum, record.value);
    }
    return sum;
  }

  /// All records, by key.
  [[nodiscard]] std::vector<Record> by_key() const {
    std::vector<Record> records(begin(), end());
    std::sort(records.begin(), records.end(), [](const Record& left, const Record& right) {
      return key_is_less(left.key, right.key);
    });
    return records;
  }

  /// The `count` greatest values, or all there are: the greatest first, equal ones by key.
  [[nodiscard]] std::vector<Record> top(
      std::size_t count) const requires std::totally_ordered<Value> {
    std::vector<Record> best(std::min(count, size()));
    std::partial_sort_copy(begin(), end(), best.begin(), best.end(),
                           [](const Record& left, const Record& right) {
                             return left.value != right.value ? left.value > right.value
                                                              : key_is_less(left.key, right.key);
                           });
    return best;
  }

 private:
  struct State {
    std::vector<Blob> blobs;
    std::vector<KeyedRunView<Key, F>> partitions;
    std::size_t size = 0;
    std::uint64_t record_count = 0;
  };

  explicit KeyedResult(std::shared_ptr<const State> state) noexcept : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

}  // namespace pinion
