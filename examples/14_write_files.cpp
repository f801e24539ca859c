// Counts the words of files, directories or globs and writes the counts to files, one for each
// partition of the answer. No rank has the whole answer: each opens the partitions that it writes.
// On one host, as the files lie in its directory for temporary files.
//
//   pinion run -n 2 14_write_files 'texts/*.txt'

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc < 2) {
    std::fputs("usage: 14_write_files PATH...\n", stderr);
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

  // The same on all ranks, and new: a directory that holds something is refused.
  const std::string name = "words-" + std::to_string(job->info().job);
  const std::string directory = std::filesystem::temp_directory_path() / name;
  const pinion::Status written =
      pinion::write_files(*job, *counts, directory, [](const auto& record, auto& out) {
        out.write(std::to_string(record.value) + " ");
        out.write(record.key);
        out.write("\n");
      });
  if (!written.ok()) {
    pinion::exit_with(written);
  }
  const pinion::Status printed = job->once([&] {
    std::uintmax_t file_count = 0;
    std::uintmax_t bytes = 0;
    for (const auto& part : std::filesystem::directory_iterator(directory)) {
      ++file_count;
      bytes += part.file_size();
    }
    std::printf("%ju files with %ju bytes\n", file_count, bytes);
    std::filesystem::remove_all(directory);
  });
  return pinion::report(printed);
}
