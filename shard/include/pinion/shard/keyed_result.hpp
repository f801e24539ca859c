#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
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
#include <pinion/shard/object_run.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/piece_iterator.hpp>
#include <pinion/shard/table_key.hpp>

namespace pinion {

template <class Key, class Value>
struct KeyValue {
  Key key;
  Value value;

  friend bool operator==(const KeyValue&, const KeyValue&) = default;
};

namespace detail {

// What reads a partition of an answer.
template <AggregationKey Key, class F>
struct PartitionView {
  using Type = KeyedRunView<Key, F>;
};
template <AggregationKey Key, ObjectFold F>
struct PartitionView<Key, F> {
  using Type = ObjectRunView<Key, F>;
};

}  // namespace detail

/// The answer of a keyed aggregation, read from where its partitions lie. Copying it copies a
/// reference.
///
/// Thread safety: immutable; may be read from several threads.
/// Lifetime: keys are views into the mapped partitions, valid while any copy of the result lives.
///   States that are objects are read anew for each look at a value.
template <AggregationKey Key, AnyFold F>
class KeyedResult {
  // Reading an object may need memory.
  static constexpr bool kIsPlain = Fold<F>;

  using View = typename detail::PartitionView<Key, F>::Type;

 public:
  using Value = typename F::Answer;
  using Record = KeyValue<Key, Value>;

 private:
  struct Runs {
    std::span<const View> views = {};

    [[nodiscard]] std::size_t count() const noexcept { return views.size(); }
    [[nodiscard]] std::size_t size(std::size_t run) const noexcept { return views[run].size(); }
    [[nodiscard]] Record at(std::size_t run, std::size_t index) const noexcept(kIsPlain) {
      return {views[run].key(index), F::answer(views[run].state(index))};
    }
  };

 public:
  using Iterator = PieceIterator<Runs, Record>;

  /// Nothing.
  KeyedResult() : state_(std::make_shared<const State>()) {}

  /// For the engine: one blob a partition, each holding a sealed state of one partition; all in
  /// their order, or one alone.
  /// Errors: kDataLoss for blobs that are not that.
  [[nodiscard]] static Result<KeyedResult> create(std::vector<Blob> blobs) {
    State state;
    for (const Blob& blob : blobs) {
      const auto partition = partition_of(blob.bytes(), 0);
      if (!partition) {
        return Status(partition.error());
      }
      const auto view = View::open(*partition);
      if (!view) {
        return Status(view.error());
      }
      // One alone may be any of them, and what is empty need not have merged a run that says which.
      if (blobs.size() > 1 && view->size() > 0) {
        const HashRange expected = {
            .partition = static_cast<std::uint32_t>(state.partitions.size()),
            .partition_count = static_cast<std::uint32_t>(blobs.size())};
        PINION_RETURN_IF_ERROR(check_partition(expected, view->header().range));
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
  [[nodiscard]] Iterator begin() const noexcept { return Iterator({state_->partitions}, 0); }
  [[nodiscard]] Iterator end() const noexcept {
    return Iterator({state_->partitions}, state_->partitions.size());
  }

  [[nodiscard]] std::optional<Value> find(const Key& key) const noexcept(kIsPlain) {
    if (state_->partitions.empty()) {
      return std::nullopt;
    }
    const auto partition_count = static_cast<std::uint32_t>(state_->partitions.size());
    const std::uint32_t partition = partition_of_hash(hash_key(key), partition_count);
    const std::optional<typename F::State> found = state_->partitions[partition].find(key);
    return found ? std::optional<Value>(F::answer(*found)) : std::nullopt;
  }

  /// The sum of all values.
  [[nodiscard]] Value total() const noexcept(kIsPlain) requires Summable<Value> {
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
    std::vector<View> partitions;
    std::size_t size = 0;
    std::uint64_t record_count = 0;
  };

  explicit KeyedResult(std::shared_ptr<const State> state) noexcept : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

}  // namespace pinion
