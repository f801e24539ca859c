#include <pinion/numa/binding.hpp>

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>

#include <pinion/numa/cpu_list.hpp>

#include "check_cpus.hpp"
#include "topology_state.hpp"

namespace pinion {
namespace {

Status require_this_machine(const Topology& topology) {
  if (topology.is_this_machine()) {
    return {};
  }
  return {ErrorCode::kFailedPrecondition,
          "the topology is that of a recorded machine, which is for planning only; use "
          "Topology::of_this_machine() to pin threads, to bind memory or to ask where it lies"};
}

std::string name_of(const NumaNode& node) {
  return "NUMA node " + std::to_string(node.place.index) + " (OS number " +
         std::to_string(node.os_index) + ")";
}

Status check_node(const Topology& topology, Place place) {
  if (place.kind != PlaceKind::kNuma || place.index >= topology.nodes().size()) {
    return {ErrorCode::kInvalidArgument,
            std::string(place.kind == PlaceKind::kNuma ? "NUMA node " : "device ") +
                std::to_string(place.index) +
                " cannot hold the memory; this machine has the NUMA nodes 0 to " +
                std::to_string(topology.nodes().size() - 1)};
  }
  const NumaNode& node = topology.nodes()[place.index];
  if (!node.memory_usable) {
    return {ErrorCode::kPermissionDenied,
            name_of(node) + (node.memory_bytes == 0
                                 ? " has no memory"
                                 : " may not be used: cpuset or memory policy forbid its memory")};
  }
  return {};
}

}  // namespace

Status check_cpus(std::span<const unsigned> cpus, const Topology& topology) {
  if (cpus.empty()) {
    return {ErrorCode::kInvalidArgument, "no CPU is named to run on; it must be at least one"};
  }
  for (const unsigned cpu : cpus) {
    if (!topology.has_cpu(cpu)) {
      return {ErrorCode::kInvalidArgument, "the machine has no CPU " + std::to_string(cpu) +
                                               "; it has " + format_cpu_list(topology.cpus())};
    }
    if (!topology.may_use(cpu)) {
      return {ErrorCode::kPermissionDenied,
              "CPU " + std::to_string(cpu) + " may not be used; affinity mask and cpuset allow " +
                  format_cpu_list(topology.usable_cpus())};
    }
  }
  return {};
}

Status pin_this_thread(std::span<const unsigned> cpus, const Topology& topology) {
  PINION_RETURN_IF_ERROR(require_this_machine(topology));
  PINION_RETURN_IF_ERROR(check_cpus(cpus, topology));
  const detail::HwlocBitmap wanted(hwloc_bitmap_alloc());
  const detail::HwlocBitmap seen(hwloc_bitmap_alloc());
  if (!wanted || !seen) {
    return {ErrorCode::kResourceExhausted, "no memory for a set of CPUs"};
  }
  for (const unsigned cpu : cpus) {
    hwloc_bitmap_set(wanted.get(), cpu);
  }
  hwloc_topology_t hwloc = topology.state_->hwloc.get();
  const std::string text = format_cpu_list({cpus.begin(), cpus.end()});
  if (hwloc_set_cpubind(hwloc, wanted.get(), HWLOC_CPUBIND_THREAD) != 0) {
    return Status::from_errno(errno, "pinning a thread to the CPUs " + text);
  }
  if (hwloc_get_cpubind(hwloc, seen.get(), HWLOC_CPUBIND_THREAD) != 0) {
    return Status::from_errno(errno, "asking the system where a pinned thread runs");
  }
  if (hwloc_bitmap_isequal(wanted.get(), seen.get()) == 0) {
    return {ErrorCode::kFailedPrecondition,
            "the system does not keep a thread on the CPUs " + text +
                "; some went offline or were taken from the cpuset: read the topology again"};
  }
  return {};
}

Status bind_memory(std::span<std::byte> pages, const Topology& topology, Place place) {
  PINION_RETURN_IF_ERROR(require_this_machine(topology));
  PINION_RETURN_IF_ERROR(check_node(topology, place));
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

Result<BoundMemory> BoundMemory::allocate(std::size_t size_bytes, const Topology& topology,
                                          Place place) {
  if (size_bytes == 0) {
    return Status(ErrorCode::kInvalidArgument, "0 bytes cannot be allocated; ask for at least 1");
  }
  void* const address =
      mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    return Status::from_errno(errno, "reserving " + std::to_string(size_bytes) + " bytes");
  }
  BoundMemory memory({static_cast<std::byte*>(address), size_bytes});
  PINION_RETURN_IF_ERROR(bind_memory(memory.bytes(), topology, place));
  return memory;
}

BoundMemory& BoundMemory::operator=(BoundMemory&& other) noexcept {
  BoundMemory taken(std::move(other));
  std::swap(bytes_, taken.bytes_);  // What we held goes back to the system here.
  return *this;
}

BoundMemory::~BoundMemory() {
  if (!bytes_.empty()) {
    munmap(bytes_.data(), bytes_.size());
  }
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
