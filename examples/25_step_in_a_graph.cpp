// A step of a job as a task of a graph. Steps are taken by the program's thread, on all ranks in
// the same order, so the task only says that its turn has come, and ends when a completion is
// signalled: no worker waits for the step, whose body needs them all.
//
//   pinion run -n 2 25_step_in_a_graph

#include <cstdint>
#include <cstdio>
#include <utility>
#include <vector>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (!job) {
    return pinion::report(job.error());
  }
  std::vector<std::uint64_t> weights;
  std::vector<std::uint64_t> sums;
  double mean = 0;
  pinion::CompletionSource turn;
  pinion::CompletionSource step;

  pinion::Graph graph;
  const pinion::TaskId prepare = graph.add({.name = "prepare"}, [&] { weights = {1, 2, 3, 4}; });
  const pinion::TaskId sum = graph.add({.name = "sum"}, [&turn, completion = step.completion()] {
    turn.signal({});
    return completion;
  });
  const pinion::TaskId divide = graph.add({.name = "divide"}, [&] {
    mean = static_cast<double>(sums[0]) / static_cast<double>(sums[1]);
  });
  graph.add_edge(prepare, sum);
  graph.add_edge(sum, divide);
  const pinion::CompiledGraph compiled = std::move(graph).compile().value();
  const auto run = compiled.run(job->executor());

  turn.completion().wait();
  const auto result = pinion::map_reduce(
      job, pinion::indices(100'000), pinion::by_index_range(1000),
      [&weights](const pinion::Shard& shard, auto& emit) {
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          const std::uint64_t weight = weights[i % weights.size()];
          emit(0, i * weight);
          emit(1, weight);
        }
      },
      pinion::sum_vector<std::uint64_t>(2));
  if (result) {
    sums.assign(result->values().begin(), result->values().end());
  }
  step.signal(result ? pinion::Status() : result.error());

  if (const pinion::Status ended = run->wait(); !ended.ok()) {
    return pinion::report(ended);
  }
  return pinion::report(job->once([&] { std::printf("the weighted mean is %.2f\n", mean); }));
}
