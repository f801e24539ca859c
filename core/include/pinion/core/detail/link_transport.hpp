#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include <pinion/core/clock.hpp>
#include <pinion/core/detail/link.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/transport.hpp>

namespace pinion::detail {

struct LinkTransportOptions {
  std::uint32_t host = 0;  ///< The number of this host.
  Duration keepalive = std::chrono::seconds(2);
  Duration connect_timeout = std::chrono::seconds(10);
  Duration pull_timeout = std::chrono::seconds(30);  ///< Of all pulls of a peer, and of each loan.
  std::uint64_t window_bytes = std::uint64_t{4} << 20;
  JobKey job_key = {};  ///< Only those that have the same connect.
  TransportHandlers handlers = {};
  /// For tests: is given the bytes of pulls that arrived, to damage them before they are verified.
  std::function<void(std::span<std::byte>)> damage = {};
};

/// kInvalidArgument for options outside their stated range.
[[nodiscard]] Status check_options(const LinkTransportOptions& options);

/// A transport over a link, with a thread of its own: handshake, order, credit, requests, pulls and
/// silence are the same over every link.
/// Precondition: check_options(options).
/// Errors: kResourceExhausted when the system gives no thread.
[[nodiscard]] Result<std::unique_ptr<ITransport>> make_link_transport(
    std::unique_ptr<ILink> link, const LinkTransportOptions& options);

}  // namespace pinion::detail
