// A host of its own for the tests: a transport over UCX that does what its standard input says, and
// prints what happens, a line each.
//
//   ucx_peer HOST IP KEEPALIVE_MS
//
//   connect HOST ADDRESS       ->  connecting STATUS, then peer HOST STATUS
//   request HOST TIMEOUT_MS    ->  reply STATUS
//   pull HOST BYTES            ->  pulled STATUS
//   (by itself)                    slow HOST REASON
//   end of input               ->  it ends

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include <pinion/ucx/ucx_transport.hpp>

#include "conformance/transport_sides.hpp"

namespace pinion {
namespace {

// What the transport's thread has to say of a call comes behind what its caller says.
std::recursive_mutex saying;

void say(const std::string& line) {
  const std::lock_guard lock(saying);
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

BlobWriter writer_of(const BlobHandle& handle) {
  auto bytes = std::make_shared<testing_transport::Bytes>(handle.length_bytes);
  const std::span<std::byte> span = *bytes;
  return BlobWriter(span, [handle, bytes]() -> Result<Blob> {
    if (*bytes != testing_transport::pattern(handle.length_bytes, 1)) {
      return Status(ErrorCode::kInternal, "other bytes arrived");
    }
    return Blob(handle, {}, *bytes, bytes);
  });
}

void obey(ITransport& transport, const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  std::uint32_t host = 0;
  words >> verb >> host;
  if (verb == "connect") {
    std::string address;
    words >> address;
    const std::lock_guard lock(saying);
    say("connecting " + transport.connect(host, address).to_string());
  } else if (verb == "request") {
    std::int64_t timeout_ms = 0;
    words >> timeout_ms;
    transport.request(host, {}, std::chrono::milliseconds(timeout_ms),
                      [](const Result<std::vector<std::byte>>& reply) {
                        say("reply " + (reply ? Status() : reply.error()).to_string());
                      });
  } else if (verb == "pull") {
    BlobHandle handle = {.host = host};
    words >> handle.length_bytes;
    transport.pull(handle, writer_of(handle), [](const Result<Blob>& blob) {
      say("pulled " + (blob ? Status() : blob.error()).to_string());
    });
  } else {
    say("unknown: " + line);
  }
}

int run(char** arguments) {
  const auto host = static_cast<std::uint32_t>(std::strtoul(arguments[1], nullptr, 10));
  const Duration keepalive = std::chrono::milliseconds(std::strtoll(arguments[3], nullptr, 10));
  TransportHandlers handlers = {
      .on_request = [](std::uint32_t,
                       std::span<const std::byte> request) -> Result<std::vector<std::byte>> {
        return std::vector<std::byte>(request.begin(), request.end());
      },
      .on_pull = [](std::uint32_t, const BlobHandle& handle) -> Result<Blob> {
        const auto bytes = std::make_shared<const testing_transport::Bytes>(
            testing_transport::pattern(handle.length_bytes, 1));
        return Blob(handle, {}, *bytes, bytes);
      },
      .on_peer =
          [](std::uint32_t peer, const Status& reason) {
            say("peer " + std::to_string(peer) + " " + reason.to_string());
          },
      .on_slow =
          [](std::uint32_t peer, const std::string& reason) {
            say("slow " + std::to_string(peer) + " " + reason);
          }};
  const Result<std::unique_ptr<ITransport>> transport =
      create_ucx_transport({.host = host,
                            .listen_address = arguments[2],
                            .keepalive = keepalive,
                            .handlers = std::move(handlers)});
  if (!transport) {
    return report(transport.error());
  }
  say("address " + (*transport)->address());
  for (std::string line; std::getline(std::cin, line);) {
    obey(**transport, line);
  }
  return 0;
}

}  // namespace
}  // namespace pinion

int main(int count, char** arguments) {
  return count == 4 ? pinion::run(arguments) : 64;
}
