#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/core/assert.hpp>
#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/piece_iterator.hpp>
#include <pinion/shard/shard.hpp>
#include <pinion/shard/shard_runs.hpp>

namespace pinion {

/// What collect() takes: plain values, or text, whose bytes are copied.
template <class T>
concept CollectedRecord = std::same_as<T, std::string_view> ||
    (std::is_trivially_copyable_v<T>&& std::default_initializable<T>);

/// The answer of collect(), read from where it lies: the records by ascending shard id, those of a
/// shard as it emitted them. The order is the same on every rank and in every run. Copying a result
/// copies a reference.
///
/// Thread safety: immutable; may be read from several threads.
/// Lifetime: records of text are views, valid while any copy of the result lives.
template <CollectedRecord T>
class CollectedResult {
  struct Runs {
    std::span<const ShardRun> runs = {};

    [[nodiscard]] std::size_t count() const noexcept { return runs.size(); }
    [[nodiscard]] std::size_t size(std::size_t run) const noexcept {
      return runs[run].record_count;
    }
    [[nodiscard]] T at(std::size_t run, std::size_t index) const noexcept {
      return record_of(runs[run], index);
    }
  };

 public:
  using Iterator = PieceIterator<Runs, T>;

  /// For the engine: one blob a partition, each holding a sealed state of one partition.
  /// Errors: kDataLoss for blobs that are not that.
  [[nodiscard]] static Result<CollectedResult> create(std::vector<Blob> blobs);

  /// All records.
  [[nodiscard]] std::size_t size() const noexcept { return state_->size; }
  [[nodiscard]] bool empty() const noexcept { return state_->size == 0; }

  /// One a partition, for partitions().
  [[nodiscard]] std::span<const Blob> blobs() const noexcept { return state_->blobs; }

  [[nodiscard]] Iterator begin() const noexcept { return Iterator({state_->runs}, 0); }
  [[nodiscard]] Iterator end() const noexcept {
    return Iterator({state_->runs}, state_->runs.size());
  }

  /// The record at a position, found in the logarithm of the number of shards.
  /// Precondition: index < size().
  [[nodiscard]] T operator[](std::size_t index) const noexcept {
    PINION_ASSERT(index < size());
    const auto run = std::ranges::upper_bound(state_->run_ends, index) - state_->run_ends.begin();
    const std::size_t begin = run == 0 ? 0 : state_->run_ends[static_cast<std::size_t>(run) - 1];
    return record_of(state_->runs[static_cast<std::size_t>(run)], index - begin);
  }

 private:
  struct State {
    std::vector<Blob> blobs;
    std::vector<ShardRun> runs;
    std::vector<std::size_t> run_ends;  // Records up to and with each run.
    std::size_t size = 0;
  };

  explicit CollectedResult(std::shared_ptr<const State> state) noexcept
      : state_(std::move(state)) {}

  [[nodiscard]] static T record_of(const ShardRun& run, std::size_t index) noexcept {
    if constexpr (std::same_as<T, std::string_view>) {
      const std::uint64_t begin = index == 0 ? 0 : run.ends[index - 1];
      return {reinterpret_cast<const char*>(run.bytes.data()) + begin, run.ends[index] - begin};
    } else {
      T record;
      std::memcpy(&record, run.bytes.data() + index * sizeof(T), sizeof(T));
      return record;
    }
  }

  // Several copies of a result share it.
  std::shared_ptr<const State> state_;
};

/// Collects every record that bodies emit.
///
/// Thread safety: none for one object.
template <CollectedRecord T>
class Collect final : public IAggregator {
 public:
  using Record = T;
  using Result = CollectedResult<T>;
  class Emitter;

  static constexpr std::uint32_t kPartitionCount = 16;
  static constexpr bool kIsText = std::same_as<T, std::string_view>;
  static constexpr RecordWidth kWidth = kIsText ? 0 : static_cast<RecordWidth>(sizeof(T));

  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override {
    return std::make_unique<Collect>();
  }

  /// Begins the records of a shard.
  /// Precondition: they are not here yet.
  void begin_shard(std::uint64_t shard) {
    memory_bytes_ += open_bytes();
    open_.push_back({.shard = shard, .ends = {}, .bytes = {}});
  }

  /// Adds to the shard that begin_shard() was called for last.
  void accumulate(const Part& part) override {
    PINION_ASSERT(!open_.empty());
    for (const Record& record : part.records<Record>()) {
      append(record);
    }
  }

  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>> partials) override {
    for (const std::span<const std::byte> partition : partials) {
      const pinion::Result<std::vector<ShardRun>> runs = open_shard_runs(partition, kWidth);
      if (!runs) {
        return Status(runs.error());
      }
      merged_.insert(merged_.end(), runs->begin(), runs->end());
    }
    return {};
  }

  void finalize() override {}

  [[nodiscard]] pinion::Result<Blob> seal(IBlobStore& store, Place place,
                                          std::uint32_t partition_count) override {
    std::vector<ShardRun> runs = std::move(merged_);
    for (const OpenRun& run : open_) {
      const std::size_t count = kIsText ? run.ends.size() : run.bytes.size() / sizeof(T);
      runs.push_back(
          {.shard = run.shard, .record_count = count, .ends = run.ends, .bytes = run.bytes});
    }
    PINION_RETURN_IF_ERROR(sort_shard_runs(runs));
    return seal_shard_runs(store, place, partition_count, kWidth, runs);
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override {
    return memory_bytes_ + open_bytes() + (open_.capacity() * sizeof(OpenRun)) +
           merged_.capacity() * sizeof(ShardRun);
  }

 private:
  struct OpenRun {
    std::uint64_t shard;
    std::vector<std::uint64_t> ends;
    std::vector<std::byte> bytes;
  };

  void append(const Record& record) {
    OpenRun& run = open_.back();
    if constexpr (kIsText) {
      const auto bytes = std::as_bytes(std::span(record.data(), record.size()));
      run.bytes.insert(run.bytes.end(), bytes.begin(), bytes.end());
      run.ends.push_back(run.bytes.size());
    } else {
      const auto* bytes = reinterpret_cast<const std::byte*>(&record);
      run.bytes.insert(run.bytes.end(), bytes, bytes + sizeof(T));
    }
  }

  [[nodiscard]] std::uint64_t open_bytes() const noexcept {
    return open_.empty() ? 0
                         : open_.back().bytes.capacity() +
                               open_.back().ends.capacity() * sizeof(std::uint64_t);
  }

  std::vector<OpenRun> open_;       // The last one grows.
  std::vector<ShardRun> merged_;    // Views into partials.
  std::uint64_t memory_bytes_ = 0;  // Of all runs but the last.
};

/// What a body emits into: emit(record).
///
/// Thread safety: none; lives on the stack of one body.
template <CollectedRecord T>
class Collect<T>::Emitter {
 public:
  /// Borrows `state`. Precondition: it is a Collect<T>.
  Emitter(IAggregator& state, const Shard& shard) : state_(static_cast<Collect&>(state)) {
    state_.begin_shard(shard.id());
  }
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  void operator()(const T& record) { state_.append(record); }

  /// Nothing is held back.
  void flush() noexcept {}

 private:
  Collect& state_;
};

/// Collects every record that bodies emit, in the order of their shards:
/// `pinion::collect<std::string_view>()`. All of them must fit into memory.
template <CollectedRecord T>
[[nodiscard]] Collect<T> collect() {
  return Collect<T>();
}

template <CollectedRecord T>
Result<CollectedResult<T>> CollectedResult<T>::create(std::vector<Blob> blobs) {
  State state;
  for (const Blob& blob : blobs) {
    const auto partition = partition_of(blob.bytes(), 0);
    if (!partition) {
      return Status(partition.error());
    }
    const auto runs = open_shard_runs(*partition, Collect<T>::kWidth);
    if (!runs) {
      return Status(runs.error());
    }
    state.runs.insert(state.runs.end(), runs->begin(), runs->end());
  }
  PINION_RETURN_IF_ERROR(sort_shard_runs(state.runs));
  for (const ShardRun& run : state.runs) {
    state.size += run.record_count;
    state.run_ends.push_back(state.size);
  }
  state.blobs = std::move(blobs);
  return CollectedResult(std::make_shared<const State>(std::move(state)));
}

}  // namespace pinion
