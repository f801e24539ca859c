#pragma once

#include <algorithm>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/shard.hpp>
#include <pinion/shard/vector_reduce.hpp>

namespace pinion {

/// A record that is kept, and where it stands in the input.
template <class T>
struct TopRow {
  T record;
  std::uint64_t shard;
  std::uint64_t position;
};

/// The rows of a sealed selection of the best, `width` bytes each.
/// Errors: kDataLoss for bytes that are not that, or hold more than `count_max` rows.
[[nodiscard]] Result<std::span<const std::byte>> check_top_partition(
    std::span<const std::byte> partition, std::size_t width, std::uint64_t count_max);

/// The answer of top_k(): the best first, equal ones as they stand in the input.
///
/// Thread safety: immutable.
template <class T>
class TopResult {
 public:
  /// For the engine: the one sealed state.
  /// Errors: kDataLoss for blobs that are not that.
  [[nodiscard]] static Result<TopResult> create(const std::vector<Blob>& blobs);

  [[nodiscard]] std::span<const T> records() const noexcept { return records_; }

 private:
  std::vector<T> records_;
};

/// Keeps the `k` records that come first in the order of `Before`.
///
/// Thread safety: none for one object.
template <class T, std::strict_weak_order<const T&, const T&> Before>
class TopK final : public IAggregator {
  static_assert(std::is_trivially_copyable_v<T> && std::default_initializable<T>,
                "records of top_k() are plain values: sealed as bytes");

 public:
  using Record = T;
  using Result = TopResult<T>;
  class Emitter;

  static constexpr std::uint32_t kPartitionCount = 1;
  static constexpr bool kCombinesPartials = true;

  TopK(std::size_t k, Before before) : k_(k), before_(std::move(before)) {}

  /// For the step's fingerprint: ranks must agree on it.
  [[nodiscard]] std::string describe() const { return "best " + std::to_string(k_); }

  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override {
    return std::make_unique<TopK>(k_, before_);
  }

  /// Records that follow those of the shard that begin_shard() named last.
  void accumulate(const Part& part) override {
    for (const Record& record : part.records<Record>()) {
      offer(record);
    }
  }

  void begin_shard(std::uint64_t shard) noexcept {
    shard_ = shard;
    position_ = 0;
  }

  void offer(const T& record) {
    const std::uint64_t position = position_++;
    if (heap_.size() == k_) [[likely]] {
      if (k_ == 0 || !before_(record, heap_.front().record)) [[likely]] {
        // One that is equal to the worst may still stand before it in the input.
        if (k_ == 0 || before_(heap_.front().record, record) || heap_.front().shard <= shard_) {
          return;
        }
      }
    }
    Row row;
    std::memset(static_cast<void*>(&row), 0, sizeof(row));  // Also what lies between the members.
    row.record = record;
    row.shard = shard_;
    row.position = position;
    keep(row);
  }

  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>> partials) override {
    for (const std::span<const std::byte> partition : partials) {
      const auto rows = check_top_partition(partition, sizeof(Row), k_);
      if (!rows) {
        return Status(rows.error());
      }
      for (std::size_t at = 0; at < rows->size(); at += sizeof(Row)) {
        Row row;
        std::memcpy(static_cast<void*>(&row), rows->data() + at, sizeof(row));
        keep(row);
      }
    }
    return {};
  }

  void finalize() override {}

  [[nodiscard]] pinion::Result<Blob> seal(IBlobStore& store, Place place,
                                          std::uint32_t partition_count) override {
    std::ranges::sort(heap_, order());
    return seal_one_partition(store, place, partition_count, std::as_bytes(std::span(heap_)));
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override {
    return heap_.capacity() * sizeof(Row);
  }

 private:
  using Row = TopRow<T>;

  // No two rows are equal in it, so what is kept does not depend on who saw what first.
  [[nodiscard]] auto order() const {
    return [this](const Row& left, const Row& right) {
      if (before_(left.record, right.record)) {
        return true;
      }
      if (before_(right.record, left.record)) {
        return false;
      }
      return left.shard != right.shard ? left.shard < right.shard : left.position < right.position;
    };
  }

  // The heap has the worst row in front.
  void keep(const Row& row) {
    if (heap_.size() < k_) {
      heap_.push_back(row);
      std::ranges::push_heap(heap_, order());
    } else if (k_ > 0 && order()(row, heap_.front())) {
      std::ranges::pop_heap(heap_, order());
      heap_.back() = row;
      std::ranges::push_heap(heap_, order());
    }
  }

  std::size_t k_;
  Before before_;
  std::uint64_t shard_ = 0;
  std::uint64_t position_ = 0;
  std::vector<Row> heap_;
};

/// What a body emits into: emit(record).
///
/// Thread safety: none; lives on the stack of one body.
template <class T, std::strict_weak_order<const T&, const T&> Before>
class TopK<T, Before>::Emitter {
 public:
  /// Borrows `state`. Precondition: it is a TopK<T, Before>.
  Emitter(IAggregator& state, const Shard& shard) noexcept : state_(static_cast<TopK&>(state)) {
    state_.begin_shard(shard.id());
  }
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  void operator()(const T& record) { state_.offer(record); }

  /// Nothing is held back.
  void flush() noexcept {}

 private:
  TopK& state_;
};

template <class T>
Result<TopResult<T>> TopResult<T>::create(const std::vector<Blob>& blobs) {
  using Row = TopRow<T>;
  if (blobs.size() != 1) {
    return Status(ErrorCode::kDataLoss,
                  "the answer of top_k is one partition, found " + std::to_string(blobs.size()));
  }
  const auto partition = partition_of(blobs.front().bytes(), 0);
  if (!partition) {
    return Status(partition.error());
  }
  const auto rows = check_top_partition(*partition, sizeof(Row), ~std::uint64_t{0});
  if (!rows) {
    return Status(rows.error());
  }
  TopResult result;
  result.records_.resize(rows->size() / sizeof(Row));
  for (std::size_t i = 0; i < result.records_.size(); ++i) {
    std::memcpy(static_cast<void*>(&result.records_[i]),
                rows->data() + i * sizeof(Row) + offsetof(Row, record), sizeof(T));
  }
  return result;
}

/// Keeps the `k` records that come first when sorted by `before`, the greatest ones unless told:
/// `pinion::top_k<double>(10)`. Equal records are taken as they stand in the input: by shard, then
/// as the body emitted them.
template <class T, std::strict_weak_order<const T&, const T&> Before = std::greater<>>
[[nodiscard]] TopK<T, Before> top_k(std::size_t k, Before before = {}) {
  return TopK<T, Before>(k, std::move(before));
}

}  // namespace pinion
