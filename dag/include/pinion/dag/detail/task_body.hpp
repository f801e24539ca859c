#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/core/completion.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

class TaskContext;

namespace detail {

/// How a body came back.
enum class BodyEnd : std::uint8_t {
  kDone,
  kFailed,   ///< The context holds the error.
  kHeld,     ///< It ends when what the context holds has ended.
  kSkipped,  ///< It did not run, and what follows it is skipped.
  kDropped,  ///< It did not run, as its run was cancelled.
};

/// A function without its type, which is called any number of times, by several threads at once if
/// several runs share it. What it needs lies inside, or in a box of a BodyStore.
struct TaskBody {
  static constexpr std::size_t kInlineSize = 16;
  static constexpr std::size_t kInlineAlignment = 8;

  using Invoke = BodyEnd (*)(void* storage, TaskContext& context);

  Invoke invoke = nullptr;
  alignas(kInlineAlignment) std::byte storage[kInlineSize] = {};
};
static_assert(sizeof(TaskBody) == 24 && std::is_trivially_copyable_v<TaskBody>);

// What the context does with what a body returned.
BodyEnd end_with(TaskContext& context, Status status);
BodyEnd end_with(TaskContext& context, Completion completion);
BodyEnd end_well(TaskContext& context);

template <class F>
requires(std::invocable<F&, TaskContext&>) decltype(auto) call_body(F& body, TaskContext& context) {
  return body(context);
}

template <class F>
requires(!std::invocable<F&, TaskContext&> && std::invocable<F&>) decltype(auto)
    call_body(F& body, TaskContext& /*context*/) {
  return body();
}

template <class F>
using BodyResult = decltype(call_body(std::declval<F&>(), std::declval<TaskContext&>()));

template <class R>
inline constexpr bool kIsOutcome =
    std::is_void_v<R> || std::same_as<R, Status> || std::same_as<R, Completion>;

/// Whether F is a body that neither takes nor gives a value.
template <class F>
concept IsBody = requires {
  typename BodyResult<std::decay_t<F>>;
  requires kIsOutcome<BodyResult<std::decay_t<F>>>;
};

template <class F>
BodyEnd run_body(F& body, TaskContext& context) {
  // Only a body that gets the context can have appended something.
  constexpr bool kMayAppend = std::invocable<F&, TaskContext&>;
  if constexpr (std::is_void_v<BodyResult<F>>) {
    call_body(body, context);
    return kMayAppend ? end_well(context) : BodyEnd::kDone;
  } else if constexpr (std::same_as<BodyResult<F>, Status>) {
    Status status = call_body(body, context);
    if (!status.ok()) {
      return end_with(context, std::move(status));
    }
    return kMayAppend ? end_well(context) : BodyEnd::kDone;
  } else {
    return end_with(context, call_body(body, context));
  }
}

/// Owns the bodies that do not fit a TaskBody.
class BodyStore {
 public:
  template <class F>
  TaskBody make(F&& function) {
    using Body = std::decay_t<F>;
    TaskBody result;
    if constexpr (sizeof(Body) <= TaskBody::kInlineSize &&
                  alignof(Body) <= TaskBody::kInlineAlignment &&
                  std::is_trivially_copyable_v<Body> && std::is_trivially_destructible_v<Body>) {
      std::construct_at(reinterpret_cast<Body*>(result.storage), std::forward<F>(function));
      result.invoke = [](void* storage, TaskContext& context) {
        return run_body(*std::launder(static_cast<Body*>(storage)), context);
      };
    } else {
      auto box = std::make_unique<Box<Body>>(std::forward<F>(function));
      std::construct_at(reinterpret_cast<Body**>(result.storage), &box->body);
      boxes_.push_back(std::move(box));
      result.invoke = [](void* storage, TaskContext& context) {
        return run_body(**std::launder(static_cast<Body**>(storage)), context);
      };
    }
    return result;
  }

 private:
  struct AnyBox {
    virtual ~AnyBox() = default;
  };
  template <class Body>
  struct Box final : AnyBox {
    explicit Box(Body function) : body(std::move(function)) {}
    Body body;
  };

  std::vector<std::unique_ptr<AnyBox>> boxes_;
};

/// The place of one typed result inside the memory of a run.
struct ValueSlot {
  std::uint32_t task = 0;
  std::uint32_t offset = 0;
  void (*destroy)(std::byte* at) noexcept = nullptr;  ///< Tells the types apart, too.
};

/// A result that may not be there yet. Memory of zeros is one that is not.
template <class T>
struct Value {
  bool present;
  union {
    T value;
  };

  static Value& at(std::byte* memory) noexcept { return *reinterpret_cast<Value*>(memory); }

  static void destroy(std::byte* memory) noexcept {
    if (Value& self = at(memory); std::exchange(self.present, false)) {
      std::destroy_at(&self.value);
    }
  }
};

}  // namespace detail
}  // namespace pinion
