// Pi from random points of a square: the part of them that lies in the circle. Each shard draws its
// points from a seed of its own, so the answer is the same on any number of workers and ranks.
//
//   pinion run -n 2 06_pi 1000000000

#include <cstdint>
#include <cstdio>

#include <pinion/pinion.hpp>

namespace {

// The i-th number of a seed: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators.
std::uint64_t random_number(std::uint64_t seed, std::uint64_t i) {
  std::uint64_t bits = seed + i * 0x9E3779B97F4A7C15u;
  bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ bits >> 27) * 0x94D049BB133111EBu;
  return bits ^ bits >> 31;
}

bool is_inside(std::uint64_t bits) {
  constexpr std::uint64_t kRadius = std::uint64_t{1} << 31;
  const std::uint64_t x = bits >> 33;
  const std::uint64_t y = bits & (kRadius - 1);
  return x * x + y * y < kRadius * kRadius;
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  const std::uint64_t points =
      argc > 1 ? pinion::parse_integer<std::uint64_t>(argv[1]).value_or(0) : 20'000'000;
  if (points == 0) {
    std::fputs("usage: 06_pi [POINTS] (1 or more)\n", stderr);
    return 64;
  }
  auto inside = pinion::map_reduce(
      job, pinion::indices(points), pinion::by_index_range(1'000'000),
      [](const pinion::Shard& shard, auto& emit) {
        std::uint64_t count = 0;
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          count += is_inside(random_number(shard.seed(), i));
        }
        emit(0, count);
      },
      pinion::sum_vector<std::uint64_t>(1));

  const pinion::Status printed = job->once([&] {
    const auto count = static_cast<double>(inside->values()[0]);
    std::printf("pi is about %.6f\n", 4 * count / static_cast<double>(points));
  });
  return pinion::report(printed);
}
