#pragma once

#include <cstddef>

#include <pinion/shard/vector_reduce.hpp>

namespace pinion {

/// Sums vectors of a fixed length, element by element. Integers wrap around like unsigned ones.
/// Sums of floating point depend in their last bits on the order of adding: see
/// Partitioning::ordered().
template <Summable T>
using SumVector = VectorReduce<T, VectorSum>;

/// Sums vectors of `length` elements: `pinion::sum_vector<double>(3)`.
template <Summable T>
[[nodiscard]] SumVector<T> sum_vector(std::size_t length) {
  return SumVector<T>(length);
}

}  // namespace pinion
