// Adds up 0 to 63, one shard each, under each of 500 keys, and lets a test hold it between its two
// stages: no body ends before one has begun in each rank, and no merge goes on before the file
// DIR/gate exists, or a minute has passed. The files DIR/body.<rank> and DIR/merge.<rank> appear
// when a body, or a merge, of that rank begins.
//
//   merging_program DIR

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include <pinion/pinion.hpp>

namespace {

constexpr std::uint64_t kKeyCount = 500;

void touch(const std::string& path) {
  close(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

void wait_for(const std::string& path) {
  for (int round = 0; round < 6000 && access(path.c_str(), F_OK) != 0; ++round) {
    poll(nullptr, 0, 10);
  }
}

// A fold has no state of its own.
std::string gate;
std::string merge_begun;

// An object, as such a one is read where it is merged and not before.
struct HeldSum {
  using Value = std::uint64_t;
  using State = std::vector<std::uint64_t>;
  using Answer = std::uint64_t;
  static State first(Value value) { return {value}; }
  static void add(State& values, Value value) { values.push_back(value); }
  static void join(State& values, const State& others) {
    values.insert(values.end(), others.begin(), others.end());
  }
  static Answer answer(const State& values) {
    return std::accumulate(values.begin(), values.end(), std::uint64_t{0});
  }
  static void write(const State& values, pinion::ByteWriter& out) { out.put(answer(values)); }
  static State read(pinion::ByteReader& in) {
    touch(merge_begun);
    wait_for(gate);
    return {in.take<std::uint64_t>()};
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: merging_program DIR\n", stderr);
    return 64;
  }
  const std::string folder = argv[1];
  auto job = pinion::Job::create(argc, argv);
  const pinion::JobInfo info = job->info();
  gate = folder + "/gate";
  merge_begun = folder + "/merge." + std::to_string(info.rank);
  auto sums = pinion::map_reduce(
      job, pinion::indices(64), pinion::by_index_range(1),
      [&](const pinion::Shard& shard, auto& emit) {
        touch(folder + "/body." + std::to_string(info.rank));
        for (std::uint32_t rank = 0; rank < info.rank_count; ++rank) {
          wait_for(folder + "/body." + std::to_string(rank));
        }
        for (std::uint64_t key = 0; key < kKeyCount; ++key) {
          emit(key, shard.begin());
        }
      },
      pinion::fold_by_key<std::uint64_t, HeldSum>());
  std::uint64_t total = 0;
  for (const auto& [key, sum] : *sums) {
    total += sum;
  }
  const auto count = static_cast<unsigned long long>(sums->size());
  const pinion::Status printed = job->once([count, total] {
    std::printf("%llu keys, sum %llu\n", count, static_cast<unsigned long long>(total));
    std::fflush(stdout);
  });
  return pinion::report(printed);
}
