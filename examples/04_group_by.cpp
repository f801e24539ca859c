// Groups rows by a key of two columns and folds each group in a way of the program's own: how many
// rides, what they brought in, and the dearest one.
//
//   pinion run -n 2 04_group_by

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include <pinion/pinion.hpp>

namespace {

struct Route {
  std::uint32_t from;
  std::uint32_t to;
};

// A fold: what a body emits, what is kept for a key, and how the two come together.
struct Rides {
  using Value = std::uint64_t;  // A fare, in cents.
  struct State {
    std::uint64_t count = 0;
    std::uint64_t sum = 0;
    std::uint64_t dearest = 0;
  };
  using Answer = State;
  static State first(Value fare) { return {1, fare, fare}; }
  static void add(State& state, Value fare) { join(state, first(fare)); }
  static void join(State& state, const State& other) {
    state.count += other.count;
    state.sum += other.sum;
    state.dearest = std::max(state.dearest, other.dearest);
  }
  static Answer answer(const State& state) { return state; }
};

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  auto rides = pinion::map_reduce(
      job, pinion::indices(1'000'000), pinion::by_index_range(),
      [](const pinion::Shard& shard, auto& emit) {
        for (std::uint64_t ride = shard.begin(); ride < shard.end(); ++ride) {
          const auto zone = static_cast<std::uint32_t>(ride % 3);
          emit({zone, static_cast<std::uint32_t>(ride / 3 % 2)}, 500 + ride * 7919 % 4000);
        }
      },
      pinion::fold_by_key<Route, Rides>());
  const pinion::Status printed = job->once([&] {
    for (const auto& [route, all] : rides->by_key()) {
      std::printf("zone %u to %u: %6ju rides, %10ju cents, at most %4ju\n", route.from, route.to,
                  std::uintmax_t{all.count}, std::uintmax_t{all.sum}, std::uintmax_t{all.dearest});
    }
  });
  return pinion::report(printed);
}
