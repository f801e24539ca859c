#pragma once

#include <memory>
#include <string>
#include <vector>

#include <ucp/api/ucp.h>

#include <pinion/core/status.hpp>
#include <pinion/ucx/ucx_transport.hpp>

#include "network_path.hpp"
#include "ucx_library.hpp"

namespace pinion {

/// An error of UCX, after what was tried.
[[nodiscard]] Status ucx_error(ucs_status_t status, const std::string& tried);

struct UcpCleanup {
  void operator()(ucp_context* context) const { ucx().ucp_cleanup(context); }
  void operator()(ucp_worker* worker) const { ucx().ucp_worker_destroy(worker); }
  void operator()(ucp_listener* listener) const { ucx().ucp_listener_destroy(listener); }
  void operator()(ucp_rkey* key) const { ucx().ucp_rkey_destroy(key); }
};
using UcpContext = std::unique_ptr<ucp_context, UcpCleanup>;
using UcpWorker = std::unique_ptr<ucp_worker, UcpCleanup>;
using UcpListener = std::unique_ptr<ucp_listener, UcpCleanup>;
using UcpRemoteKey = std::unique_ptr<ucp_rkey, UcpCleanup>;

/// A context for the transports and devices that `options` name, or else for TCP over `device`.
/// With `reads` its endpoints can read the memory of others.
[[nodiscard]] Result<UcpContext> make_ucp_context(const UcxTransportOptions& options,
                                                  const std::string& device, bool reads);

[[nodiscard]] Result<UcpWorker> make_ucp_worker(ucp_context_h context);

[[nodiscard]] std::vector<Lane> lanes_of_endpoint(ucp_ep_h endpoint);

}  // namespace pinion
