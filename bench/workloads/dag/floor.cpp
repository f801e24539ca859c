// What one thread needs at least; see floor.hpp. It has one worker whatever it is asked for.

#include "dag/floor.hpp"

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
        floor_(shape) {
    floor_.set_all([](void* self, std::uint32_t task) {
      const Contender& of = *static_cast<const Contender*>(self);
      pinion::bench::compute(of.words_[task * of.spacing_], of.step_count_);
    });
  }

  void run() { floor_.run(this); }

 private:
  std::uint32_t* words_;
  std::uint32_t step_count_;
  std::uint32_t spacing_;
  pinion::bench::Floor floor_;
};

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_contest<Contender>(PINION_BENCH_CONTENDER, argc, argv);
}
