#pragma once

#include <memory>
#include <string>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/transport.hpp>

namespace pinion {

struct UcxTransportOptions {
  std::string listen_address = {};           ///< IP address to listen at; empty: every one.
  std::vector<std::string> transports = {};  ///< UCX transports by name; empty: chosen by class.
  std::vector<std::string> devices = {};     ///< Network devices by name; empty: all.
  Duration keepalive = std::chrono::seconds(2);  ///< Silence after which a peer is asked; above 0.
  TransportHandlers handlers = {};
};

/// The transport over UCX: TCP and RDMA.
/// Errors: kUnimplemented when this build of Pinion carries no UCX; kInvalidArgument for options
///   outside their stated range.
[[nodiscard]] Result<std::unique_ptr<ITransport>> create_ucx_transport(
    const UcxTransportOptions& options);

}  // namespace pinion
