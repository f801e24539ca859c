#pragma once

#include <atomic>
#include <utility>

#include "explorer.hpp"

namespace pinion::model {

/// Stands in for std::atomic: each operation is a point where the explorer may switch. Memory
/// orders are accepted and all mean sequential consistency; the weak exchange never fails without
/// reason.
template <class T>
class Atom {
 public:
  Atom() = default;
  Atom(T value) : value_(value) {}
  Atom(const Atom&) = delete;
  Atom& operator=(const Atom&) = delete;

  T load(std::memory_order = std::memory_order_seq_cst) const noexcept {
    yield();
    return value_;
  }
  void store(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
    yield();
    value_ = value;
  }
  T exchange(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
    yield();
    return std::exchange(value_, value);
  }
  bool compare_exchange_strong(T& expected, T desired,
                               std::memory_order = std::memory_order_seq_cst,
                               std::memory_order = std::memory_order_seq_cst) noexcept {
    yield();
    const bool equal = value_ == expected;
    (equal ? value_ : expected) = equal ? desired : value_;
    return equal;
  }
  bool compare_exchange_weak(T& expected, T desired,
                             std::memory_order success = std::memory_order_seq_cst,
                             std::memory_order failure = std::memory_order_seq_cst) noexcept {
    return compare_exchange_strong(expected, desired, success, failure);
  }
  T fetch_add(T amount, std::memory_order = std::memory_order_seq_cst) noexcept {
    yield();
    return std::exchange(value_, static_cast<T>(value_ + amount));
  }
  T fetch_sub(T amount, std::memory_order = std::memory_order_seq_cst) noexcept {
    yield();
    return std::exchange(value_, static_cast<T>(value_ - amount));
  }

 private:
  static void yield() noexcept {
    if (Explorer* const explorer = Explorer::active()) {
      explorer->yield();
    }
  }

  T value_{};
};

}  // namespace pinion::model
