#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/fold.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/shard.hpp>

namespace pinion {

/// Values for consecutive elements of a vector.
template <class T>
struct VectorRun {
  std::size_t begin = 0;
  std::span<const T> values = {};
};

/// Throws std::out_of_range that names all three numbers, unless [begin, begin + count) lies in
/// [0, length).
void require_in_vector(std::size_t begin, std::size_t count, std::size_t length);

/// The bytes of the values in a sealed vector.
/// Errors: kDataLoss for a partition that is not a vector of `length` elements of `width` bytes.
[[nodiscard]] Result<std::span<const std::byte>> check_vector_partition(
    std::span<const std::byte> partition, std::size_t length, std::size_t width);

/// The answer of sum_vector(), read from where it lies. Copying it copies a reference.
///
/// Thread safety: immutable.
/// Lifetime: values() is valid while any copy of the result lives.
template <Summable T>
class VectorResult {
 public:
  /// For the engine: the one sealed state.
  /// Errors: kDataLoss for blobs that are not that.
  [[nodiscard]] static Result<VectorResult> create(std::vector<Blob> blobs) {
    if (blobs.size() != 1) {
      return Status(ErrorCode::kDataLoss, "the answer of a vector sum is one partition, found " +
                                              std::to_string(blobs.size()));
    }
    const auto partition = partition_of(blobs.front().bytes(), 0);
    if (!partition) {
      return Status(partition.error());
    }
    const auto values =
        check_vector_partition(*partition, partition->size() / sizeof(T), sizeof(T));
    if (!values) {
      return Status(values.error());
    }
    return VectorResult(std::move(blobs.front()), *values);
  }

  [[nodiscard]] std::span<const T> values() const noexcept {
    return {reinterpret_cast<const T*>(bytes_.data()), bytes_.size() / sizeof(T)};
  }

 private:
  VectorResult(Blob blob, std::span<const std::byte> bytes) noexcept
      : blob_(std::move(blob)), bytes_(bytes) {}

  Blob blob_;
  std::span<const std::byte> bytes_;
};

/// Sums vectors of a fixed length, element by element. Integers wrap around like unsigned ones.
/// Sums of floating point depend in their last bits on the order of adding.
///
/// Thread safety: none for one object.
template <Summable T>
class SumVector final : public IAggregator {
 public:
  using Record = VectorRun<T>;
  using Result = VectorResult<T>;
  class Emitter;

  static constexpr std::uint32_t kPartitionCount = 1;

  explicit SumVector(std::size_t length) : length_(length) {}

  [[nodiscard]] std::size_t length() const noexcept { return length_; }

  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override {
    return std::make_unique<SumVector>(length_);
  }

  void accumulate(const Part& part) override {
    for (const Record& run : part.records<Record>()) {
      require_in_vector(run.begin, run.values.size(), length_);
      add(run.begin, run.values.size(), std::as_bytes(run.values));
    }
  }

  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>> partials) override {
    for (const std::span<const std::byte> partial : partials) {
      const auto values = check_vector_partition(partial, length_, sizeof(T));
      if (!values) {
        return Status(values.error());
      }
      add(0, length_, *values);
    }
    return {};
  }

  void finalize() override {}

  [[nodiscard]] pinion::Result<Blob> seal(IBlobStore& store, Place place,
                                          std::uint32_t partition_count) override {
    PINION_ASSERT(partition_count > 0);
    // The vector is one partition; the others, if any are asked for, are empty.
    std::vector<std::uint64_t> lengths(partition_count, 0);
    lengths.front() = length_ * sizeof(T);
    const PartitionedLayout layout = layout_partitions(lengths);
    pinion::Result<BlobWriter> writer = store.create(layout.size_bytes, place);
    if (!writer) {
      return std::move(writer).error();
    }
    write_partition_table(writer->bytes(), layout);
    if (!sums_.empty()) {
      std::memcpy(partition_of(writer->bytes(), layout, 0).data(), sums_.data(),
                  length_ * sizeof(T));
    }
    return writer->seal();
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override {
    return sums_.capacity() * sizeof(T);
  }

 private:
  void add(std::size_t begin, std::size_t count, std::span<const std::byte> bytes) {
    sums_.resize(length_);
    for (std::size_t i = 0; i < count; ++i) {
      T value;
      std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
      sums_[begin + i] = wrapping_sum(sums_[begin + i], value);
    }
  }

  std::size_t length_;
  std::vector<T> sums_;  // Empty until something is added.
};

/// What a body emits into: emit(index, value) adds to one element, emit.add(values) to the first
/// ones. Hands values over in blocks.
///
/// Thread safety: none; lives on the stack of one body.
/// Errors: both throw std::out_of_range for an element that the vector does not have.
template <Summable T>
class SumVector<T>::Emitter {
 public:
  /// Borrows `state`. Precondition: it is a SumVector<T>.
  Emitter(IAggregator& state, const Shard&) noexcept
      : state_(state), length_(static_cast<const SumVector&>(state).length()) {}
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  void operator()(std::size_t index, T value) {
    require_in_vector(index, 1, length_);
    if (value_count_ == values_.size()) {
      flush();
    }
    T* const at = values_.data() + value_count_++;
    *at = value;
    // Elements that follow one another share a run.
    if (run_count_ > 0) {
      Record& last = runs_[run_count_ - 1];
      if (last.begin + last.values.size() == index) {
        last.values = {last.values.data(), last.values.size() + 1};
        return;
      }
    }
    runs_[run_count_++] = {index, {at, 1}};
  }

  void add(std::span<const T> values) {
    require_in_vector(0, values.size(), length_);
    flush();
    const Record run = {0, values};
    state_.accumulate(Part(std::span<const Record>(&run, 1)));
  }

  /// Hands over what was collected. Call it at the end of the body, not when the body throws.
  void flush() {
    if (run_count_ > 0) {
      state_.accumulate(Part(std::span<const Record>(runs_.data(), run_count_)));
    }
    run_count_ = 0;
    value_count_ = 0;
  }

 private:
  static constexpr std::size_t kBlockValueCount = 512;

  IAggregator& state_;
  std::size_t length_;
  std::size_t run_count_ = 0;
  std::size_t value_count_ = 0;
  std::array<T, kBlockValueCount> values_;
  std::array<Record, kBlockValueCount> runs_;
};

/// Sums vectors of `length` elements: `pinion::sum_vector<double>(3)`.
template <Summable T>
[[nodiscard]] SumVector<T> sum_vector(std::size_t length) {
  return SumVector<T>(length);
}

}  // namespace pinion
