#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/numa/topology.hpp>

namespace pinion {

/// Makes the calling thread run on `cpus` only, by their operating-system numbers, and asks the
/// system whether it does. Threads that the thread makes later begin with the same CPUs.
///
/// Thread safety: may be called from any thread.
/// Errors: kInvalidArgument for no CPU or one that the machine does not have; kPermissionDenied for
///   one that this process may not use; kFailedPrecondition for the topology of another machine,
///   or when the system let the thread run elsewhere, as CPUs went offline; the system's refusal
///   otherwise. The thread runs where it ran before, except in the last two cases.
[[nodiscard]] Status pin_this_thread(std::span<const unsigned> cpus, const Topology& topology);

/// Makes the pages of `pages` come from the memory of `place` when they are first touched, and from
/// elsewhere when that node is full: memory pressure never turns into a killed process. Pages that
/// were touched before stay where they are. Does nothing on a machine with one node. The host in
/// `place` is not looked at.
///
/// Thread safety: may be called from any thread.
/// Errors: kInvalidArgument for a place that is no NUMA node of `topology` or memory that does not
///   begin on a page; kPermissionDenied for a node whose memory this process may not use, or that
///   has none: see Topology::nearest_memory(); kFailedPrecondition for the topology of another
///   machine; the system's refusal otherwise. The memory is usable as before.
[[nodiscard]] Status bind_memory(std::span<std::byte> pages, const Topology& topology, Place place);

/// Pages of their own, bound to a place as by bind_memory(). They read as zero, and are taken from
/// the system when they are first touched.
///
/// Thread safety: distinct objects are independent.
/// Lifetime: the bytes go back to the system with the object; moving it keeps their address.
class BoundMemory {
 public:
  /// Errors: kInvalidArgument for 0 bytes; kResourceExhausted when the system gives no addresses;
  ///   those of bind_memory().
  [[nodiscard]] static Result<BoundMemory> allocate(std::size_t size_bytes,
                                                    const Topology& topology, Place place);
  BoundMemory(BoundMemory&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  BoundMemory& operator=(BoundMemory&& other) noexcept;
  ~BoundMemory();

  /// As many as were asked for, from the beginning of a page.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

 private:
  explicit BoundMemory(std::span<std::byte> bytes) noexcept : bytes_(bytes) {}

  std::span<std::byte> bytes_;
};

/// The NUMA node whose memory holds the byte at `address`; host 0.
///
/// Thread safety: may be called from any thread.
/// Errors: kNotFound when nothing was written to the page yet or the address is not mapped;
///   kFailedPrecondition for the topology of another machine; kPermissionDenied or kUnimplemented
///   where the system does not tell.
[[nodiscard]] Result<Place> where_is(const void* address, const Topology& topology);

}  // namespace pinion
