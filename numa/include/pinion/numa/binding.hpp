#pragma once

#include <cstddef>
#include <span>

#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// Makes the pages of `pages` come from the memory of `place` when they are first touched, and from
/// elsewhere when that node is full: memory pressure never turns into a killed process. Pages that
/// were touched before stay where they are. Does nothing on a machine with one node. The host in
/// `place` is not looked at.
///
/// Thread safety: may be called from any thread.
/// Errors: kInvalidArgument for a place that is no NUMA node of `topology` or memory that does not
///   begin on a page; kFailedPrecondition for the topology of another machine; the system's refusal
///   otherwise. The memory is usable as before.
[[nodiscard]] Status bind_memory(std::span<std::byte> pages, const Topology& topology, Place place);

/// The NUMA node whose memory holds the byte at `address`; host 0.
///
/// Thread safety: may be called from any thread.
/// Errors: kNotFound when nothing was written to the page yet or the address is not mapped;
///   kFailedPrecondition for the topology of another machine; kPermissionDenied or kUnimplemented
///   where the system does not tell.
[[nodiscard]] Result<Place> where_is(const void* address, const Topology& topology);

}  // namespace pinion
