// Taskflow: a graph that is built once and run again and again.

#include <taskflow/taskflow.hpp>

#include "dag/contest.hpp"

namespace {

using pinion::bench::Contest;
using pinion::bench::Shape;

class Contender {
 public:
  Contender(const Shape& shape, const Contest& contest, std::vector<std::uint32_t>& words)
      : executor_(contest.workers) {
    std::vector<tf::Task> tasks;
    for (std::uint32_t task = 0; task < shape.task_count; ++task) {
      tasks.push_back(
          taskflow_.emplace([word = &words[task * contest.spacing], steps = contest.step_count] {
            pinion::bench::compute(*word, steps);
          }));
    }
    for (const Shape::Edge& edge : shape.edges) {
      tasks[edge.before].precede(tasks[edge.after]);
    }
  }

  void run() { executor_.run(taskflow_).wait(); }

 private:
  tf::Executor executor_;
  tf::Taskflow taskflow_;
};

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_contest<Contender>(PINION_BENCH_CONTENDER, argc, argv);
}
