// Sums by keys that are long texts: KEYS of them, the first of BYTES bytes and each of one more
// than the one before, each emitted once in each of SHARDS shards; or, with FILE, counts its lines.
// Prints how many keys there are, their bytes, the sum of their values, and how many keys are not
// found again by name.
//
//   long_keys_program SHARDS KEYS BYTES | long_keys_program FILE

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <pinion/pinion.hpp>

namespace {

using Counts = decltype(pinion::sum_by_key<std::string_view, std::uint64_t>())::Result;

// Equal but for a few bytes at the end, so that only whole keys tell them apart.
std::string make_key(std::uint64_t index, std::uint64_t first_bytes) {
  std::string key(first_bytes + index, 'k');
  const std::string number = std::to_string(index);
  key.replace(key.size() - number.size(), number.size(), number);
  return key;
}

pinion::Result<Counts> count_made_keys(pinion::Result<pinion::Job>& job, char** arguments) {
  const std::uint64_t key_count = std::strtoull(arguments[1], nullptr, 10);
  const std::uint64_t first_bytes = std::strtoull(arguments[2], nullptr, 10);
  return pinion::map_reduce(
      job, pinion::indices(std::strtoull(arguments[0], nullptr, 10)), pinion::by_index_range(1),
      [key_count, first_bytes](const pinion::Shard&, auto& emit) {
        for (std::uint64_t index = 0; index < key_count; ++index) {
          emit(make_key(index, first_bytes), index + 1);
        }
      },
      pinion::sum_by_key<std::string_view, std::uint64_t>());
}

pinion::Result<Counts> count_lines(pinion::Result<pinion::Job>& job, const std::string& path) {
  return pinion::map_reduce(
      job, pinion::files({path}), pinion::by_bytes(100'000, pinion::align_to_line),
      [](const pinion::Shard& shard, auto& emit) {
        for (const std::string_view line : pinion::lines(shard.text())) {
          emit(line, 1);
        }
      },
      pinion::sum_by_key<std::string_view, std::uint64_t>());
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 2 && argc != 4) {
    std::fputs("usage: long_keys_program SHARDS KEYS BYTES | long_keys_program FILE\n", stderr);
    return 64;
  }
  const auto counts = argc == 2 ? count_lines(job, argv[1]) : count_made_keys(job, argv + 1);
  std::uint64_t bytes = 0;
  std::uint64_t lost = 0;
  for (const auto& [key, value] : *counts) {
    bytes += key.size();
    lost += counts->find(std::string(key)) == value ? 0u : 1u;
  }
  const std::uint64_t key_count = counts->size();
  const std::uint64_t total = counts->total();
  const pinion::Status printed = job->once([=] {
    std::printf("%" PRIu64 " keys of %" PRIu64 " bytes, sum %" PRIu64 ", %" PRIu64 " lost\n",
                key_count, bytes, total, lost);
  });
  return pinion::report(printed);
}
