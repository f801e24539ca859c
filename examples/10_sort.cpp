// Sorts the lines of files, directories or globs and prints them.
//
//   pinion run -n 2 10_sort names.txt

#include <cstdio>
#include <string>
#include <vector>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  const std::vector<std::string> paths(argv + 1, argv + argc);
  if (paths.empty()) {
    std::fputs("usage: 10_sort PATH...\n", stderr);
    return 64;
  }
  auto sorted = pinion::sort(*job, pinion::files(paths), pinion::by_bytes(pinion::align_to_line),
                             pinion::line_records());
  const pinion::Status printed = job->once([&] {
    for (const std::string_view line : *sorted) {
      std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
    }
  });
  return pinion::report(printed);
}
