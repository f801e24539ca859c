// Counts the bytes of DIR/deadly and then of DIR/letters that are 'a', in two steps of shards of
// 1024 bytes, by a kernel where the rank has devices. The kernel fails on a shard that begins with
// an 'x', and hangs on one that begins with an 'h', once both ranks have asked for work. A rank
// that was started again goes on when two kernels have failed so.
//
//   deadly_shard_program DIR

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <pinion/pinion.hpp>
#include <pinion/shard/protocol/wire.hpp>

#include "job_with_link.hpp"

namespace {

std::uint64_t count_letters(std::span<const std::byte> bytes) {
  return static_cast<std::uint64_t>(std::count(bytes.begin(), bytes.end(), std::byte{'a'}));
}

template <class Condition>
void wait_until(const Condition& condition) {
  while (!condition()) {
    poll(nullptr, 0, 1);
  }
}

std::string claim_path(const std::string& folder, std::uint32_t rank) {
  return folder + "/claim." + std::to_string(rank);
}

// The way to the coordinator, which notes that work was asked for.
class NotingLink final : public pinion::IControlLink {
 public:
  NotingLink(pinion::IControlLink& link, std::string path) : link_(link), path_(std::move(path)) {}

  pinion::Status send(std::span<const std::byte> message) override {
    pinion::Status sent = link_.send(message);
    const auto decoded = pinion::protocol::decode(message);
    if (decoded && std::holds_alternative<pinion::protocol::Claim>(decoded->message)) {
      std::ofstream(path_).put('.');
    }
    return sent;
  }
  pinion::Result<std::vector<std::byte>> receive(pinion::Instant deadline) override {
    return link_.receive(deadline);
  }
  void wake() noexcept override { link_.wake(); }

 private:
  pinion::IControlLink& link_;
  const std::string path_;
};

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (!job) {
    return pinion::report(job.error());
  }
  if (argc != 2) {
    std::fputs("usage: deadly_shard_program DIR\n", stderr);
    return 64;
  }
  const std::string folder = argv[1];
  const std::string failed_path = folder + "/failed";
  const std::string claim_of_other = claim_path(folder, 1 - job->rank() % 2);
  const pinion::Status added = job->kernels().add(
      "letters", {.body = [&](const pinion::KernelCall& call) {
        const std::byte first = call.buffers[0].front();
        if (first == std::byte{'x'} || first == std::byte{'h'}) {
          wait_until([&] { return access(claim_of_other.c_str(), F_OK) == 0; });
          std::ofstream(failed_path, std::ios::app).put('.');
          return first == std::byte{'x'}
                     ? pinion::Status(pinion::ErrorCode::kInternal, "the kernel met an x")
                     : pinion::Status(pinion::ErrorCode::kDeadlineExceeded, "it does not end");
        }
        const std::uint64_t count = count_letters(call.buffers[0]);
        std::memcpy(call.buffers[1].data(), &count, sizeof(count));
        return pinion::Status();
      }});
  if (!added.ok()) {
    return pinion::report(added);
  }
  if (job->info().incarnation > 1) {
    wait_until([&] {
      std::error_code none;
      return std::filesystem::file_size(failed_path, none) == 2;
    });
  }
  NotingLink link(job->control(), claim_path(folder, job->rank()));
  pinion::JobWithLink noting(*job, link);
  std::string answer;
  for (const char* const name : {"/deadly", "/letters"}) {
    const auto sum = pinion::map_reduce(
        noting, pinion::files({folder + name}), pinion::by_bytes(1024),
        pinion::on_gpu(
            [](const pinion::Shard& shard, auto& emit) { emit(0, count_letters(shard.bytes())); },
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
    answer += (answer.empty() ? "" : " and ") + std::to_string(sum->values()[0]);
  }
  return pinion::report(job->once([&] { std::printf("%s letters\n", answer.c_str()); }));
}
