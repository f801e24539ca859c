#include "conformance/transport_conformance.hpp"

#include <atomic>
#include <memory>
#include <span>
#include <utility>

#include <gtest/gtest.h>

#include <pinion/core/detail/link_transport.hpp>

#include "ucx_link.hpp"

namespace pinion {
namespace {

// Over TCP on the loopback.
struct UcxHost {
  Result<std::unique_ptr<ITransport>> make(std::uint32_t host, TransportHandlers handlers,
                                           const testing_transport::Limits& limits) {
    Result<std::unique_ptr<detail::ILink>> link =
        make_ucx_link({.listen_address = "127.0.0.1", .keepalive = limits.keepalive});
    if (!link) {
      return link.error();
    }
    return detail::make_link_transport(*std::move(link),
                                       {.host = host,
                                        .keepalive = limits.keepalive,
                                        .connect_timeout = limits.connect_timeout,
                                        .pull_timeout = limits.pull_timeout,
                                        .window_bytes = limits.window_bytes,
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

INSTANTIATE_TYPED_TEST_SUITE_P(Ucx, TransportConformance, UcxHost);

}  // namespace
}  // namespace pinion
