// Writes squares to files, one for each shard, then reads them all back and adds them up.
//
//   pinion run -n 2 09_map_to_files

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include <pinion/pinion.hpp>

using namespace pinion::literals;

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  // The same on all ranks, and new: a directory that holds something is refused.
  const std::string name = "squares-" + std::to_string(job->info().job);
  const std::string directory = std::filesystem::temp_directory_path() / name;
  const pinion::Status written = pinion::map_to_files(
      *job, pinion::indices(100'000), pinion::by_index_range(30'000),
      [](const pinion::Shard& shard, auto& out) {
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          out.write(std::to_string(i * i) + "\n");
        }
      },
      directory);
  if (!written.ok()) {
    pinion::exit_with(written);
  }
  auto sum = pinion::map_reduce(
      job, pinion::files({directory}), pinion::by_bytes(64_KiB, pinion::align_to_line),
      [](const pinion::Shard& shard, auto& emit) {
        for (std::string_view line : pinion::lines(shard.text())) {
          emit(0, std::strtoull(line.data(), nullptr, 10));
        }
      },
      pinion::sum_vector<std::uint64_t>(1));
  const pinion::Status printed = job->once([&] {
    for (int part = 0; part < 4; ++part) {
      const auto file = std::filesystem::path(directory) / ("part-0000" + std::to_string(part));
      std::printf("%s has %ju bytes\n", file.filename().c_str(), std::filesystem::file_size(file));
    }
    std::printf("the sum is %" PRIu64 "\n", sum->values()[0]);
    std::filesystem::remove_all(directory);
  });
  return pinion::report(printed);
}
