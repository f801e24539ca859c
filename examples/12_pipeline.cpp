// Two steps without a gather between them: counts the words of files, directories or globs, then
// how many words there are of each count. The counts stay where the first step has left them; a
// worker of the second reads one partition of them after the other.
//
//   pinion run -n 2 12_pipeline 'texts/*.txt'

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc < 2) {
    std::fputs("usage: 12_pipeline PATH...\n", stderr);
    return 64;
  }
  const std::vector<std::string> paths(argv + 1, argv + argc);
  auto counts = pinion::map_reduce(
      job, pinion::files(paths), pinion::by_bytes(pinion::align_to_line),
      [](const pinion::Shard& shard, auto& emit) {
        for (const std::string_view word : pinion::words(shard.text())) {
          emit(word, 1);
        }
      },
      pinion::distributed(pinion::sum_by_key<std::string_view, std::uint64_t>()));

  auto spread = pinion::map_reduce(
      job, pinion::partitions(*counts), pinion::by_partition(),
      [&counts](const pinion::Shard& shard, auto& emit) {
        for (const auto& [word, count] : pinion::read_partition(*counts, shard)) {
          emit(static_cast<double>(count));
        }
      },
      pinion::histogram({1, 2, 3, 4, 10, 1000}));

  const pinion::Status printed = job->once([&] {
    for (std::size_t i = 0; i < spread->counts().size(); ++i) {
      std::printf("%4.0f to below %4.0f times: %ju words\n", spread->bounds()[i],
                  spread->bounds()[i + 1], std::uintmax_t{spread->counts()[i]});
    }
  });
  return pinion::report(printed);
}
