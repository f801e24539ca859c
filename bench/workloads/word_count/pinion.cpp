// Counts the words ([A-Za-z0-9]+) of files and directories, as a user of Pinion writes it.

#include <cstdint>
#include <string_view>

#include <pinion/pinion.hpp>

#include "checksums.hpp"
#include "harness.hpp"
#include "job.hpp"
#include "word_count/corpus.hpp"

namespace {

using namespace pinion::literals;

constexpr std::uint64_t kShardBytes = 4_MiB;

pinion::bench::Repetition run(pinion::Job& job, const pinion::bench::Options& options) {
  const pinion::bench::Stopwatch watch;
  auto counts = pinion::map_reduce(
      job, pinion::files(options.paths), pinion::by_bytes(kShardBytes, pinion::align_to_line),
      [](const pinion::Shard& shard, auto& emit) {
        for (const std::string_view word : pinion::words(shard.text())) {
          emit(word, 1);
        }
      },
      pinion::sum_by_key<std::string_view, std::uint64_t>());
  pinion::bench::Repetition repetition = {.time = watch.elapsed()};
  repetition.memory_bytes_max = options.workers * kShardBytes + pinion::bench::kOtherMemoryBytes;
  for (const auto& [word, count] : *counts) {
    repetition.checksum += pinion::bench::word_part(word, count);
    repetition.memory_bytes_max += word.size() + sizeof(count);
  }
  repetition.bytes = pinion::bench::total_bytes(pinion::bench::list_files(options.paths));
  return repetition;
}

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_job({PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER}, argc, argv, run);
}
