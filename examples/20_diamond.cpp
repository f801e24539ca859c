// The smallest graph that needs one: two tasks that wait for the same one, and one that waits for
// both. Results go along the edges by reference.

#include <cstdio>
#include <numeric>
#include <utility>
#include <vector>

#include <pinion/core/executor.hpp>
#include <pinion/dag/graph.hpp>

int main() {
  auto executor = pinion::Executor::create({.groups = {{.worker_count = 2}}}).value();

  pinion::Graph graph;
  const auto read = graph.add({.name = "read"}, [] {
    std::vector<int> numbers(1000);
    std::iota(numbers.begin(), numbers.end(), 1);
    return numbers;
  });
  const auto sum = graph.add(
      {.name = "sum"},
      [](const std::vector<int>& numbers) {
        return std::accumulate(numbers.begin(), numbers.end(), 0L);
      },
      read);
  const auto squares = graph.add(
      {.name = "squares"},
      [](const std::vector<int>& numbers) {
        return std::inner_product(numbers.begin(), numbers.end(), numbers.begin(), 0L);
      },
      read);
  graph.add(
      {.name = "print"},
      [](const long& total, const long& of_squares) {
        std::printf("sum %ld, sum of squares %ld\n", total, of_squares);
      },
      sum, squares);

  const pinion::CompiledGraph compiled = std::move(graph).compile().value();
  const pinion::Status status = compiled.run(*executor)->wait();
  std::printf("%s", compiled.to_dot().c_str());
  return pinion::report(status);
}
