// Rings between ranks: the agent makes them, and is no part of what goes through them.

#include <array>
#include <cstddef>

#include <fmt/format.h>

#include "agent/agent.hpp"

namespace pinion {

void Agent::handle_ring(std::uint32_t rank, const Frame& frame) {
  const Result<BlobReference> reference = decode_reference(frame.payload);
  if (!reference) {
    answer(rank, frame.request, reference.error());
    return;
  }
  const std::uint32_t peer = reference->handle.index;
  if (peer >= spec_.rank_count) {
    answer(rank, frame.request,
           Status(ErrorCode::kInvalidArgument,
                  fmt::format("a ring with rank {} of {}", peer, spec_.rank_count)));
    return;
  }
  if (!is_here(peer)) {
    answer(rank, frame.request,
           Status(ErrorCode::kUnimplemented,
                  fmt::format("rank {} is on another host; rings are between ranks of one", peer)));
    return;
  }
  const Rank& other = ranks_[peer - share_.first_rank];
  if (!other.process || !other.joined || has_ended(*other.process)) {
    answer(rank, frame.request,
           Status(ErrorCode::kUnavailable,
                  fmt::format("rank {} has not joined the job, or is gone; ask again", peer)));
    return;
  }
  const Result<RingTicket> ticket = rings_.ask(ranks_[rank].client, other.client);
  if (!ticket) {
    answer(rank, frame.request, ticket.error());
    return;
  }
  std::array<int, kRingDescriptorCount + 1> descriptors = {};
  for (std::size_t i = 0; i < kRingDescriptorCount; ++i) {
    descriptors[i] = ticket->descriptors[i].get();
  }
  // So that it learns of the other one's death without us.
  descriptors.back() = other.process->watch.get();
  answer(rank, FrameKind::kRingTicket, frame.request, encode_ring_address(ticket->address),
         descriptors);
}

}  // namespace pinion
