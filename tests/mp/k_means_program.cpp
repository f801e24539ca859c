// k-means in three steps, as a program that a test can stop at the right moment. In step 2 the
// first life of rank 0 finishes one shard and then waits, inside the body of its next one, until
// the file PINION_TEST_GATE exists (or a minute has passed). The other ranks start on step 2 when
// it waits: a quicker one would leave it nothing to do. Every body adds a line "step shard rank
// incarnation pid" to PINION_TEST_BODIES.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <pinion/pinion.hpp>

namespace {

constexpr std::size_t kCentres = 3;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class Witness {
 public:
  explicit Witness(const pinion::JobInfo& info)
      : info_(info),
        gate_(environment("PINION_TEST_GATE")),
        bodies_(open(environment("PINION_TEST_BODIES").c_str(),
                     O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) {}

  void body_starts(int step, std::uint64_t shard) const {
    const std::string line = std::to_string(step) + " " + std::to_string(shard) + " " +
                             std::to_string(info_.rank) + " " + std::to_string(info_.incarnation) +
                             " " + std::to_string(getpid()) + "\n";
    if (write(bodies_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
      std::abort();
    }
    if (step != 2 || gate_.empty()) {
      return;
    }
    const std::string reached = gate_ + ".reached";
    if (info_.rank != 0) {
      wait_for({reached, gate_});
    } else if (info_.incarnation == 1 && started_in_step_2_.fetch_add(1) >= 1) {
      close(open(reached.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
      wait_for({gate_});
    }
  }

 private:
  // Until one of the files exists, a minute at most.
  static void wait_for(const std::vector<std::string>& files) {
    const auto exists = [](const std::string& file) { return access(file.c_str(), F_OK) == 0; };
    for (int round = 0; round < 6000 && std::none_of(files.begin(), files.end(), exists); ++round) {
      poll(nullptr, 0, 10);
    }
  }

  pinion::JobInfo info_;
  std::string gate_;
  int bodies_;
  mutable std::atomic<int> started_in_step_2_ = 0;
};

// On a grid of 1/256, so that sums are exact in any order.
double coordinate(std::uint64_t index) {
  const std::uint64_t random = (index + 1) * 0x9E3779B97F4A7C15u;
  return static_cast<double>(index % kCentres * 2000 + (random >> 40 & 511)) / 256;
}

std::size_t nearest(double x, const std::vector<double>& centres) {
  std::size_t best = 0;
  for (std::size_t c = 1; c < centres.size(); ++c) {
    const bool closer =
        (x - centres[c]) * (x - centres[c]) < (x - centres[best]) * (x - centres[best]);
    best = closer ? c : best;
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  const Witness witness(job->info());
  std::vector<double> centres = {0, 1, 2};
  for (int step = 1; step <= 3; ++step) {
    auto sums = pinion::map_reduce(
        job, pinion::indices(8000), pinion::by_index_range(500),
        [&](const pinion::Shard& shard, auto& emit) {
          witness.body_starts(step, shard.id());
          for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
            const double x = coordinate(i);
            const std::size_t c = nearest(x, centres);
            emit(2 * c, x);
            emit(2 * c + 1, 1);
          }
        },
        pinion::sum_vector<double>(2 * kCentres));
    for (std::size_t c = 0; c < kCentres; ++c) {
      const double count = sums->values()[2 * c + 1];
      centres[c] = count > 0 ? sums->values()[2 * c] / count : centres[c];
    }
  }
  const pinion::Status printed = job->once([&centres] {
    for (const double centre : centres) {
      std::printf("%.17g\n", centre);
    }
    std::fflush(stdout);
  });
  return pinion::report(printed);
}
