// Writes SHARDS files of BYTES bytes each into the folder DIR. When MARKER is named and is not
// there, the body of shard 0 makes it and kills its process in the midst of its file.
//
//   output_program SHARDS BYTES DIR [MARKER]

#include <signal.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 4 && argc != 5) {
    std::fputs("usage: output_program SHARDS BYTES DIR [MARKER]\n", stderr);
    return 64;
  }
  const std::string text(std::strtoull(argv[2], nullptr, 10), 'x');
  const std::string marker = argc == 5 ? argv[4] : "";
  return pinion::report(pinion::map_to_files(
      *job, pinion::indices(std::strtoull(argv[1], nullptr, 10)), pinion::by_index_range(1),
      [&](const pinion::Shard& shard, auto& out) {
        out.write(text);
        if (shard.id() == 0 && !marker.empty() && !std::filesystem::exists(marker)) {
          std::ofstream file(marker);
          file.close();
          raise(SIGKILL);
        }
      },
      argv[3]));
}
