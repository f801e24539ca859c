#include <pinion/numa/binding.hpp>

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>

#include "topology_state.hpp"

namespace pinion {
namespace {

Status require_this_machine(const Topology& topology) {
  if (topology.is_this_machine()) {
    return {};
  }
  return {ErrorCode::kFailedPrecondition,
          "the topology is that of a recorded machine, which is for planning only; use "
          "Topology::of_this_machine() to bind memory or to ask where it lies"};
}

std::string name_of(const NumaNode& node) {
  return "NUMA node " + std::to_string(node.place.index) + " (OS number " +
         std::to_string(node.os_index) + ")";
}

}  // namespace

Status bind_memory(std::span<std::byte> pages, const Topology& topology, Place place) {
  PINION_RETURN_IF_ERROR(require_this_machine(topology));
  if (place.kind != PlaceKind::kNuma || place.index >= topology.nodes().size()) {
    return {ErrorCode::kInvalidArgument,
            std::string(place.kind == PlaceKind::kNuma ? "NUMA node " : "device ") +
                std::to_string(place.index) +
                " cannot hold the memory; this machine has the NUMA "
                "nodes 0 to " +
                std::to_string(topology.nodes().size() - 1)};
  }
  const auto page_bytes = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  if (reinterpret_cast<std::uintptr_t>(pages.data()) % page_bytes != 0) {
    return {ErrorCode::kInvalidArgument,
            "the memory to bind begins inside a page; it must begin "
            "at a multiple of " +
                std::to_string(page_bytes) + " bytes"};
  }
  if (pages.empty() || topology.nodes().size() == 1) {
    return {};
  }
  const NumaNode& node = topology.nodes()[place.index];
  const detail::HwlocBitmap nodes(hwloc_bitmap_alloc());
  // Without HWLOC_MEMBIND_STRICT the kernel prefers the node; with it, a full node is an OOM kill.
  if (!nodes || hwloc_bitmap_only(nodes.get(), node.os_index) != 0 ||
      hwloc_set_area_membind(topology.state_->hwloc.get(), pages.data(), pages.size(), nodes.get(),
                             HWLOC_MEMBIND_BIND, HWLOC_MEMBIND_BYNODESET) != 0) {
    return Status::from_errno(
        errno, "binding " + std::to_string(pages.size()) + " bytes to " + name_of(node));
  }
  return {};
}

Result<Place> where_is(const void* address, const Topology& topology) {
  PINION_RETURN_IF_ERROR(require_this_machine(topology));
  const auto page_bytes = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto number = reinterpret_cast<std::uintptr_t>(address);
  void* page = reinterpret_cast<void*>(number - number % page_bytes);
  int node_or_error = 0;
  // Without target nodes the call moves nothing and only reports.
  if (syscall(SYS_move_pages, 0, 1UL, &page, nullptr, &node_or_error, 0) != 0) {
    return Status::from_errno(errno, "asking the system which NUMA node holds a page");
  }
  if (node_or_error < 0) {
    // ENOENT or EFAULT; which of them means "never written" differs between kernels.
    return Status::from_native(ErrorOrigin::kErrno, -node_or_error, ErrorCode::kNotFound,
                               "the page lies on no NUMA node: nothing was written to it yet, or "
                               "the address is not mapped");
  }
  for (const NumaNode& node : topology.nodes()) {
    if (node.os_index == static_cast<unsigned>(node_or_error)) {
      return node.place;
    }
  }
  return Status(ErrorCode::kFailedPrecondition,
                "the page lies on the NUMA node with OS number " + std::to_string(node_or_error) +
                    ", which was not there when the topology was read; read it again");
}

}  // namespace pinion
