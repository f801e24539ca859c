// Adds the numbers 0 to 999 999 on every worker of every rank, and says who did how much.
//
//   01_hello                  one rank
//   pinion run -n 2 01_hello  two ranks, the same answer

#include <cstdint>
#include <cstdio>
#include <string>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  auto sum = pinion::map_reduce(
      job, pinion::indices(1'000'000), pinion::by_index_range(10'000),
      [](const pinion::Shard& shard, auto& emit) {
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          emit(0, i);
        }
      },
      pinion::sum_vector<std::uint64_t>(1));

  std::fprintf(stderr, "%s\n", job->placement().c_str());
  const pinion::Status printed = job->once([&] {
    std::printf("hello: the sum is %llu\n", static_cast<unsigned long long>(sum->values()[0]));
  });
  return pinion::report(printed);
}
