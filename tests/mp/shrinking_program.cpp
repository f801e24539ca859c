// Reads FILE in shards of 16 bytes, and cuts it to nothing as soon as it has the first one.
//
//   shrinking_program FILE

#include <cstdio>
#include <filesystem>
#include <string>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 2) {
    std::fputs("usage: shrinking_program FILE\n", stderr);
    return 64;
  }
  const std::string path = argv[1];
  return pinion::report(pinion::for_each_shard(
      *job, pinion::files({path}), pinion::by_bytes(16),
      [&path](const pinion::Shard&) { std::filesystem::resize_file(path, 0); }));
}
