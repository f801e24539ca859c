// Three steps of k-means; each uses the centres that the step before it found. A rank that is
// killed on the way is started again, gets the finished steps' results at once and goes on.
//
//   pinion run -n 2 03_k_means

#include <algorithm>
#include <complex>
#include <cstdint>
#include <cstdio>
#include <vector>

#include <pinion/pinion.hpp>

namespace {

using Point = std::complex<double>;
// Coordinates are multiples of 1/256, so that their sums are exact in any order.
Point make_point(std::uint64_t index) {
  const std::uint64_t random = index * 0x9E3779B97F4A7C15u;
  const auto x = static_cast<double>(index % 2 * 1024 + (random >> 40 & 255)) / 256;
  const auto y = static_cast<double>(index / 2 % 2 * 1024 + (random >> 50 & 255)) / 256;
  return {x, y};
}

std::size_t nearest(Point point, const std::vector<Point>& centres) {
  const auto closer = [point](Point a, Point b) {
    return std::norm(a - point) < std::norm(b - point);
  };
  return std::size_t(std::min_element(centres.begin(), centres.end(), closer) - centres.begin());
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  std::vector<Point> centres = {{0, 0}, {1, 0}, {0, 1}, {1, 1}};
  for (int step = 0; step < 3; ++step) {
    auto sums = pinion::map_reduce(
        job, pinion::indices(400'000), pinion::by_index_range(5'000),
        [&centres](const pinion::Shard& shard, auto& emit) {
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            const Point point = make_point(i);
            const std::size_t c = 3 * nearest(point, centres);
            emit(c, point.real());
            emit(c + 1, point.imag());
            emit(c + 2, 1);
          }
        },
        pinion::sum_vector<double>(3 * centres.size()));
    for (std::size_t c = 0; c < centres.size(); ++c) {
      const auto sum = sums->values().subspan(3 * c, 3);
      centres[c] = sum[2] > 0 ? Point{sum[0] / sum[2], sum[1] / sum[2]} : centres[c];
    }
  }
  const pinion::Status printed = job->once([&] {
    for (const Point centre : centres) std::printf("%.6f %.6f\n", centre.real(), centre.imag());
  });
  return pinion::report(printed);
}
