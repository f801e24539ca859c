// oneTBB's flow graph: a continue_node for each task, built once and run again and again. The
// calling thread works too.

#include <memory>

#include <oneapi/tbb/flow_graph.h>
#include <oneapi/tbb/task_arena.h>

#include "dag/contest.hpp"

namespace {

using pinion::bench::Contest;
using pinion::bench::Shape;
using Message = tbb::flow::continue_msg;
using Node = tbb::flow::continue_node<Message>;

class Contender {
 public:
  Contender(const Shape& shape, const Contest& contest, std::vector<std::uint32_t>& words)
      : arena_(static_cast<int>(contest.workers), 1) {
    arena_.execute([&] {
      graph_ = std::make_unique<tbb::flow::graph>();
      std::vector<bool> has_predecessor(shape.task_count);
      for (std::uint32_t task = 0; task < shape.task_count; ++task) {
        nodes_.push_back(
            std::make_unique<Node>(*graph_, [word = &words[task * contest.spacing],
                                             steps = contest.step_count](const Message& message) {
              pinion::bench::compute(*word, steps);
              return message;
            }));
      }
      for (const Shape::Edge& edge : shape.edges) {
        tbb::flow::make_edge(*nodes_[edge.before], *nodes_[edge.after]);
        has_predecessor[edge.after] = true;
      }
      for (std::uint32_t task = 0; task < shape.task_count; ++task) {
        if (!has_predecessor[task]) {
          roots_.push_back(nodes_[task].get());
        }
      }
    });
  }

  void run() {
    arena_.execute([this] {
      for (Node* const root : roots_) {
        root->try_put(Message());
      }
      graph_->wait_for_all();
    });
  }

 private:
  tbb::task_arena arena_;
  std::unique_ptr<tbb::flow::graph> graph_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Node*> roots_;
};

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_contest<Contender>(PINION_BENCH_CONTENDER, argc, argv);
}
