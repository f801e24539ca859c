// A stranger with a kernel: the spaces of a file, counted by devices where the job has some. Its
// part for GPUs is count_spaces.cu.
#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>

#include <pinion/gpu/cuda_kernel.hpp>
#include <pinion/pinion.hpp>

namespace {

constexpr const char* kName = "stranger.count_spaces";

std::uint64_t count_spaces(std::span<const std::byte> text) {
  return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), std::byte{' '}));
}

pinion::Status count_spaces_as_device(const pinion::KernelCall& call) {
  const std::uint64_t spaces = count_spaces(call.buffers[0]);
  std::memcpy(call.buffers[1].data(), &spaces, sizeof(spaces));
  return {};
}

const char* words_for_cuda() {
#ifdef NO_CUDA
  return "left out, as " NO_CUDA;
#else
  return pinion::CudaKernel::find(kName) != nullptr ? "linked" : "missing";
#endif
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 2) {
    std::fputs("usage: stranger FILE\n", stderr);
    return 64;
  }
  const pinion::Status added = job->kernels().add(kName, {.body = count_spaces_as_device});
  if (!added.ok()) {
    return pinion::report(added);
  }
  std::atomic<std::uint64_t> device_count = 0;
  const auto sum = pinion::map_reduce(
      job, pinion::files({argv[1]}), pinion::by_bytes(64),
      pinion::on_gpu(
          [](const pinion::Shard& shard, auto& emit) { emit(0, count_spaces(shard.bytes())); },
          {.name = kName,
           .sizes = [](std::uint64_t) { return pinion::KernelSizes{.output_bytes = 8}; }},
          [&](const pinion::DevicePiece& piece, auto& emit) {
            ++device_count;
            std::uint64_t spaces = 0;
            std::memcpy(&spaces, piece.output.data(), sizeof(spaces));
            emit(0, spaces);
          }),
      pinion::sum_vector<std::uint64_t>(1));
  if (!sum) {
    return pinion::report(sum.error());
  }
  return pinion::report(job->once([&] {
    std::printf("count_spaces.cu: %s\nthe stranger's answer is %" PRIu64 ", %s\n", words_for_cuda(),
                sum->values()[0], device_count > 0 ? "by a device too" : "by the host alone");
  }));
}
