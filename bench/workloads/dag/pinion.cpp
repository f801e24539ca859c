// A graph that is compiled once and run again and again.

#include <memory>
#include <utility>

#include <pinion/core/executor.hpp>
#include <pinion/dag/graph.hpp>

#include "dag/contest.hpp"

namespace {

using pinion::bench::Contest;
using pinion::bench::Shape;

class Contender {
 public:
  Contender(const Shape& shape, const Contest& contest, std::vector<std::uint32_t>& words)
      : words_(words.data()),
        step_count_(contest.step_count),
        spacing_(contest.spacing),
        executor_(pinion::Executor::create({.groups = {{.cpus = cpus_of(contest.workers),
                                                        .worker_count = contest.workers}}})
                      .value()),
        compiled_(compile(shape)) {}

  void run() {
    const pinion::Status status = compiled_.run(*executor_)->wait();
    if (!status.ok()) {
      pinion::exit_with(status);
    }
  }

 private:
  static std::vector<unsigned> cpus_of(std::size_t workers) {
    std::vector<unsigned> cpus;
    for (std::size_t i = workers; i > 0; --i) {
      cpus.push_back(static_cast<unsigned>(i - 1));
    }
    return cpus;
  }

  pinion::CompiledGraph compile(const Shape& shape) {
    pinion::Graph graph;
    graph.reserve(shape.task_count, shape.edges.size());
    for (std::uint32_t task = 0; task < shape.task_count; ++task) {
      graph.add([this, task] { pinion::bench::compute(words_[task * spacing_], step_count_); });
    }
    for (const Shape::Edge& edge : shape.edges) {
      graph.add_edge({edge.before}, {edge.after});
    }
    return std::move(graph).compile().value();
  }

  std::uint32_t* words_;
  std::uint32_t step_count_;
  std::uint32_t spacing_;
  std::unique_ptr<pinion::Executor> executor_;
  pinion::CompiledGraph compiled_;
};

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_contest<Contender>(PINION_BENCH_CONTENDER, argc, argv);
}
