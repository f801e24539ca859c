#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/key_hash.hpp>
#include <pinion/shard/keyed_partition.hpp>
#include <pinion/shard/keyed_result.hpp>
#include <pinion/shard/keyed_table.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/shard.hpp>

namespace pinion {

/// Sums values by key. Integers wrap around like unsigned ones. Sums of floating point depend in
/// their last bits on the order of adding, which differs from run to run.
///
/// Thread safety: none for one object.
template <AggregationKey Key, Summable Value>
class SumByKey final : public IAggregator {
 public:
  using Record = KeyValue<Key, Value>;
  using Result = KeyedResult<Key, Value>;
  class Emitter;

  static constexpr std::uint32_t kPartitionCount = 16;

  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override {
    return std::make_unique<SumByKey>();
  }

  void accumulate(const Part& part) override {
    for (const Record& record : part.records<Record>()) {
      table_.add(hash_key(record.key), record.key, record.value);
    }
  }

  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>> partials) override {
    for (const std::span<const std::byte> partition : partials) {
      const auto view = KeyedPartitionView<Key, Value>::open(partition);
      if (!view) {
        return Status(view.error());
      }
      table_.reserve(table_.entries().size() + view->size());
      for (std::size_t i = 0; i < view->size(); ++i) {
        table_.add(view->hash(i), view->key(i), view->value(i));
      }
    }
    return {};
  }

  void finalize() override {}

  [[nodiscard]] pinion::Result<Blob> seal(IBlobStore& store, Place place,
                                          std::uint32_t partition_count) override {
    PINION_ASSERT(partition_count > 0);
    const std::vector<std::size_t> begins = partition_begins(partition_count);
    const std::vector<std::uint32_t> order = sorted_members(begins);
    const auto members = [&](std::uint32_t partition) {
      return std::span(order).subspan(begins[partition], begins[partition + 1] - begins[partition]);
    };
    std::vector<KeyedPartitionHeader> headers;
    std::vector<std::uint64_t> lengths;
    for (std::uint32_t partition = 0; partition < partition_count; ++partition) {
      headers.push_back(keyed_partition_header(table_, members(partition)));
      lengths.push_back(layout_keyed_partition(headers.back()).size_bytes);
    }
    const PartitionedLayout layout = layout_partitions(lengths);
    pinion::Result<BlobWriter> writer = store.create(layout.size_bytes, place);
    if (!writer) {
      return std::move(writer).error();
    }
    write_partition_table(writer->bytes(), layout);
    for (std::uint32_t partition = 0; partition < partition_count; ++partition) {
      write_keyed_partition(partition_of(writer->bytes(), layout, partition), headers[partition],
                            table_, members(partition));
    }
    return writer->seal();
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override {
    return table_.memory_bytes();
  }

  /// The sums so far. For tests.
  [[nodiscard]] const KeyedTable<Key, Value>& table() const noexcept { return table_; }

 private:
  // Where the members of each partition begin in the order of sealing; one more, the end, follows.
  [[nodiscard]] std::vector<std::size_t> partition_begins(std::uint32_t partition_count) const {
    std::vector<std::size_t> begins(partition_count + 1u, 0);
    for (const auto& entry : table_.entries()) {
      ++begins[partition_of_hash(entry.hash, partition_count) + 1u];
    }
    std::partial_sum(begins.begin(), begins.end(), begins.begin());
    return begins;
  }

  // The entries' numbers, partition after partition, by key within one: equal content seals to
  // equal bytes, whatever the order in which it came.
  [[nodiscard]] std::vector<std::uint32_t> sorted_members(
      const std::vector<std::size_t>& begins) const {
    const auto entries = table_.entries();
    const auto partition_count = static_cast<std::uint32_t>(begins.size() - 1);
    std::vector<std::uint32_t> order(entries.size());
    std::vector<std::size_t> next = begins;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const std::uint32_t partition = partition_of_hash(entries[i].hash, partition_count);
      order[next[partition]++] = static_cast<std::uint32_t>(i);
    }
    for (std::uint32_t partition = 0; partition < partition_count; ++partition) {
      const auto first = order.begin() + static_cast<std::ptrdiff_t>(begins[partition]);
      const auto last = order.begin() + static_cast<std::ptrdiff_t>(begins[partition + 1]);
      std::sort(first, last, [&entries](std::uint32_t left, std::uint32_t right) {
        return entries[left].key < entries[right].key;
      });
    }
    return order;
  }

  KeyedTable<Key, Value> table_;
};

/// What a body emits into: emit(key, value). Hands records over in blocks.
///
/// Thread safety: none; lives on the stack of one body.
/// Lifetime: a text key may end right after the call. Keys that lie in the shard's text are not
///   copied here; the table copies a key when it sees it first.
template <AggregationKey Key, Summable Value>
class SumByKey<Key, Value>::Emitter {
 public:
  /// Borrows both.
  Emitter(IAggregator& state, const Shard& shard) noexcept : state_(state), text_(shard.text()) {}
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  void operator()(Key key, Value value) {
    if constexpr (std::same_as<Key, std::string_view>) {
      if (!lies_in_text(key)) {
        emit_copy(key, value);
        return;
      }
    }
    if (count_ == block_.size()) {
      flush();
    }
    block_[count_++] = {key, value};
  }

  /// Hands over what was collected. Call it at the end of the body, not when the body throws.
  void flush() {
    if (count_ > 0) {
      state_.accumulate(Part(std::span<const Record>(block_.data(), count_)));
    }
    count_ = 0;
    copied_bytes_ = 0;
  }

 private:
  static constexpr std::size_t kBlockRecordCount = 512;
  static constexpr std::size_t kCopyBytes = 16u << 10;

  [[nodiscard]] bool lies_in_text(std::string_view key) const noexcept {
    // std::less orders any two pointers, also of different arrays.
    return !std::less<>()(key.data(), text_.data()) &&
           !std::less<>()(text_.data() + text_.size(), key.data() + key.size());
  }

  // A key that the body made itself may be gone at the next flush.
  void emit_copy(std::string_view key, Value value) {
    if (count_ == block_.size() || key.size() > kCopyBytes - copied_bytes_) {
      flush();
    }
    if (key.size() > kCopyBytes) {
      const Record record = {key, value};
      state_.accumulate(Part(std::span<const Record>(&record, 1)));
      return;
    }
    if (copies_ == nullptr) {
      copies_.reset(new char[kCopyBytes]);
    }
    char* const copy = copies_.get() + copied_bytes_;
    key.copy(copy, key.size());
    copied_bytes_ += key.size();
    block_[count_++] = {Key(copy, key.size()), value};
  }

  IAggregator& state_;
  std::string_view text_;
  std::size_t count_ = 0;
  std::size_t copied_bytes_ = 0;
  std::unique_ptr<char[]> copies_;
  std::array<Record, kBlockRecordCount> block_;
};

/// Sums values by key: `pinion::sum_by_key<std::string_view, std::uint64_t>()`. Keys are text or
/// integers.
template <AggregationKey Key, Summable Value>
[[nodiscard]] SumByKey<Key, Value> sum_by_key() {
  return {};
}

}  // namespace pinion
