#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace pinion::sim {

/// Values that wait for their event, each under a number that is given again once it was taken.
template <class T>
class Pool {
 public:
  std::uint32_t put(T value) {
    const std::uint32_t number = open();
    (*this)[number] = std::move(value);
    return number;
  }

  /// The number of a value that is to be written where it lies; it is what another has left.
  std::uint32_t open() {
    if (free_.empty()) {
      grow();
    }
    const std::uint32_t number = free_.back();
    free_.pop_back();
    return number;
  }
  /// Gives the number back without the value.
  void close(std::uint32_t number) { free_.push_back(number); }

  [[nodiscard]] T& operator[](std::uint32_t number) {
    return (*chunks_[number / kChunkSize])[number % kChunkSize];
  }
  [[nodiscard]] const T& operator[](std::uint32_t number) const {
    return (*chunks_[number / kChunkSize])[number % kChunkSize];
  }

  T take(std::uint32_t number) {
    close(number);
    return std::exchange((*this)[number], T{});
  }

 private:
  static constexpr std::uint32_t kChunkSize = 256;

  void grow() {
    const auto first = static_cast<std::uint32_t>(chunks_.size()) * kChunkSize;
    chunks_.push_back(std::make_unique<std::array<T, kChunkSize>>());
    for (std::uint32_t number = first + kChunkSize; number > first; --number) {
      free_.push_back(number - 1);
    }
  }

  std::vector<std::unique_ptr<std::array<T, kChunkSize>>> chunks_;
  std::vector<std::uint32_t> free_;
};

}  // namespace pinion::sim
