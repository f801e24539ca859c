// The same bodies without any edge, an equal part for each thread: what no engine can be faster
// than.

#include <atomic>
#include <thread>

#include "dag/contest.hpp"

namespace {

using pinion::bench::Contest;
using pinion::bench::Shape;

class Contender {
 public:
  Contender(const Shape& /*shape*/, const Contest& contest, std::vector<std::uint32_t>& words)
      : words_(words),
        step_count_(contest.step_count),
        spacing_(contest.spacing),
        workers_(contest.workers) {
    for (std::size_t i = 1; i < workers_; ++i) {
      threads_.emplace_back([this, i] { serve(i); });
    }
  }
  ~Contender() {
    stopping_ = true;
    ++round_;
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }
  Contender(const Contender&) = delete;
  Contender& operator=(const Contender&) = delete;

  // Threads that wait poll, so that starting them costs nothing.
  void run() {
    open_count_ = workers_;
    ++round_;
    do_part(0);
    while (open_count_ > 0) {
    }
  }

 private:
  void serve(std::size_t part) {
    for (std::uint64_t round = 1;; ++round) {
      while (round_ < round) {
      }
      if (stopping_) {
        return;
      }
      do_part(part);
    }
  }

  void do_part(std::size_t part) {
    const std::size_t task_count = words_.size() / spacing_;
    const std::size_t end = task_count * (part + 1) / workers_;
    for (std::size_t task = task_count * part / workers_; task < end; ++task) {
      pinion::bench::compute(words_[task * spacing_], step_count_);
    }
    --open_count_;
  }

  std::vector<std::uint32_t>& words_;
  std::uint32_t step_count_;
  std::uint32_t spacing_;
  std::size_t workers_;
  std::atomic<std::size_t> open_count_ = 0;
  std::atomic<std::uint64_t> round_ = 0;
  std::atomic<bool> stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_contest<Contender>(PINION_BENCH_CONTENDER, argc, argv);
}
