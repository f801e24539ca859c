#pragma once

#include <memory>
#include <string>
#include <type_traits>

#include <ucp/api/ucp.h>

#include <pinion/core/status.hpp>
#include <pinion/ucx/ucx_transport.hpp>

namespace pinion {

/// An error of UCX, after what was tried.
[[nodiscard]] Status ucx_error(ucs_status_t status, const std::string& tried);

struct UcpCleanup {
  void operator()(ucp_context* context) const { ucp_cleanup(context); }
  void operator()(ucp_worker* worker) const { ucp_worker_destroy(worker); }
  void operator()(ucp_listener* listener) const { ucp_listener_destroy(listener); }
};
using UcpContext = std::unique_ptr<ucp_context, UcpCleanup>;
using UcpWorker = std::unique_ptr<ucp_worker, UcpCleanup>;
using UcpListener = std::unique_ptr<ucp_listener, UcpCleanup>;

/// A context for the transports and devices that `options` name, or else for TCP over `device`.
[[nodiscard]] Result<UcpContext> make_ucp_context(const UcxTransportOptions& options,
                                                  const std::string& device);

[[nodiscard]] Result<UcpWorker> make_ucp_worker(ucp_context_h context);

/// The transports and devices that an endpoint uses, in words.
[[nodiscard]] std::string describe_lanes(ucp_ep_h endpoint);

/// The words of describe_lanes() for what ucp_ep_print_info() prints.
[[nodiscard]] std::string lanes_of(const std::string& printed);

}  // namespace pinion
