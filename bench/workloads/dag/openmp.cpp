// OpenMP tasks with dependences. There is no graph that runs again: every run makes its tasks.

#include <omp.h>

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
        worker_count_(static_cast<int>(contest.workers)),
        first_(shape.task_count + std::size_t{1}),
        before_(shape.edges.size()),
        marks_(shape.task_count) {
    for (const Shape::Edge& edge : shape.edges) {
      ++first_[edge.after + 1];
    }
    for (std::size_t task = 0; task < shape.task_count; ++task) {
      first_[task + 1] += first_[task];
    }
    std::vector<std::uint32_t> next(first_.begin(), first_.end() - 1);
    for (const Shape::Edge& edge : shape.edges) {
      before_[next[edge.after]++] = edge.before;
    }
  }

  void run() {
#pragma omp parallel num_threads(worker_count_)
#pragma omp single
    make_tasks();
  }

 private:
  // The numbers of tasks rise along edges in every shape, as this kind of task needs.
  void make_tasks() {
    [[maybe_unused]] char* const marks = marks_.data();
    const std::uint32_t* const before = before_.data();
    for (std::uint32_t task = 0; task + 1 < first_.size(); ++task) {
      const std::uint32_t begin = first_[task];
      const std::uint32_t end = first_[task + 1];
#pragma omp task firstprivate(task) depend(iterator(std::uint32_t i = begin \
                                                    : end),                 \
                                           in                               \
                                           : marks[before[i]]) depend(out   \
                                                                      : marks[task])
      pinion::bench::compute(words_[task * spacing_], step_count_);
    }
  }

  std::uint32_t* words_;
  std::uint32_t step_count_;
  std::uint32_t spacing_;
  int worker_count_;
  std::vector<std::uint32_t> first_;
  std::vector<std::uint32_t> before_;
  std::vector<char> marks_;
};

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_contest<Contender>(PINION_BENCH_CONTENDER, argc, argv);
}
