#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/dag/compiled_graph.hpp>
#include <pinion/dag/detail/task_body.hpp>
#include <pinion/dag/task.hpp>
#include <pinion/dag/task_context.hpp>

namespace pinion {

/// Tasks, and which must end before which may begin.
///
///     Graph graph;
///     const TaskId load = graph.add({.name = "load"}, [&] { table = read(path); });
///     const TaskId count = graph.add([&]() -> Status { return count_rows(table); });
///     graph.add_edge(load, count);
///     CompiledGraph compiled = std::move(graph).compile().value();
///     Status status = compiled.run(*executor)->wait();
///
/// A body is called without arguments, or with a TaskContext&. It returns nothing, a Status, or a
/// Completion: then the task has ended when that was signalled, with its status, and holds no
/// worker meanwhile. What a body throws is caught and is the task's error. A body does not wait for
/// another one: that is what edges are for (see CompiledGraph::run()).
///
/// A body that returns another type gives its result to the tasks that name it as an input; they
/// are called with a reference to the one object that it made.
///
///     const ValueTask<Table> read = graph.add([] { return read_table(); });
///     const auto rows_of = [](const Table& table) { return table.rows(); };
///     const ValueTask<int> rows = graph.add(rows_of, read);
///
/// Thread safety: none. Bodies are called on the workers of an executor, several at once; the same
/// body too, when several runs of the graph go on.
class Graph {
 public:
  /// Of up to 16 bytes and trivially copyable, a body lies in the tables; others are allocated.
  template <class F>
  requires(detail::IsBody<F>) TaskId add(F&& body) {
    return add_body(bodies_.make(std::forward<F>(body)));
  }

  /// A body that returns a value, or that takes those of `inputs`, which end before it begins.
  /// Precondition: the inputs are tasks of this graph.
  template <class F, class... Inputs>
  requires(sizeof...(Inputs) > 0 || !detail::IsBody<F>) auto add(F&& body,
                                                                 ValueTask<Inputs>... inputs);

  template <class F, class... Inputs>
  auto add(TaskOptions options, F&& body, ValueTask<Inputs>... inputs) {
    const auto task = add(std::forward<F>(body), inputs...);
    set_options(task, std::move(options));
    return task;
  }

  /// `before` ends well before `after` begins. An edge that is there twice is one.
  void add_edge(TaskId before, TaskId after) { edges_.push_back({before.index, after.index}); }

  /// All of `before` end before any of `after` begins. Where both are many, a task without a body
  /// is put between them, so that there are as many edges as tasks and not their product.
  void add_edges(std::span<const TaskId> before, std::span<const TaskId> after);
  void add_edges(TaskId before, std::span<const TaskId> after) { add_edges({&before, 1}, after); }
  void add_edges(std::span<const TaskId> before, TaskId after) { add_edges(before, {&after, 1}); }

  void reserve(std::size_t task_count, std::size_t edge_count);

  [[nodiscard]] std::size_t task_count() const noexcept { return tasks_.size(); }

  /// Checks the graph and brings it into the form that runs. Linear in tasks and edges.
  /// Errors: kInvalidArgument for a cycle, with the names of its tasks, and for an edge of a task
  ///   that is not there; kAlreadyExists for a name that two tasks have; kResourceExhausted for
  ///   more than 2^30 tasks or 2^32 - 1 edges.
  [[nodiscard]] Result<CompiledGraph> compile() &&;

 private:
  friend class Compiler;
  struct Edge {
    std::uint32_t before;
    std::uint32_t after;
  };

  TaskId add_body(const detail::TaskBody& body);
  std::uint32_t add_value(std::size_t size, std::size_t alignment,
                          void (*destroy)(std::byte* at) noexcept);
  void check_input(TaskId task, std::uint32_t offset,
                   void (*destroy)(std::byte* at) noexcept) const;
  void set_options(TaskId task, TaskOptions options);

  detail::BodyStore bodies_;
  std::vector<detail::TaskBody> tasks_;
  std::vector<Edge> edges_;
  std::vector<TaskOptions> options_;
  std::vector<std::uint32_t> options_of_;  // By task, 1 and more; shorter than tasks_, or empty.
  std::vector<detail::ValueSlot> values_;  // By rising task and offset.
  std::uint32_t values_size_ = 0;
};

template <class F, class... Inputs>
requires(sizeof...(Inputs) > 0 || !detail::IsBody<F>) auto Graph::add(F&& body,
                                                                      ValueTask<Inputs>... inputs) {
  using Body = std::decay_t<F>;
  using Result = std::invoke_result_t<Body&, const Inputs&...>;
  (check_input(inputs, inputs.offset, &detail::Value<Inputs>::destroy), ...);
  TaskId task;
  if constexpr (detail::kIsOutcome<Result>) {
    task = add([body = Body(std::forward<F>(body)), inputs...](TaskContext& context) mutable {
      return body(context.value(inputs)...);
    });
  } else {
    using Value = detail::Value<Result>;
    const std::uint32_t offset = add_value(sizeof(Value), alignof(Value), &Value::destroy);
    task =
        add([body = Body(std::forward<F>(body)), offset, inputs...](TaskContext& context) mutable {
          context.set_value(ValueTask<Result>{.offset = offset},
                            [&]() -> Result { return body(context.value(inputs)...); });
        });
    (add_edge(inputs, task), ...);
    return ValueTask<Result>{.id = task, .offset = offset};
  }
  if constexpr (detail::kIsOutcome<Result>) {
    (add_edge(inputs, task), ...);
    return task;
  }
}

}  // namespace pinion
