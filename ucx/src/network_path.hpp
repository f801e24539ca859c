#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/detail/link.hpp>

namespace pinion {

/// One way of UCX between two endpoints: "rc_verbs" over "mlx5_0:1".
struct Lane {
  std::string transport;
  std::string device;

  friend bool operator==(const Lane&, const Lane&) = default;
};

/// The lanes in what ucp_ep_print_info() prints, each once, less those that only make connections.
[[nodiscard]] std::vector<Lane> lanes_of(const std::string& printed);

/// Whether the adapter itself reads and writes the memory of both ends.
[[nodiscard]] bool is_rdma(std::string_view transport);

/// How the chunks of blobs go.
enum class ChunkWay : std::uint8_t {
  kMessage,  ///< The owner sends them: over TCP a read is a request that the owner's CPU answers.
  kGet,      ///< The puller's adapter reads them from the owner's memory.
};

/// The way over an endpoint with these lanes.
[[nodiscard]] ChunkWay chunk_way_of(const std::vector<Lane>& lanes);

/// What `lanes` are and should carry, and whether this host has something better. `system` is where
/// the kernel shows its devices.
[[nodiscard]] detail::LinkPath path_of(const std::vector<Lane>& lanes,
                                       const std::string& system = "/sys");

}  // namespace pinion
