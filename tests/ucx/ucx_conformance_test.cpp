#include "conformance/transport_conformance.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include <pinion/core/detail/link_transport.hpp>

#include "network_path.hpp"
#include "ucx_link.hpp"

namespace pinion {
namespace {

// Over TCP on the loopback. UCX carries a read there by messages of its own, so all that is done
// for reads is done there, too.
template <ChunkWay kWay>
struct UcxHost {
  Result<std::unique_ptr<ITransport>> make(std::uint32_t host, TransportHandlers handlers,
                                           const testing_transport::Limits& limits) {
    Result<std::unique_ptr<detail::ILink>> link =
        make_ucx_link({.listen_address = "127.0.0.1", .keepalive = limits.keepalive}, kWay);
    if (!link) {
      return link.error();
    }
    return detail::make_link_transport(*std::move(link),
                                       {.host = host,
                                        .keepalive = limits.keepalive,
                                        .connect_timeout = limits.connect_timeout,
                                        .pull_timeout = limits.pull_timeout,
                                        .window_bytes = limits.window_bytes,
                                        .job_key = limits.job_key,
                                        .handlers = std::move(handlers),
                                        .damage = [this](std::span<std::byte> bytes) {
                                          if (damaging && !bytes.empty()) {
                                            bytes[bytes.size() / 2] ^= std::byte{1};
                                          }
                                        }});
  }

  void damage_pulls() { damaging = true; }
  void leave_pulls_whole() { damaging = false; }

  std::atomic<bool> damaging = false;
};

class UcxGarbage : public TransportConformance<UcxHost<ChunkWay::kMessage>> {};

// What knows nothing of UCX connects to the port and talks.
TEST_F(UcxGarbage, AtThePortLeavesEverythingAsItWas) {
  auto [one, two] = pair();
  const std::string address = one.transport->address();
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port =
      htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  for (unsigned seed = 1; seed <= 5; ++seed) {
    const int stranger = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::connect(stranger, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
    const Bytes garbage = pattern(seed * 1000, seed);
    static_cast<void>(::send(stranger, garbage.data(), garbage.size(), MSG_NOSIGNAL));
    EXPECT_EQ(*one.request(2, pattern(9, seed))->wait(), pattern(9, seed));
    ::close(stranger);
  }
  Side& three = join(3);
  connect(three, one);
  EXPECT_EQ(*three.request(1, pattern(7, 1))->wait(), pattern(7, 1));
}

INSTANTIATE_TYPED_TEST_SUITE_P(Ucx, TransportConformance, UcxHost<ChunkWay::kMessage>);
INSTANTIATE_TYPED_TEST_SUITE_P(UcxByReads, TransportConformance, UcxHost<ChunkWay::kGet>);

}  // namespace
}  // namespace pinion
