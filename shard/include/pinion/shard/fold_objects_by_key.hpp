#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <typeinfo>
#include <utility>
#include <vector>

#include <pinion/core/assert.hpp>
#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/byte_stream.hpp>
#include <pinion/shard/fold.hpp>
#include <pinion/shard/key_numbers.hpp>
#include <pinion/shard/key_sum.hpp>
#include <pinion/shard/keyed_result.hpp>
#include <pinion/shard/keyed_run.hpp>
#include <pinion/shard/object_run.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/shard.hpp>
#include <pinion/shard/table_key.hpp>

namespace pinion {

/// Folds values by key into states that are objects and write themselves. Made by fold_by_key() for
/// an ObjectFold. A state is written once when a batch is sealed, and read once when it is merged.
///
/// Thread safety: none for one object.
template <AggregationKey Key, ObjectFold F>
class FoldObjectsByKey final : public IAggregator {
  using State = typename F::State;
  using Numbers = KeyNumbers<Key>;

 public:
  using Value = typename F::Value;
  using Record = KeyValue<Key, Value>;
  using Result = KeyedResult<Key, F>;
  class Emitter;

  static constexpr std::uint32_t kPartitionCount = 32;
  static constexpr bool kCombinesPartials = true;

  FoldObjectsByKey() = default;

  /// Only an aggregator without content is copied: the one that a program passes to a step.
  FoldObjectsByKey(const FoldObjectsByKey& other) : IAggregator(other) {
    PINION_ASSERT(other.record_count_ == 0);
  }
  FoldObjectsByKey& operator=(const FoldObjectsByKey&) = delete;
  ~FoldObjectsByKey() override = default;

  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override {
    return std::make_unique<FoldObjectsByKey>();
  }

  void accumulate(const Part& part) override {
    for (const Record& record : part.records<Record>()) {
      add(record.key, record.value);
    }
  }

  void add(const Key& key, const Value& value) {
    ++record_count_;
    const std::uint64_t number = numbers_.number_of(key);
    if (number >= states_.size()) {
      append(number, F::first(value));
      keys_held_.add(hash_key(key));
      return;
    }
    State& state = states_[static_cast<std::size_t>(number)];
    const std::uint64_t before = held_bytes(state);
    F::add(state, value);
    held_bytes_ += held_bytes(state) - before;
  }

  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>> partials) override {
    std::vector<ObjectRunView<Key, F>> runs;
    std::array<std::size_t, 3> counts = {};
    for (const std::span<const std::byte> partial : partials) {
      const auto run = ObjectRunView<Key, F>::open(partial);
      if (!run) {
        return Status(run.error());
      }
      runs.push_back(*run);
      record_count_ += run->header().record_count;
      const HashRange range = run->header().range;
      PINION_RETURN_IF_ERROR(check_partition(range_.value_or(range), range));
      range_ = range;
      for (std::size_t i = 0; i < counts.size(); ++i) {
        counts[i] += run->header().counts[i];
      }
    }
    // Runs come in the order of hashes: see OpenTable for what happens without room.
    numbers_.reserve(counts, range_.value_or(HashRange()));
    for (const ObjectRunView<Key, F>& run : runs) {
      keys_held_ += run.keys();
      PINION_RETURN_IF_ERROR(run.for_each([this](const auto& key, State&& state) {
        const std::uint64_t number = numbers_.number_of_key(key);
        if (number >= states_.size()) {
          append(number, std::move(state));
        } else {
          join(states_[static_cast<std::size_t>(number)], std::move(state));
          keys_held_.remove(key.hash());
        }
      }));
    }
    return {};
  }

  void finalize() override {}

  [[nodiscard]] pinion::Result<Blob> seal(IBlobStore& store, Place place,
                                          std::uint32_t partition_count) override {
    PINION_ASSERT(partition_count > 0);
    const typename Numbers::Ordered ordered = numbers_.in_order();
    std::vector<Piece> pieces = cut(ordered, partition_count);
    std::vector<std::uint64_t> lengths;
    for (const Piece& piece : pieces) {
      lengths.push_back(sizeof(ObjectRunHeader) + layout_keyed_run(piece.header).size_bytes +
                        piece.object_bytes);
    }
    const PartitionedLayout layout = layout_partitions(lengths);
    pinion::Result<BlobWriter> writer = store.create(layout.size_bytes, place);
    if (!writer) {
      return std::move(writer).error();
    }
    write_partition_table(writer->bytes(), layout);
    WrittenKeys written;
    for (std::uint32_t i = 0; i < partition_count; ++i) {
      written += write(pieces[i], partition_of(writer->bytes(), layout, i));
    }
    PINION_RETURN_IF_ERROR(check_written_keys(keys_held_, written));
    return writer->seal();
  }

  /// Counts what states hold as far as F::bytes() says.
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override {
    return numbers_.memory_bytes() + states_.capacity() * sizeof(State) + held_bytes_;
  }

  /// For tests.
  [[nodiscard]] const Numbers& numbers() const noexcept { return numbers_; }

 private:
  template <class K>
  using Section = std::span<const OrderedEntry<K, std::uint64_t>>;

  // What one partition holds.
  struct Piece {
    Section<typename Numbers::First> first;
    Section<MediumText> medium;
    Section<LongText> long_texts;
    KeyedRunHeader header;
    std::uint64_t object_bytes = 0;
  };

  [[nodiscard]] static std::uint64_t held_bytes(const State& state) {
    if constexpr (requires {
                    { F::bytes(state) } -> std::convertible_to<std::uint64_t>;
                  }) {
      return F::bytes(state);
    } else {
      return 0;
    }
  }

  // A key whose first state could not be made has a number without a state, and so has spoiled
  // this.
  void append(std::uint64_t number, State&& state) {
    PINION_ASSERT(number == states_.size());
    held_bytes_ += held_bytes(state);
    states_.push_back(std::move(state));
  }

  void join(State& state, State&& other) {
    const std::uint64_t before = held_bytes(state);
    F::join(state, std::move(other));
    held_bytes_ += held_bytes(state) - before;
  }

  [[nodiscard]] const State& state_of(const auto& entry) const {
    return states_[static_cast<std::size_t>(entry.slot->state)];
  }

  [[nodiscard]] std::vector<Piece> cut(const typename Numbers::Ordered& ordered,
                                       std::uint32_t partition_count) const {
    Section<typename Numbers::First> first = ordered.first;
    Section<MediumText> medium = ordered.medium;
    Section<LongText> long_texts = ordered.long_texts;
    std::vector<Piece> pieces;
    for (std::uint32_t i = 0; i < partition_count; ++i) {
      Piece piece = {.first = take_partition(first, i, partition_count),
                     .medium = take_partition(medium, i, partition_count),
                     .long_texts = take_partition(long_texts, i, partition_count),
                     .header = keyed_run_types<Key, StoredFold<F>>()};
      piece.header.record_count = i == 0 ? record_count_ : 0;
      piece.header.range =
          partition_count == 1 ? range_.value_or(HashRange()) : HashRange{i, partition_count};
      piece.header.counts = {piece.first.size(), piece.medium.size(), piece.long_texts.size()};
      for (const auto& entry : piece.long_texts) {
        piece.header.text_bytes += entry.slot->key.size;
      }
      ByteWriter counter;
      write_states(piece.first, counter);
      write_states(piece.medium, counter);
      write_states(piece.long_texts, counter);
      piece.object_bytes = counter.size();
      pieces.push_back(piece);
    }
    return pieces;
  }

  template <class K>
  void write_states(Section<K> entries, ByteWriter& out) const {
    for (const auto& entry : entries) {
      F::write(state_of(entry), out);
    }
  }

  WrittenKeys write(Piece& piece, std::span<std::byte> partition) const {
    const KeyedRunLayout columns = layout_keyed_run(piece.header);
    const std::span<std::byte> run =
        partition.subspan(sizeof(ObjectRunHeader), static_cast<std::size_t>(columns.size_bytes));
    ByteWriter objects(partition.subspan(sizeof(ObjectRunHeader) + run.size()));
    WrittenKeys written =
        write_section(run, columns.keys[0], columns.states[0], piece.first, objects);
    written += write_section(run, columns.keys[1], columns.states[1], piece.medium, objects);
    written += write_section(run, columns.keys[2], columns.states[2], piece.long_texts, objects);
    write_long_texts(run, columns, piece.long_texts);
    piece.header.key_sum = written.sum.hashes;
    finish_keyed_run(run, piece.header);
    PINION_ASSERT(objects.size() == piece.object_bytes);  // write() gives the same each time.
    finish_object_run(partition,
                      {.run_bytes = columns.size_bytes, .object_bytes = piece.object_bytes});
    return written;
  }

  template <class K>
  WrittenKeys write_section(std::span<std::byte> run, std::uint64_t keys, std::uint64_t states,
                            Section<K> entries, ByteWriter& objects) const {
    return write_keyed_section(run, keys, states, entries, [&](const auto& entry) {
      const std::uint64_t offset = objects.size();
      F::write(state_of(entry), objects);
      return StoredObject{.offset = offset, .size = objects.size() - offset};
    });
  }

  Numbers numbers_;
  std::vector<State> states_;  // By the numbers of their keys.
  std::uint64_t held_bytes_ = 0;
  std::uint64_t record_count_ = 0;
  KeySum keys_held_;  // Of all entries that were made, or came, but for those that were joined.
  std::optional<HashRange> range_;  // Of what was merged.
};

/// What a body emits into: emit(key, value), or emit(key) where the fold takes no value.
///
/// Thread safety: none; lives on the stack of one body.
/// Lifetime: keys and values may end right after the call.
template <AggregationKey Key, ObjectFold F>
class FoldObjectsByKey<Key, F>::Emitter {
 public:
  /// Borrows. Precondition: the state is a FoldObjectsByKey of these types.
  Emitter(IAggregator& state, const Shard&) : state_(as_fold(state)) {}
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  void operator()(const Key& key, const Value& value) { state_.add(key, value); }
  void operator()(const Key& key) requires std::same_as<Value, NoValue> { (*this)(key, NoValue{}); }

  /// Nothing is held back.
  void flush() noexcept {}

 private:
  [[nodiscard]] static FoldObjectsByKey& as_fold(IAggregator& state) {
    PINION_ASSERT(typeid(state) == typeid(FoldObjectsByKey));
    return static_cast<FoldObjectsByKey&>(state);
  }

  FoldObjectsByKey& state_;
};

/// Folds values by key in a way of the program's own into states that are objects:
/// `pinion::fold_by_key<Key, MyFold>()`, where MyFold is an ObjectFold.
template <AggregationKey Key, ObjectFold F>
[[nodiscard]] FoldObjectsByKey<Key, F> fold_by_key() {
  return {};
}

}  // namespace pinion
