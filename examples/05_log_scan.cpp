// Counts how often each pattern is in a log (a file, directory, glob, or - for standard input), and
// its lines. Patterns are plain text, counted without overlaps, each within a line.
//
//   pinion run -n 2 05_log_scan /var/log/syslog error warning "connection refused"

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
  if (argc < 3) {
    std::fputs("usage: 05_log_scan PATH PATTERN...\n", stderr);
    return 64;
  }
  std::vector<std::string_view> patterns(argv + 2, argv + argc);
  patterns.push_back("\n");
  auto counts = pinion::map_reduce(
      job, pinion::files({argv[1]}), pinion::by_bytes(16_MiB, pinion::align_to_line),
      [&patterns](const pinion::Shard& shard, auto& emit) {
        for (std::size_t i = 0; i < patterns.size(); ++i) {
          emit(i, pinion::count_matches(shard.text(), patterns[i]));
        }
      },
      pinion::sum_vector<std::uint64_t>(patterns.size()));

  const pinion::Status printed = job->once([&] {
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      const std::string name(patterns[i] == "\n" ? "lines" : patterns[i]);
      std::printf("%12" PRIu64 " %s\n", counts->values()[i], name.c_str());
    }
  });
  return pinion::report(printed);
}
