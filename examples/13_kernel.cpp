// Counts the bytes of files by their value, on the devices that the rank has, if any, and on its
// workers: the answer is the same.
//
//   pinion run -n 2 --set devices=emu:2,mem=64m 13_kernel BOOK.txt
//
// The kernel is one of Pinion. For one of your own, add its CPU twin to job->kernels().

#include <array>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc < 2) {
    std::fputs("usage: 13_kernel PATH...\n", stderr);
    return 64;
  }
  const auto on_cpu = [](const pinion::Shard& shard, auto& emit) {
    std::array<std::uint64_t, 256> counts = {};
    for (const std::byte value : shard.bytes()) {
      ++counts[std::to_integer<std::size_t>(value)];
    }
    for (std::size_t value = 0; value < counts.size(); ++value) {
      emit(value, counts[value]);
    }
  };
  const auto finish = [](const pinion::DevicePiece& piece, auto& emit) {
    for (std::size_t value = 0; value < 256; ++value) {
      std::uint64_t count = 0;
      std::memcpy(&count, piece.output.data() + value * sizeof(count), sizeof(count));
      emit(value, count);
    }
  };
  auto counts =
      pinion::map_reduce(job, pinion::files({argv + 1, argv + argc}), pinion::by_bytes(64),
                         pinion::on_gpu(on_cpu, pinion::histogram_u8(), finish),
                         pinion::sum_vector<std::uint64_t>(256));

  const pinion::Status printed = job->once([&] {
    for (const char letter : {'a', 'e', 'o', 'u', 'z', '\n'}) {
      const std::uint64_t count = counts->values()[static_cast<unsigned char>(letter)];
      std::printf("%5" PRIu64 " of %s\n", count,
                  letter == '\n' ? "the end of a line" : std::string(1, letter).c_str());
    }
  });
  return pinion::report(printed);
}
