#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion::detail {

/// A callable that is run at most once, in 56 bytes, so that a cell of TaskRing is one cache line.
/// Unlike std::function it takes callables that only move.
///
/// Thread safety: none.
class Task {
 public:
  static constexpr std::size_t kInlineSize = 48;
  static constexpr std::size_t kInlineAlignment = 8;

  /// Whether a callable lies inside the task. Others lie on the heap, behind a pointer: making such
  /// a task allocates.
  template <class Callable>
  static constexpr bool kFitsInline =
      sizeof(Callable) <= kInlineSize &&
      alignof(Callable) <= kInlineAlignment&& std::is_nothrow_move_constructible_v<Callable>;

  template <class F>
  requires(!std::same_as<std::remove_cvref_t<F>, Task> && std::invocable<std::decay_t<F>&>)
      // Constrained to other types than Task.
      // NOLINTNEXTLINE(bugprone-forwarding-reference-overload)
      explicit Task(F&& callable) {
    using Callable = std::decay_t<F>;
    if constexpr (kFitsInline<Callable>) {
      std::construct_at(reinterpret_cast<Callable*>(storage_), std::forward<F>(callable));
      actions_ = &kInlineActions<Callable>;
    } else {
      std::construct_at(reinterpret_cast<Callable**>(storage_),
                        new Callable(std::forward<F>(callable)));
      actions_ = &kBoxedActions<Callable>;
    }
  }

  Task(Task&& other) noexcept : actions_(std::exchange(other.actions_, nullptr)) {
    if (actions_ == nullptr) {
      return;
    }
    if (actions_->relocate == nullptr) {
      std::memcpy(storage_, other.storage_, kInlineSize);
    } else {
      actions_->relocate(other.storage_, storage_);
    }
  }
  Task& operator=(Task&&) = delete;

  ~Task() {
    if (actions_ != nullptr) {
      actions_->destroy(storage_);
    }
  }

  /// Runs and destroys the callable. One that throws ends the process.
  /// Precondition: not run before, not moved from.
  void run() noexcept {
    PINION_ASSERT(actions_ != nullptr);
    std::exchange(actions_, nullptr)->run(storage_);
  }

 private:
  struct Actions {
    void (*relocate)(std::byte* from, std::byte* to) noexcept;  ///< Null: copy the bytes.
    void (*run)(std::byte* storage) noexcept;                   ///< Destroys it, too.
    void (*destroy)(std::byte* storage) noexcept;
  };

  template <class T>
  static T& as(std::byte* storage) noexcept {
    return *std::launder(reinterpret_cast<T*>(storage));
  }

  template <class Callable>
  static void relocate(std::byte* from, std::byte* to) noexcept {
    std::construct_at(reinterpret_cast<Callable*>(to), std::move(as<Callable>(from)));
    std::destroy_at(&as<Callable>(from));
  }

  template <class Callable>
  static constexpr Actions kInlineActions = {
      .relocate = std::is_trivially_copyable_v<Callable> ? nullptr : &relocate<Callable>,
      .run =
          [](std::byte* storage) noexcept {
            as<Callable>(storage)();
            std::destroy_at(&as<Callable>(storage));
          },
      .destroy = [](std::byte* storage) noexcept { std::destroy_at(&as<Callable>(storage)); }};

  template <class Callable>
  static constexpr Actions kBoxedActions = {
      .relocate = nullptr,
      .run =
          [](std::byte* storage) noexcept {
            const std::unique_ptr<Callable> box(as<Callable*>(storage));
            (*box)();
          },
      .destroy = [](std::byte* storage) noexcept { delete as<Callable*>(storage); }};

  const Actions* actions_ = nullptr;
  alignas(kInlineAlignment) std::byte storage_[kInlineSize];
};
static_assert(sizeof(Task) == 56);

/// A task that is not made yet: where its callable lies, and how to make a Task of it elsewhere. So
/// a callable is copied once on its way into a queue. A second copy would cost more than the first:
/// it would wait for bytes that were just written in smaller pieces than it reads.
///
/// Thread safety: none. Lifetime: borrows the callable, which it moves from once, in make_at().
class TaskSource {
 public:
  /// Whether a callable that is passed as F&& can become a task without a chance to fail. Of others
  /// a Task is made first, which then is the callable here.
  template <class F>
  static constexpr bool kTakes = std::is_object_v<std::remove_reference_t<F>>&&
      Task::kFitsInline<std::decay_t<F>>&& std::is_nothrow_constructible_v<std::decay_t<F>, F>;

  template <class F>
  requires(std::same_as<F, Task> || kTakes<F>) [[nodiscard]] static TaskSource
      of(F&& callable) noexcept {
    using Callable = std::remove_reference_t<F>;
    return TaskSource(const_cast<void*>(static_cast<const void*>(std::addressof(callable))),
                      [](void* from, Task* to) noexcept {
                        std::construct_at(to, std::forward<F>(*static_cast<Callable*>(from)));
                      });
  }

  /// Makes the task in memory that holds none.
  void make_at(Task* to) const noexcept { make_(callable_, to); }

  /// Destroys the task that it could have made.
  void discard() const noexcept {
    alignas(Task) std::byte storage[sizeof(Task)];
    Task* const task = reinterpret_cast<Task*>(storage);
    make_at(task);
    std::destroy_at(task);
  }

 private:
  using Make = void (*)(void* from, Task* to) noexcept;

  TaskSource(void* callable, Make make) noexcept : callable_(callable), make_(make) {}

  void* callable_;
  Make make_;
};

}  // namespace pinion::detail
