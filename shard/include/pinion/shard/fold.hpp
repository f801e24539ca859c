#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <pinion/shard/byte_stream.hpp>

// How the values that a program emits for one key become one answer.

namespace pinion {

/// What sums are made of.
template <class T>
concept Summable = std::is_arithmetic_v<T> && !std::same_as<T, bool>;

/// The sum of two values. Integers wrap around like unsigned ones, signed integers too.
template <Summable Value>
[[nodiscard]] constexpr Value wrapping_sum(Value left, Value right) noexcept {
  if constexpr (std::integral<Value>) {
    return static_cast<Value>(static_cast<std::uint64_t>(left) + static_cast<std::uint64_t>(right));
  } else {
    return left + right;
  }
}

/// A way to fold values: a type with four static functions and three types. State is what is kept
/// for a key; it is copied as bytes, between processes too. Grouping and order must not matter:
/// folding values in any order into any number of states and joining those in any order must give
/// an answer that the program takes for the same. Write your own like one of those below.
///
/// A fold that has `static constexpr bool kStartsFromZero = true` promises that adding a value to a
/// state of zero bytes gives what first() gives for it, which spares a branch for each value.
template <class F>
concept Fold = std::is_trivially_copyable_v<typename F::State> &&
    std::is_default_constructible_v<typename F::State> &&
    requires(typename F::State& state, const typename F::State& other,
             const typename F::Value& value) {
  { F::first(value) } -> std::same_as<typename F::State>;
  F::add(state, value);
  F::join(state, other);
  { F::answer(other) } -> std::convertible_to<typename F::Answer>;
};

/// A way to fold values into states that are objects and not just their bytes: a set, a list, a
/// sketch. Beside the functions of a Fold it says how a state writes itself and is read again,
/// which happens once a key and batch:
///
///     struct DistinctUsers {
///       using Value = std::string_view;
///       using State = std::set<std::string>;
///       using Answer = std::size_t;
///       static State first(Value user) { return {std::string(user)}; }
///       static void add(State& users, Value user) { users.emplace(user); }
///       static void join(State& users, State&& others) { users.merge(others); }
///       static Answer answer(const State& users) { return users.size(); }
///       static void write(const State& users, pinion::ByteWriter& out) {
///         out.put(users.size());
///         for (const std::string& user : users) out.put_text(user);
///       }
///       static State read(pinion::ByteReader& in) {
///         State users;
///         for (auto left = in.take_count(); left > 0; --left) users.emplace(in.take_text());
///         return users;
///       }
///       static std::uint64_t bytes(const State& users) { return users.size() * 80; }
///     };
///
/// What write() puts depends on the state alone: equal states give equal bytes, or an answer's
/// bytes differ from run to run. read() takes just what write() put and may be given anything: what
/// it finds damaged it says by fail(), and bytes that it leaves are damaged too. bytes() may be
/// left out; it tells, in constant time, what a state holds beside its own size, so that batches
/// are sealed before memory runs out.
template <class F>
concept ObjectFold =
    !std::is_trivially_copyable_v<typename F::State> && std::movable<typename F::State> &&
    requires(typename F::State & state, typename F::State&& other, const typename F::State& kept,
             const typename F::Value& value, ByteWriter& out, ByteReader& in) {
  { F::first(value) } -> std::same_as<typename F::State>;
  F::add(state, value);
  F::join(state, std::move(other));
  { F::answer(kept) } -> std::convertible_to<typename F::Answer>;
  F::write(kept, out);
  { F::read(in) } -> std::same_as<typename F::State>;
};

template <class F>
concept AnyFold = Fold<F> || ObjectFold<F>;

template <class F>
inline constexpr bool kStartsFromZero = false;
template <class F>
requires(F::kStartsFromZero) inline constexpr bool kStartsFromZero<F> = true;

/// Integers wrap around like unsigned ones. Sums of floating point depend in their last bits on the
/// order of adding, which differs from run to run unless the step is ordered: see
/// Partitioning::ordered().
template <Summable T>
struct Sum {
  static constexpr bool kStartsFromZero = true;
  using Value = T;
  using State = T;
  using Answer = T;
  [[nodiscard]] static State first(Value value) noexcept { return value; }
  static void add(State& state, Value value) noexcept { state = wrapping_sum(state, value); }
  static void join(State& state, State other) noexcept { state = wrapping_sum(state, other); }
  [[nodiscard]] static Answer answer(State state) noexcept { return state; }
};

template <Summable T>
struct Min {
  using Value = T;
  using State = T;
  using Answer = T;
  [[nodiscard]] static State first(Value value) noexcept { return value; }
  static void add(State& state, Value value) noexcept { state = std::min(state, value); }
  static void join(State& state, State other) noexcept { state = std::min(state, other); }
  [[nodiscard]] static Answer answer(State state) noexcept { return state; }
};

template <Summable T>
struct Max {
  using Value = T;
  using State = T;
  using Answer = T;
  [[nodiscard]] static State first(Value value) noexcept { return value; }
  static void add(State& state, Value value) noexcept { state = std::max(state, value); }
  static void join(State& state, State other) noexcept { state = std::max(state, other); }
  [[nodiscard]] static Answer answer(State state) noexcept { return state; }
};

/// Nothing beside the key: emit(key).
struct NoValue {};

struct Count {
  static constexpr bool kStartsFromZero = true;
  using Value = NoValue;
  using State = std::uint64_t;
  using Answer = std::uint64_t;
  [[nodiscard]] static State first(Value) noexcept { return 1; }
  static void add(State& state, Value) noexcept { ++state; }
  static void join(State& state, State other) noexcept { state += other; }
  [[nodiscard]] static Answer answer(State state) noexcept { return state; }
};

/// The arithmetic mean, in double.
template <Summable T>
struct Mean {
  static constexpr bool kStartsFromZero = true;
  struct State {
    double sum = 0;
    std::uint64_t count = 0;
  };
  using Value = T;
  using Answer = double;
  [[nodiscard]] static State first(Value value) noexcept { return {static_cast<double>(value), 1}; }
  static void add(State& state, Value value) noexcept {
    state.sum += static_cast<double>(value);
    ++state.count;
  }
  static void join(State& state, const State& other) noexcept {
    state.sum += other.sum;
    state.count += other.count;
  }
  [[nodiscard]] static Answer answer(const State& state) noexcept {
    return state.sum / static_cast<double>(state.count);
  }
};

}  // namespace pinion
