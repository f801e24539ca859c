// Counts the bytes of DIR/letters that are 'a', shards of 1024 bytes, by a kernel of its own where
// the rank has devices. In the first life of a rank its workers wait until the device has run one,
// or has failed; with STOP "each-life" also in later ones, once the device gets some of the shards.
// All other ranks wait until that has come to pass on the rank WATCHED, or until that was started
// again.
//
//   device_program DIR WATCHED [STOP]

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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

bool is_stopped(pid_t pid) {
  std::string text;
  std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/stat"), text);
  return text.find(") T ") != std::string::npos;
}

class Watch {
 public:
  Watch(pinion::Job& job, std::string directory, const std::string& watched, bool in_each_life)
      : job_(job),
        path_(std::move(directory) + "/tried"),
        is_watched_(std::to_string(job.rank()) == watched),
        is_first_life_(job.info().incarnation == 1),
        waits_((in_each_life || is_first_life_) && job.devices() != nullptr) {
    if (!waits_) {
      tell();
    }
  }

  // Those that are suspected of the end of the life before come alone, and no device gets them.
  void shards_are_divided() { are_divided_ = true; }

  void kernel_runs() {
    tried_ = true;
    tell();
    wait_for_others();
  }

  void body_runs() {
    while (waits_ && (is_first_life_ || are_divided_) && !tried_) {
      poll(nullptr, 0, 1);
      tried_ = tried_ || job_.devices()->devices()[0]->fault() != pinion::DeviceFault::kNone;
    }
    tell();
    wait_for_others();
  }

 private:
  void tell() const {
    if (is_watched_) {
      std::ofstream(path_).put('.');
    }
  }
  void wait_for_others() const {
    while (!is_watched_ && access(path_.c_str(), F_OK) != 0) {
      poll(nullptr, 0, 1);
    }
  }

  pinion::Job& job_;
  const std::string path_;
  const bool is_watched_;
  const bool is_first_life_;
  const bool waits_;
  std::atomic<bool> are_divided_ = false;
  std::atomic<bool> tried_ = false;
};

class Stop {
 public:
  Stop(const pinion::Job& job, std::string where, const std::string& watched)
      : where_(std::to_string(job.rank()) == watched && job.info().incarnation == 1
                   ? std::move(where)
                   : std::string()) {}

  void shard_waits() const { stop_at("queued"); }

  // The agent stays in front of the report, and the rank behind it.
  template <class Send>
  pinion::Status report(const Send& send) const {
    if (is_at("report")) {
      kill(getppid(), SIGSTOP);
      while (!is_stopped(getppid())) {
        poll(nullptr, 0, 1);
      }
    }
    pinion::Status sent = send();
    stop_at("report");
    return sent;
  }

  void shard_came_back() {
    stop_at("finish");
    if (++came_back_count_ > kBatchShardCount) {
      stay();
    }
  }

  // Nothing, where the rank does not stop.
  void stay() const {
    while (!where_.empty()) {
      poll(nullptr, 0, 1);
    }
  }

 private:
  static constexpr std::size_t kBatchShardCount = 4;  // As the test says to the job.

  [[nodiscard]] bool is_at(const char* here) const { return where_ == here; }
  void stop_at(const char* here) const {
    if (is_at(here)) {
      static_cast<void>(raise(SIGSTOP));
    }
  }

  const std::string where_;
  std::atomic<std::size_t> came_back_count_ = 0;
};

// The way to the coordinator, which stops where a map unit is reported.
class WatchedLink final : public pinion::IControlLink {
 public:
  WatchedLink(pinion::IControlLink& link, const Stop& stop) : link_(link), stop_(stop) {}

  pinion::Status send(std::span<const std::byte> message) override {
    const auto decoded = pinion::protocol::decode(message);
    const auto* const report =
        decoded ? std::get_if<pinion::protocol::Report>(&decoded->message) : nullptr;
    if (report == nullptr || report->stage != pinion::protocol::Stage::kMap) {
      return link_.send(message);
    }
    return stop_.report([&] {
      // The agent can answer this one only when we are dead, and has the report to read then.
      const pinion::Status asked = link_.send(pinion::protocol::encode(
          decoded->envelope, pinion::protocol::Heartbeat{.step = report->step}));
      return asked.ok() ? link_.send(message) : asked;
    });
  }
  pinion::Result<std::vector<std::byte>> receive(pinion::Instant deadline) override {
    return link_.receive(deadline);
  }
  void wake() noexcept override { link_.wake(); }

 private:
  pinion::IControlLink& link_;
  const Stop& stop_;
};

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (!job) {
    return pinion::report(job.error());
  }
  if (argc != 3 && argc != 4) {
    std::fputs("usage: device_program DIR WATCHED [STOP]\n", stderr);
    return 64;
  }
  const std::string where = argc > 3 ? argv[3] : "";
  Watch watch(*job, argv[1], argv[2], where == "each-life");
  Stop stop(*job, where == "each-life" ? "" : where, argv[2]);
  const pinion::Status added =
      job->kernels().add("letters", {.body = [&watch](const pinion::KernelCall& call) {
                           watch.kernel_runs();
                           const std::uint64_t count = count_letters(call.buffers[0]);
                           std::memcpy(call.buffers[1].data(), &count, sizeof(count));
                           return pinion::Status();
                         }});
  if (!added.ok()) {
    return pinion::report(added);
  }
  WatchedLink link(job->control(), stop);
  pinion::JobWithLink watched(*job, link);
  const auto sum = pinion::map_reduce(watched, pinion::files({argv[1] + std::string("/letters")}),
                                      pinion::by_bytes(1024),
                                      pinion::on_gpu(
                                          [&](const pinion::Shard& shard, auto& emit) {
                                            watch.body_runs();
                                            // What is reported is the device's, and the rank always
                                            // holds this shard.
                                            stop.stay();
                                            emit(0, count_letters(shard.bytes()));
                                          },
                                          {.name = "letters",
                                           .sizes =
                                               [&watch, &stop](std::uint64_t) {
                                                 watch.shards_are_divided();
                                                 stop.shard_waits();
                                                 return pinion::KernelSizes{.output_bytes = 8};
                                               }},
                                          [&stop](const pinion::DevicePiece& piece, auto& emit) {
                                            stop.shard_came_back();
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
