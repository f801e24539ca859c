// One host of bench/transport_hosts: pulls blobs from the other one, and asks it.
//
//   transfer_pinion IP              serves until its input ends; prints its address
//   transfer_pinion IP ADDRESS      measures against that one; prints "WORK SAMPLE..." a line, a
//                                   request in microseconds, blobs in bytes a second

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
  const std::vector<std::byte> bytes(kTransfers.back().bytes, std::byte{7});
  TransportHandlers handlers;
  handlers.on_request = [](std::uint32_t, std::span<const std::byte> request) {
    return Result<std::vector<std::byte>>({request.begin(), request.end()});
  };
  handlers.on_pull = [&bytes](std::uint32_t, const BlobHandle& handle) {
    return Result<Blob>(Blob(handle, {}, std::span(bytes).first(handle.length_bytes), nullptr));
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

  // All of a round at once, as a merge does that has several partials.
  Status pull(const Transfer& transfer) {
    std::printf("%zu", transfer.bytes);
    std::vector<std::vector<std::byte>> memory(transfer.at_once,
                                               std::vector<std::byte>(transfer.bytes));
    for (std::size_t round = 0; round < transfer.rounds; ++round) {
      std::promise<Status> ended;
      std::size_t left = transfer.at_once;
      Status outcome;
      const Instant begin = clock_.now();
      for (std::vector<std::byte>& bytes : memory) {
        const BlobHandle handle = {.length_bytes = bytes.size(), .host = 1};
        BlobWriter writer(
            bytes, [handle, &bytes]() -> Result<Blob> { return Blob(handle, {}, bytes, nullptr); });
        transport_.pull(handle, std::move(writer), [&](const Result<Blob>& blob) {
          outcome = blob ? outcome : blob.error();
          if (--left == 0) {
            ended.set_value(outcome);
          }
        });
      }
      PINION_RETURN_IF_ERROR(ended.get_future().get());
      print_rate(transfer, std::chrono::duration<double>(clock_.now() - begin).count(), round);
    }
    std::printf("\n");
    return {};
  }

 private:
  const SystemClock clock_;
  ITransport& transport_;
};

int measure(const char* ip, const char* address) {
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
      status = status.ok() ? puller.pull(transfer) : status;
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
      return pinion::bench::measure(arguments[1], arguments[2]);
    default:
      std::fputs("usage: transfer_pinion IP [ADDRESS]\n", stderr);
      return 64;
  }
}
