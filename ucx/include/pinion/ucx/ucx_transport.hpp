#pragma once

#include <memory>
#include <string>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/transport.hpp>

namespace pinion {

struct UcxTransportOptions {
  std::uint32_t host = 0;           ///< The number of this host; others know it by that.
  std::string listen_address = {};  ///< IP address of this host; empty: of its first network.
  std::vector<std::string> transports = {};  ///< UCX transports by name; empty: tcp.
  std::vector<std::string> devices = {};     ///< Devices by name; empty: that of the address.
  /// Silence after which a peer is asked whether it is there; one that is silent for three times as
  /// long is gone. Above 0.
  Duration keepalive = std::chrono::seconds(2);
  Duration connect_timeout = std::chrono::seconds(10);  ///< Above 0.
  /// For the pulls of a host, if none of them moves, and for each blob that was sent to it and not
  /// given back. Above 0.
  Duration pull_timeout = std::chrono::seconds(30);
  std::uint64_t window_bytes = std::uint64_t{4} << 20;  ///< Credit for each peer; at least 64 KiB.
  JobKey job_key = {};                                  ///< Only those that have the same connect.
  TransportHandlers handlers = {};
};

/// The transport over UCX: TCP and RDMA.
/// Errors: kUnimplemented when this build of Pinion carries no UCX; kInvalidArgument for options
///   outside their stated range.
[[nodiscard]] Result<std::unique_ptr<ITransport>> create_ucx_transport(
    const UcxTransportOptions& options);

}  // namespace pinion
