#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include <pinion/core/status.hpp>
#include <pinion/shm/ring.hpp>

namespace pinion {

/// The agent's part in rings between the processes of a host: makes one for each two clients that
/// ask for it (a client is one life of a rank), keeps the end of the one that has not asked yet,
/// and forgets both when one of them dies. Those of the agent itself with a client are made as
/// well.
///
/// Thread safety: none; one thread drives it.
class RingBroker {
 public:
  /// `capacity`: messages in each direction, as make_ring() takes it.
  RingBroker(std::uint64_t job, std::uint32_t capacity) : job_(job), capacity_(capacity) {}

  /// The end of `client` of its ring with `peer`: made now, or when the other one asked.
  /// Precondition: client_gone() was called for neither.
  /// Errors: kInvalidArgument when both are one; kAlreadyExists when this client was given its end
  ///   before, as there is one ring for each two; those of make_ring().
  [[nodiscard]] Result<RingTicket> ask(std::uint32_t client, std::uint32_t peer);

  /// A ring for two processes that the caller knows; nothing of it is kept.
  /// Errors: those of make_ring().
  [[nodiscard]] Result<std::pair<RingTicket, RingTicket>> make();

  /// The process is dead: its rings are of no use to anybody, and what was kept for it is closed.
  void client_gone(std::uint32_t client);

  /// Rings of clients that live.
  [[nodiscard]] std::size_t ring_count() const noexcept { return rings_.size(); }

 private:
  // The lower client has side 0.
  using Pair = std::pair<std::uint32_t, std::uint32_t>;
  struct Ring {
    std::uint32_t asked_by = 0;
    std::optional<RingTicket> kept;  // For the other one, until it asks.
  };

  std::uint64_t job_;
  std::uint32_t capacity_;
  std::uint64_t made_count_ = 0;
  std::map<Pair, Ring> rings_;
};

}  // namespace pinion
