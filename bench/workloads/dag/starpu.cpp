// StarPU tasks with dependences between tasks, no data. Every run makes and submits its tasks.

#include <starpu.h>

#include "dag/contest.hpp"

namespace {

using pinion::bench::Contest;
using pinion::bench::Shape;

struct Body {
  std::uint32_t* word;
  std::uint32_t step_count;
};

void run_body(void** /*buffers*/, void* argument) {
  const Body& body = *static_cast<const Body*>(argument);
  pinion::bench::compute(*body.word, body.step_count);
}

class Contender {
 public:
  Contender(const Shape& shape, const Contest& contest, std::vector<std::uint32_t>& words)
      : before_(shape.task_count) {
    starpu_conf conf;
    starpu_conf_init(&conf);
    conf.ncpus = static_cast<int>(contest.workers);
    conf.ncuda = 0;
    conf.nopencl = 0;
    if (starpu_init(&conf) != 0) {
      std::fprintf(stderr, "StarPU does not start\n");
      std::exit(1);
    }
    starpu_codelet_init(&codelet_);
    codelet_.cpu_funcs[0] = run_body;
    codelet_.nbuffers = 0;
    for (std::size_t i = 0; i < words.size(); i += contest.spacing) {
      bodies_.push_back({&words[i], contest.step_count});
    }
    for (const Shape::Edge& edge : shape.edges) {
      before_[edge.after].push_back(edge.before);
    }
  }
  ~Contender() { starpu_shutdown(); }
  Contender(const Contender&) = delete;
  Contender& operator=(const Contender&) = delete;

  void run() {
    std::vector<starpu_task*> tasks;
    tasks.reserve(bodies_.size());
    for (Body& body : bodies_) {
      starpu_task* const task = starpu_task_create();
      task->cl = &codelet_;
      task->cl_arg = &body;
      task->cl_arg_size = sizeof(Body);
      task->destroy = 0;
      tasks.push_back(task);
    }
    std::vector<starpu_task*> before;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      before.clear();
      for (const std::uint32_t other : before_[i]) {
        before.push_back(tasks[other]);
      }
      // It takes a predecessor once.
      std::sort(before.begin(), before.end());
      before.erase(std::unique(before.begin(), before.end()), before.end());
      if (!before.empty()) {
        starpu_task_declare_deps_array(tasks[i], static_cast<unsigned>(before.size()),
                                       before.data());
      }
      if (starpu_task_submit(tasks[i]) != 0) {
        std::fprintf(stderr, "StarPU takes no task\n");
        std::exit(1);
      }
    }
    starpu_task_wait_for_all();
    for (starpu_task* const task : tasks) {
      starpu_task_destroy(task);
    }
  }

 private:
  starpu_codelet codelet_ = {};
  std::vector<Body> bodies_;
  std::vector<std::vector<std::uint32_t>> before_;
};

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_contest<Contender>(PINION_BENCH_CONTENDER, argc, argv);
}
