// Counts the bytes of FILE that are 'a', shards of 1024 bytes, by a kernel of its own where the
// rank has devices. In the first life of a rank its workers wait until the device has run one, or
// has failed.
//
//   device_program FILE

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>

#include <pinion/pinion.hpp>

namespace {

std::uint64_t count_letters(std::span<const std::byte> bytes) {
  return static_cast<std::uint64_t>(std::count(bytes.begin(), bytes.end(), std::byte{'a'}));
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 2 || !job) {
    return pinion::report(job ? pinion::Status(pinion::ErrorCode::kInvalidArgument, "needs a FILE")
                              : job.error());
  }
  std::atomic<bool> kernel_ran = false;
  const pinion::Status added =
      job->kernels().add("letters", {.body = [&kernel_ran](const pinion::KernelCall& call) {
                           const std::uint64_t count = count_letters(call.buffers[0]);
                           std::memcpy(call.buffers[1].data(), &count, sizeof(count));
                           kernel_ran = true;
                           return pinion::Status();
                         }});
  if (!added.ok()) {
    return pinion::report(added);
  }
  const bool waits = job->devices() != nullptr && job->info().incarnation == 1;
  const auto sum = pinion::map_reduce(
      job, pinion::files({argv[1]}), pinion::by_bytes(1024),
      pinion::on_gpu(
          [&](const pinion::Shard& shard, auto& emit) {
            while (waits && !kernel_ran &&
                   job->devices()->devices()[0]->fault() == pinion::DeviceFault::kNone) {
              poll(nullptr, 0, 1);
            }
            emit(0, count_letters(shard.bytes()));
          },
          {.name = "letters",
           .sizes = [](std::uint64_t) { return pinion::KernelSizes{.output_bytes = 8}; }},
          [](const pinion::DevicePiece& piece, auto& emit) {
            std::uint64_t count = 0;
            std::memcpy(&count, piece.output.data(), sizeof(count));
            emit(0, count);
          }),
      pinion::sum_vector<std::uint64_t>(1));
  if (!sum) {
    return pinion::report(sum.error());
  }
  return pinion::report(job->once([&] { std::printf("%lu letters\n", sum->values()[0]); }));
}
