// What the transport over UCX adds to UCX: a request of 8 bytes and its reply, from handler to
// handler, and pulls of blobs, beside a program that calls UCX by hand and does the same: request,
// reply; or request, rendezvous into the destination, checksum on both sides.
//
// Expected before measuring: to and fro over the loopback takes UCX some ten microseconds, nearly
// all of it in the kernel. The transport adds to each way a frame that is written and read, a look
// into two tables and one at the clock: some hundred nanoseconds, so a few percent. A pull in
// pieces that stay in the cache between the checksum and the kernel should not be slower than one
// that goes over all its bytes twice.
//
// Both sides are threads of this process, which poll. Contenders run by turns, round after round,
// over memory that was used before; ratios are those of the medians.
//
//   transport_bench [ROUNDS]

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/transport.hpp>
#include <pinion/ucx/ucx_transport.hpp>

#include "line_round_trip.hpp"
#include "raw_ucx.hpp"

namespace pinion {
namespace {

using Samples = std::vector<double>;

double percentile(Samples samples, double part) {
  std::ranges::sort(samples);
  return samples.at(static_cast<std::size_t>(part * static_cast<double>(samples.size() - 1)));
}

double microseconds(Duration span) {
  return std::chrono::duration<double, std::micro>(span).count();
}

/// The bytes that are pulled, and where they go: the same memory for all contenders.
struct Memory {
  explicit Memory(std::size_t size) : source(size), destination(size) {
    for (std::size_t at = 0; at < size; ++at) {
      source[at] = static_cast<std::byte>(at * 31 + (at >> 8));
    }
  }

  std::vector<std::byte> source;
  std::vector<std::byte> destination;
};

void require(bool good, const char* what) {
  if (!good) {
    std::fprintf(stderr, "transport_bench: %s failed\n", what);
    std::exit(70);
  }
}

/// Binds the calling thread, and those that it makes from now on, to a CPU. Each side has its own,
/// as hosts have: the system tends to put who is woken beside who wakes, and then both share one.
void bind_to(unsigned cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  require(::sched_setaffinity(0, sizeof(cpus), &cpus) == 0, "binding");
}

/// A way to do both things; each call fills `samples` with microseconds of single ones.
class IContender {
 public:
  virtual ~IContender() = default;
  virtual void ping(std::size_t count, Samples& samples) = 0;
  virtual void pull(Memory& memory, std::size_t count, Samples& samples) = 0;
};

class PinionContender final : public IContender {
 public:
  PinionContender() {
    TransportHandlers owner;
    owner.on_request = [](std::uint32_t, std::span<const std::byte> request) {
      return Result<std::vector<std::byte>>({request.begin(), request.end()});
    };
    owner.on_pull = [this](std::uint32_t, const BlobHandle& handle) {
      return Result<Blob>(Blob(handle, {}, memory_->source, nullptr));
    };
    bind_to(0);
    owner_ = make(1, std::move(owner));
    TransportHandlers puller;
    std::promise<void> up;
    puller.on_peer = [&up](std::uint32_t, const Status& status) {
      require(status.ok(), "connecting");
      up.set_value();
    };
    bind_to(1);
    puller_ = make(2, std::move(puller));
    require(puller_->connect(1, owner_->address()).ok(), "connecting");
    up.get_future().wait();
  }

  // Each reply sends the next request, so no other thread has a part in it.
  void ping(std::size_t count, Samples& samples) override {
    const std::uint64_t number = 0;
    const auto bytes = std::as_bytes(std::span(&number, 1));
    std::promise<void> ended;
    std::size_t left = count;
    Instant begin;
    std::function<void(Result<std::vector<std::byte>>)> next =
        [&](const Result<std::vector<std::byte>>& reply) {
          require(reply.has_value(), "a request");
          const Instant now = clock_.now();
          samples.push_back(microseconds(now - begin));
          if (--left == 0) {
            ended.set_value();
          } else {
            begin = clock_.now();
            puller_->request(1, bytes, std::chrono::seconds(60), next);
          }
        };
    begin = clock_.now();
    puller_->request(1, bytes, std::chrono::seconds(60), next);
    ended.get_future().wait();
  }

  void pull(Memory& memory, std::size_t count, Samples& samples) override {
    memory_ = &memory;
    std::promise<void> ended;
    std::size_t left = count;
    Instant begin;
    const BlobHandle handle = {.length_bytes = memory.source.size(), .host = 1};
    const auto pull = [&](std::function<void(Result<Blob>)> done) {
      begin = clock_.now();
      puller_->pull(handle,
                    BlobWriter(memory.destination,
                               [&]() -> Result<Blob> {
                                 return Blob(handle, {}, memory.destination, nullptr);
                               }),
                    std::move(done));
    };
    std::function<void(Result<Blob>)> next = [&](const Result<Blob>& blob) {
      require(blob.has_value(), "a pull");
      samples.push_back(microseconds(clock_.now() - begin));
      if (--left == 0) {
        ended.set_value();
      } else {
        pull(next);
      }
    };
    pull(next);
    ended.get_future().wait();
  }

 private:
  static std::unique_ptr<ITransport> make(std::uint32_t host, TransportHandlers handlers) {
    Result<std::unique_ptr<ITransport>> transport = create_ucx_transport(
        {.host = host, .listen_address = "127.0.0.1", .handlers = std::move(handlers)});
    return *std::move(transport);
  }

  const SystemClock clock_;
  Memory* memory_ = nullptr;
  std::unique_ptr<ITransport> owner_;
  std::unique_ptr<ITransport> puller_;
};

class RawContender final : public IContender {
 public:
  RawContender()
      : owner_("lo", "127.0.0.1"),
        thread_([this] { serve(); }),
        puller_("lo", "127.0.0.1", owner_.port()) {}
  ~RawContender() override {
    stopping_ = true;
    thread_.join();
  }
  RawContender(const RawContender&) = delete;
  RawContender& operator=(const RawContender&) = delete;

  void ping(std::size_t count, Samples& samples) override {
    awake_ = true;
    for (std::size_t i = 0; i < count; ++i) {
      const Instant begin = clock_.now();
      puller_.ping();
      samples.push_back(microseconds(clock_.now() - begin));
    }
    awake_ = false;
  }

  // The owner looks at its source when the request is there.
  void pull(Memory& memory, std::size_t count, Samples& samples) override {
    owner_.set_source(memory.source);
    const std::span<std::byte> destination(memory.destination);
    awake_ = true;
    for (std::size_t i = 0; i < count; ++i) {
      const Instant begin = clock_.now();
      puller_.pull(std::span(&destination, 1));
      samples.push_back(microseconds(clock_.now() - begin));
    }
    awake_ = false;
  }

 private:
  // While others are measured it leaves them the CPU.
  void serve() {
    bind_to(0);
    while (!stopping_) {
      if (!awake_ && owner_.connected()) {
        std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      owner_.progress();
    }
  }

  const SystemClock clock_;
  bench::RawOwner owner_;
  std::atomic<bool> awake_ = false;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
  bench::RawPuller puller_;
};

struct Row {
  const char* name;
  std::size_t bytes;  // 0: a request.
  std::size_t count;  // In one round.
};

int run(int rounds) {
  const double line_ns = bench::LinePair(0, 1).measure();
  PinionContender pinion;
  RawContender raw;
  const Row rows[] = {{"8 B request and reply", 0, 2000},  {"pull of 1 KiB", 1 << 10, 500},
                      {"pull of 8 KiB", 8 << 10, 500},     {"pull of 64 KiB", 64 << 10, 300},
                      {"pull of 256 KiB", 256 << 10, 100}, {"pull of 1 MiB", 1 << 20, 50},
                      {"pull of 8 MiB", 8 << 20, 10},      {"pull of 64 MiB", 64 << 20, 3}};
  std::printf("a line of the cache goes to and fro in %.0f ns\n", line_ns);
  std::printf("%-24s %10s %10s %8s %10s\n", "", "UCX us", "Pinion us", "ratio", "Pinion GB/s");
  for (const Row& row : rows) {
    Memory memory(std::max<std::size_t>(row.bytes, 1));
    Samples of_raw;
    Samples of_pinion;
    const std::pair<IContender*, Samples*> contenders[] = {{&raw, &of_raw}, {&pinion, &of_pinion}};
    for (int round = -1; round < rounds; ++round) {
      for (const auto& [contender, samples] : contenders) {
        if (row.bytes == 0) {
          contender->ping(row.count, *samples);
        } else {
          std::ranges::fill(memory.destination, std::byte{0});
          contender->pull(memory, row.count, *samples);
          require(memory.destination == memory.source, "comparing");
        }
        if (round < 0) {
          samples->clear();  // It was to warm up.
        }
      }
    }
    const double raw_us = percentile(of_raw, 0.5);
    const double pinion_us = percentile(of_pinion, 0.5);
    std::printf("%-24s %10.2f %10.2f %8.2f", row.name, raw_us, pinion_us,
                row.bytes == 0 ? pinion_us / raw_us : raw_us / pinion_us);
    if (row.bytes != 0) {
      std::printf(" %10.2f", static_cast<double>(row.bytes) / pinion_us / 1000);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace pinion

int main(int count, char** arguments) {
  return pinion::run(count > 1 ? std::atoi(arguments[1]) : 9);
}
