// A graph that is not known before it runs: a task looks at a range of numbers and, where that is
// long, appends a graph that does its halves. What it appended has ended before the task has.

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <utility>

#include <pinion/core/executor.hpp>
#include <pinion/dag/graph.hpp>

namespace {

struct Range {
  std::uint32_t begin;
  std::uint32_t end;
};

bool is_prime(std::uint32_t number) {
  std::uint32_t divisor = 2;
  while (divisor * divisor <= number && number % divisor != 0) {
    ++divisor;
  }
  return number > 1 && divisor * divisor > number;
}

pinion::Status count_primes(pinion::TaskContext& context, Range range, std::atomic<int>& count) {
  if (range.end - range.begin > 1000) {
    const std::uint32_t middle = range.begin + (range.end - range.begin) / 2;
    pinion::Graph halves;
    for (const Range half : {Range{range.begin, middle}, Range{middle, range.end}}) {
      halves.add([half, &count](pinion::TaskContext& of_half) {
        return count_primes(of_half, half, count);
      });
    }
    return context.append(std::move(halves));
  }
  for (std::uint32_t number = range.begin; number < range.end; ++number) {
    count += is_prime(number) ? 1 : 0;
  }
  return {};
}

}  // namespace

int main() {
  auto executor = pinion::Executor::create({.groups = {{.worker_count = 2}}}).value();
  std::atomic<int> count = 0;
  pinion::Graph graph;
  const pinion::TaskId all = graph.add([&](pinion::TaskContext& context) {
    return count_primes(context, {0, 100'000}, count);
  });
  const pinion::TaskId print = graph.add([&] { std::printf("%d primes\n", count.load()); });
  graph.add_edge(all, print);
  const auto run = std::move(graph).compile()->run(*executor);
  const pinion::Status status = run->wait();
  std::printf("%d tasks\n", static_cast<int>(run->progress().ended_count));
  return pinion::report(status);
}
