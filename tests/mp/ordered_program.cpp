// Sums of floating point, by key and as a vector, whose last bits depend on the order of adding;
// printed as they are in memory. SHARDS is how many shards a batch has, in an ordered step; 0: the
// step is not ordered.
//
// With PINION_TEST_GATE the first life of rank 0 stops inside its fifth body until the file of that
// name exists (or a minute has passed), and makes the file PINION_TEST_GATE.reached. The other
// ranks begin then: quicker ones would leave it nothing to do.
//
//   ordered_program SHARDS

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cinttypes>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <pinion/pinion.hpp>

namespace {

constexpr std::uint64_t kValueCount = 60'000;

std::uint64_t mix(std::uint64_t bits) {
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
  return bits ^ (bits >> 31);
}

// Magnitudes from 2^-30 to 2^30 and both signs.
double value_of(std::uint64_t i) {
  const std::uint64_t bits = mix(i + 1);
  const double part = 1 + static_cast<double>(bits >> 12) * 0x1p-52;
  return std::ldexp((bits & 1) != 0 ? part : -part, static_cast<int>((bits >> 1) % 61) - 30);
}

class Gate {
 public:
  explicit Gate(const pinion::JobInfo& info) : info_(info) {
    const char* gate = std::getenv("PINION_TEST_GATE");
    gate_ = gate == nullptr ? "" : gate;
  }

  void body_begins() const {
    if (gate_.empty()) {
      return;
    }
    const std::string reached = gate_ + ".reached";
    if (info_.rank != 0) {
      wait_for(reached);
    } else if (info_.incarnation == 1 && body_count_.fetch_add(1) >= 4) {
      close(open(reached.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
      wait_for(gate_);
    }
  }

 private:
  static void wait_for(const std::string& file) {
    for (int round = 0; round < 6000 && access(file.c_str(), F_OK) != 0; ++round) {
      poll(nullptr, 0, 10);
    }
  }

  pinion::JobInfo info_;
  std::string gate_;
  mutable std::atomic<int> body_count_ = 0;
};

void print(double value) {
  std::printf("%016" PRIx64 "\n", std::bit_cast<std::uint64_t>(value));
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  const auto shards = static_cast<std::uint32_t>(argc > 1 ? std::atoi(argv[1]) : 0);
  const pinion::Partitioning plain = pinion::by_index_range(300);
  const pinion::Partitioning by = shards > 0 ? plain.ordered(shards) : plain;
  const Gate gate(job->info());
  auto by_key = pinion::map_reduce(
      job, pinion::indices(kValueCount), by,
      [&gate](const pinion::Shard& shard, auto& emit) {
        gate.body_begins();
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          emit(std::string("key") + std::to_string(mix(i) % 40), value_of(i));
        }
      },
      pinion::sum_by_key<std::string_view, double>());
  auto vector = pinion::map_reduce(
      job, pinion::indices(kValueCount), by,
      [](const pinion::Shard& shard, auto& emit) {
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          emit(i % 3, value_of(i));
        }
      },
      pinion::sum_vector<double>(3));
  const pinion::Status printed = job->once([&] {
    for (int key = 0; key < 40; ++key) {
      print(by_key->find("key" + std::to_string(key)).value_or(0));
    }
    for (const double value : vector->values()) {
      print(value);
    }
    std::fflush(stdout);
  });
  return pinion::report(printed);
}
