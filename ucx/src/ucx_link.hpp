#pragma once

#include <memory>

#include <pinion/core/detail/link.hpp>
#include <pinion/core/status.hpp>
#include <pinion/ucx/ucx_transport.hpp>

namespace pinion {

/// The link over UCX: what create_ucx_transport() makes a transport of.
/// Errors: kInvalidArgument and kNotFound for where to listen; kUnavailable with UCX's own words.
[[nodiscard]] Result<std::unique_ptr<detail::ILink>> make_ucx_link(
    const UcxTransportOptions& options);

}  // namespace pinion
