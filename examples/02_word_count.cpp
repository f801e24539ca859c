// Counts the words ([A-Za-z0-9]+) of files, directories, globs or standard input (-), and prints
// the twenty most frequent.
//
//   pinion run -n 2 02_word_count /usr/share/doc

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/pinion.hpp>

using namespace pinion::literals;

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  const std::vector<std::string> paths(argv + 1, argv + argc);
  if (paths.empty()) {
    std::fputs("usage: 02_word_count PATH... (- is standard input)\n", stderr);
    return 64;
  }
  auto counts = pinion::map_reduce(
      job, pinion::files(paths), pinion::by_bytes(16_MiB, pinion::align_to_line),
      [](const pinion::Shard& shard, auto& emit) {
        for (std::string_view word : pinion::words(shard.text())) {
          emit(word, 1);
        }
      },
      pinion::sum_by_key<std::string_view, std::uint64_t>());

  const auto top = counts->top(20);
  const pinion::Status printed = job->once([&] {
    for (const auto& [word, count] : top) {
      std::printf("%12" PRIu64 " %.*s\n", count, static_cast<int>(word.size()), word.data());
    }
    std::printf("%12zu different words\n", counts->size());
  });
  return pinion::report(printed);
}
