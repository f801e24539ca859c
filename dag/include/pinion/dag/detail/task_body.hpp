#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/core/status.hpp>

namespace pinion {

class TaskContext;

namespace detail {

/// How a body came back.
enum class BodyEnd : std::uint8_t {
  kDone,
  kFailed,   ///< The context holds the error.
  kSkipped,  ///< It did not run.
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

// What the context does with the error that a body returned.
BodyEnd end_with(TaskContext& context, Status status);

template <class F>
decltype(auto) call_body(F& body, TaskContext& context) {
  if constexpr (std::invocable<F&, TaskContext&>) {
    return body(context);
  } else {
    return body();
  }
}

template <class F>
using BodyResult = decltype(call_body(std::declval<F&>(), std::declval<TaskContext&>()));

template <class F>
BodyEnd run_body(F& body, TaskContext& context) {
  if constexpr (std::is_void_v<BodyResult<F>>) {
    call_body(body, context);
    return BodyEnd::kDone;
  } else {
    static_assert(std::same_as<BodyResult<F>, Status>, "a body returns nothing or a Status");
    Status status = call_body(body, context);
    return status.ok() ? BodyEnd::kDone : end_with(context, std::move(status));
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
    template <class F>
    explicit Box(F&& function) : body(std::forward<F>(function)) {}
    Body body;
  };

  std::vector<std::unique_ptr<AnyBox>> boxes_;
};

}  // namespace detail
}  // namespace pinion
