#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include <pinion/core/detail/link.hpp>
#include <pinion/core/status.hpp>
#include <pinion/ucx/ucx_transport.hpp>

namespace pinion {

enum class ChunkWay : std::uint8_t;  // network_path.hpp

/// The link over UCX: what create_ucx_transport() makes a transport of. Blobs go by `way`, or else
/// by that which suits each connection.
/// Errors: kUnimplemented where there is no UCX; kInvalidArgument and kNotFound for where to
/// listen;
///   kUnavailable with UCX's own words.
[[nodiscard]] Result<std::unique_ptr<detail::ILink>> make_ucx_link(
    const UcxTransportOptions& options, std::optional<ChunkWay> way = {});

}  // namespace pinion
