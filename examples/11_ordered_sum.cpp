// A sum of floating point that is the same to the last bit in every run: on any number of ranks and
// workers, and when ranks die. Leibniz' series for pi; without ordered() its last digits change
// from run to run.
//
//   pinion run -n 2 11_ordered_sum 100000000

#include <cstdint>
#include <cstdio>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  const std::uint64_t terms =
      argc > 1 ? pinion::parse_integer<std::uint64_t>(argv[1]).value_or(0) : 10'000'000;
  if (terms == 0) {
    std::fputs("usage: 11_ordered_sum [TERMS] (1 or more)\n", stderr);
    return 64;
  }
  auto sum = pinion::map_reduce(
      job, pinion::indices(terms), pinion::by_index_range().ordered(),
      [](const pinion::Shard& shard, auto& emit) {
        double part = 0;
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          const double term = 4 / (2 * static_cast<double>(i) + 1);
          part += i % 2 == 0 ? term : -term;
        }
        emit(0, part);
      },
      pinion::sum_vector<double>(1));

  const pinion::Status printed = job->once(
      [&] { std::printf("pi is about %.17g, which is %a\n", sum->values()[0], sum->values()[0]); });
  return pinion::report(printed);
}
