// One host of bench/transport_hosts: pulls blobs from the other one, and asks it.
//
//   transfer_pinion IP                  serves until its input ends; prints its address
//   transfer_pinion IP ADDRESS [new]    measures against that one; prints lines "WORK SAMPLE...",
//                                       a request in microseconds, blobs in bytes a second

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/transport.hpp>
#include <pinion/ucx/ucx_transport.hpp>

#include "transfer.hpp"

namespace pinion::bench {
namespace {

Result<std::unique_ptr<ITransport>> make(std::uint32_t host, const char* ip,
                                         TransportHandlers handlers) {
  return create_ucx_transport(
      {.host = host, .listen_address = ip, .handlers = std::move(handlers)});
}

int serve(const char* ip) {
  const FreshMemory source(kSourceBytes);
  fill_source(source.bytes());
  TransportHandlers handlers;
  handlers.on_request = [](std::uint32_t, std::span<const std::byte> request) {
    return Result<std::vector<std::byte>>({request.begin(), request.end()});
  };
  handlers.on_pull = [&source](std::uint32_t, const BlobHandle& handle) {
    return Result<Blob>(Blob(
        handle, {}, source.bytes().subspan(handle.index * handle.length_bytes, handle.length_bytes),
        nullptr));
  };
  const auto transport = make(1, ip, std::move(handlers));
  if (!transport) {
    return report(transport.error());
  }
  std::printf("%s\n", (*transport)->address().c_str());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  return 0;
}

class Puller {
 public:
  explicit Puller(ITransport& transport) : transport_(transport) {}

  void ping(std::size_t count) {
    std::printf("request");
    const std::uint64_t number = 0;
    std::promise<void> ended;
    std::size_t left = count;
    Instant begin;
    std::function<void(Result<std::vector<std::byte>>)> next =
        [&](const Result<std::vector<std::byte>>& reply) {
          std::printf(" %.3f",
                      std::chrono::duration<double, std::micro>(clock_.now() - begin).count());
          if (!reply || --left == 0) {
            ended.set_value();
            return;
          }
          begin = clock_.now();
          transport_.request(1, std::as_bytes(std::span(&number, 1)), std::chrono::seconds(60),
                             next);
        };
    begin = clock_.now();
    transport_.request(1, std::as_bytes(std::span(&number, 1)), std::chrono::seconds(60), next);
    ended.get_future().wait();
    std::printf("\n");
  }

  // All of a round at once, as a merge does that has several partials; the last one that has come
  // begins the next round, so no other thread has a part in it.
  Status pull(const Transfer& transfer, bool new_memory) {
    Rounds rounds(transfer, new_memory);
    std::promise<Status> ended;
    std::size_t left = 0;
    Status outcome;
    std::function<void()> begin;
    const auto done = [&](const Result<Blob>& blob) {
      outcome = blob ? outcome : blob.error();
      if (--left > 0) {
        return;
      }
      rounds.end();
      if (outcome.ok()) {
        begin();
      } else {
        ended.set_value(outcome);
      }
    };
    begin = [&] {
      const FreshMemory* const memory = rounds.begin();
      if (memory == nullptr) {
        ended.set_value(outcome);
        return;
      }
      left = transfer.at_once;
      for (std::uint32_t i = 0; i < transfer.at_once; ++i) {
        const std::span<std::byte> bytes = memory->part(transfer, i);
        const BlobHandle handle = {.length_bytes = bytes.size(), .host = 1, .index = i};
        BlobWriter writer(
            bytes, [handle, bytes]() -> Result<Blob> { return Blob(handle, {}, bytes, nullptr); });
        transport_.pull(handle, std::move(writer), done);
      }
    };
    begin();
    return ended.get_future().get();
  }

 private:
  const SystemClock clock_;
  ITransport& transport_;
};

int measure(const char* ip, const char* address, bool new_memory) {
  std::promise<Status> up;
  TransportHandlers handlers;
  handlers.on_peer = [&up, said = false](std::uint32_t, const Status& status) mutable {
    if (!std::exchange(said, true)) {
      up.set_value(status);
    }
  };
  const auto transport = make(2, ip, std::move(handlers));
  if (!transport) {
    return report(transport.error());
  }
  Status status = (*transport)->connect(1, address);
  status = status.ok() ? up.get_future().get() : status;
  if (status.ok()) {
    Puller puller(**transport);
    puller.ping(kRequestCount);
    for (const Transfer& transfer : kTransfers) {
      status = status.ok() ? puller.pull(transfer, new_memory) : status;
    }
  }
  return report(status);
}

}  // namespace
}  // namespace pinion::bench

int main(int count, char** arguments) {
  switch (count) {
    case 2:
      return pinion::bench::serve(arguments[1]);
    case 3:
    case 4:
      return pinion::bench::measure(arguments[1], arguments[2],
                                    pinion::bench::wants_new_memory(count, arguments));
    default:
      std::fputs("usage: transfer_pinion IP [ADDRESS [new]]\n", stderr);
      return 64;
  }
}
