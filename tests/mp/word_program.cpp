// Counts the words of files in shards of SHARD_BYTES and writes all of them, "word count" a line,
// in order, to the file OUT, which appears whole.
//
//   word_program SHARD_BYTES OUT PATH...

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc < 4) {
    std::fputs("usage: word_program SHARD_BYTES OUT PATH...\n", stderr);
    return 64;
  }
  const std::string out = argv[2];
  const std::vector<std::string> paths(argv + 3, argv + argc);
  auto counts = pinion::map_reduce(
      job, pinion::files(paths),
      pinion::by_bytes(std::strtoull(argv[1], nullptr, 10), pinion::align_to_line),
      [](const pinion::Shard& shard, auto& emit) {
        for (std::string_view word : pinion::words(shard.text())) {
          emit(word, 1);
        }
      },
      pinion::sum_by_key<std::string_view, std::uint64_t>());
  const std::map<std::string, std::uint64_t> sorted = [&counts] {
    std::map<std::string, std::uint64_t> words;
    for (const auto& [word, count] : *counts) {
      words.emplace(word, count);
    }
    return words;
  }();
  const pinion::Status written = job->once([&] {
    const std::string part = out + "." + std::to_string(getpid());
    {
      std::ofstream file(part);
      for (const auto& [word, count] : sorted) {
        file << word << ' ' << count << '\n';
      }
    }
    std::filesystem::rename(part, out);
  });
  return pinion::report(written);
}
