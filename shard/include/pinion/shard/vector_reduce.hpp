#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/fold.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/shard.hpp>

namespace pinion {

/// How two values of an element become one. What an operation gives may not depend on the order in
/// which values come, nor on how they are grouped; `identity` changes nothing.
template <class Operation, class T>
concept VectorOperation = std::is_empty_v<Operation> && requires(T left, T right) {
  { Operation::template identity<T>() } -> std::same_as<T>;
  { Operation::combine(left, right) } -> std::same_as<T>;
};

/// Adds. Integers wrap around like unsigned ones; sums of floating point depend in their last bits
/// on the order of adding.
struct VectorSum {
  template <Summable T>
  [[nodiscard]] static constexpr T identity() noexcept {
    return T{};
  }
  template <Summable T>
  [[nodiscard]] static constexpr T combine(T left, T right) noexcept {
    return wrapping_sum(left, right);
  }
};

namespace detail {

template <Summable T>
inline constexpr T kGreatest = std::is_floating_point_v<T> ? std::numeric_limits<T>::infinity()
                                                           : std::numeric_limits<T>::max();
template <Summable T>
inline constexpr T kLeast = std::is_floating_point_v<T> ? -std::numeric_limits<T>::infinity()
                                                        : std::numeric_limits<T>::lowest();

}  // namespace detail

// Equal answers whatever the order: minus zero is less than zero, and all NaN are one.

/// The least value; an element that nobody emitted is the greatest one of its type, or infinity.
/// NaN wins over every number.
struct VectorMin {
  template <Summable T>
  [[nodiscard]] static constexpr T identity() noexcept {
    return detail::kGreatest<T>;
  }
  template <Summable T>
  [[nodiscard]] static constexpr T combine(T left, T right) noexcept {
    if constexpr (std::is_floating_point_v<T>) {
      if (left != left || right != right) {
        return std::numeric_limits<T>::quiet_NaN();
      }
      if (left == right) {
        return std::signbit(left) ? left : right;
      }
    }
    return right < left ? right : left;
  }
};

/// The greatest value; an element that nobody emitted is the least one of its type, or minus
/// infinity. NaN wins over every number.
struct VectorMax {
  template <Summable T>
  [[nodiscard]] static constexpr T identity() noexcept {
    return detail::kLeast<T>;
  }
  template <Summable T>
  [[nodiscard]] static constexpr T combine(T left, T right) noexcept {
    if constexpr (std::is_floating_point_v<T>) {
      if (left != left || right != right) {
        return std::numeric_limits<T>::quiet_NaN();
      }
      if (left == right) {
        return std::signbit(left) ? right : left;
      }
    }
    return left < right ? right : left;
  }
};

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

/// Seals `bytes` as partition 0 of `partition_count`; the others are empty.
/// Errors: those of the store.
[[nodiscard]] Result<Blob> seal_one_partition(IBlobStore& store, Place place,
                                              std::uint32_t partition_count,
                                              std::span<const std::byte> bytes);

/// The answer of vector_reduce(), read from where it lies. Copying it copies a reference.
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
      return Status(ErrorCode::kDataLoss,
                    "the answer of a vector aggregation is one partition, "
                    "found " +
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

/// Combines vectors of a fixed length, element by element.
///
/// Thread safety: none for one object.
template <Summable T, VectorOperation<T> Operation>
class VectorReduce final : public IAggregator {
 public:
  using Record = VectorRun<T>;
  using Result = VectorResult<T>;
  class Emitter;

  static constexpr std::uint32_t kPartitionCount = 1;
  static constexpr bool kCombinesPartials = true;

  explicit VectorReduce(std::size_t length) : length_(length) {}

  [[nodiscard]] std::size_t length() const noexcept { return length_; }

  /// For the step's fingerprint: ranks must agree on it.
  [[nodiscard]] std::string describe() const { return std::to_string(length_) + " elements"; }

  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override {
    return std::make_unique<VectorReduce>(length_);
  }

  void accumulate(const Part& part) override {
    for (const Record& run : part.records<Record>()) {
      require_in_vector(run.begin, run.values.size(), length_);
      combine(run.begin, std::as_bytes(run.values));
    }
  }

  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>> partials) override {
    for (const std::span<const std::byte> partition : partials) {
      const auto values = check_vector_partition(partition, length_, sizeof(T));
      if (!values) {
        return Status(values.error());
      }
      combine(0, *values);
    }
    return {};
  }

  void finalize() override {}

  [[nodiscard]] pinion::Result<Blob> seal(IBlobStore& store, Place place,
                                          std::uint32_t partition_count) override {
    return seal_one_partition(store, place, partition_count, std::as_bytes(std::span(values())));
  }

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override {
    return values_.capacity() * sizeof(T);
  }

 private:
  // Made on first use: a state to which nothing is added costs nothing.
  [[nodiscard]] std::vector<T>& values() {
    if (values_.size() != length_) {
      values_.assign(length_, Operation::template identity<T>());
    }
    return values_;
  }

  void combine(std::size_t begin, std::span<const std::byte> bytes) {
    T* const out = values().data() + begin;
    for (std::size_t i = 0; i < bytes.size() / sizeof(T); ++i) {
      T value;
      std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
      out[i] = Operation::combine(out[i], value);
    }
  }

  std::size_t length_;
  std::vector<T> values_;
};

/// What a body emits into: emit(index, value) combines with one element, emit.add(values) with the
/// first ones.
///
/// Thread safety: none; lives on the stack of one body.
/// Errors: both throw std::out_of_range for an element that the vector does not have.
template <Summable T, VectorOperation<T> Operation>
class VectorReduce<T, Operation>::Emitter {
 public:
  /// Borrows `state`. Precondition: it is a VectorReduce<T, Operation>.
  Emitter(IAggregator& state, const Shard&) : values_(static_cast<VectorReduce&>(state).values()) {}
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  void operator()(std::size_t index, T value) {
    if (index >= values_.size()) [[unlikely]] {
      require_in_vector(index, 1, values_.size());
    }
    values_[index] = Operation::combine(values_[index], value);
  }

  void add(std::span<const T> values) {
    require_in_vector(0, values.size(), values_.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      values_[i] = Operation::combine(values_[i], values[i]);
    }
  }

  /// Nothing is held back.
  void flush() noexcept {}

 private:
  std::span<T> values_;
};

/// Combines vectors of `length` elements, element by element:
/// `pinion::vector_reduce<double>(3, pinion::VectorMax())`. Any VectorOperation will do.
template <Summable T, VectorOperation<T> Operation>
[[nodiscard]] VectorReduce<T, Operation> vector_reduce(std::size_t length, Operation) {
  return VectorReduce<T, Operation>(length);
}

}  // namespace pinion
