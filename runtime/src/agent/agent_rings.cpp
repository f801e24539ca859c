// Rings between ranks: the agent makes them, and is no part of what goes through them. And those
// between a rank and the agent.

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <utility>

#include <fmt/format.h>

#include "agent/agent.hpp"

namespace pinion {
namespace {

std::uint32_t number(FrameKind kind) {
  return static_cast<std::uint32_t>(kind);
}

}  // namespace

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
  // So that it learns of the other one's death without us.
  answer_ring(rank, frame.request, *ticket, other.process->watch.get());
}

void Agent::answer_ring(std::uint32_t rank, std::uint64_t request, const RingTicket& ticket,
                        int peer_watch) {
  std::vector<int> descriptors;
  for (const UniqueFd& descriptor : ticket.descriptors) {
    descriptors.push_back(descriptor.get());
  }
  if (peer_watch >= 0) {
    descriptors.push_back(peer_watch);
  }
  answer(rank, FrameKind::kRingTicket, request, encode_ring_address(ticket.address), descriptors);
}

// Of this life of the rank, whose end of it is returned.
Result<RingTicket> Agent::make_ring_with(std::uint32_t rank) {
  Rank& it = ranks_[rank];
  Result<std::pair<RingTicket, RingTicket>> made = rings_.make();
  if (!made) {
    return std::move(made).error();
  }
  UniqueFd watch(::fcntl(it.process->watch.get(), F_DUPFD_CLOEXEC, 0));
  if (!watch.valid()) {
    return Status::from_errno(errno, "duplicating the pidfd of a rank");
  }
  Result<RingEnd> ours = RingEnd::attach(std::move(made->first), std::move(watch));
  if (!ours) {
    return std::move(ours).error();
  }
  it.ring = *std::move(ours);
  return std::move(made->second);
}

// Two ways lead from a rank to us, and this is what keeps their order where it matters.
//
// What a rank pushed before it sent a frame is handled before that frame: the push was over before
// the frame was on its way, so it is here once the frame is; and at most a whole ring of messages
// was before it.
//
// The other way round, a message may overtake frames that were sent before it. That does no harm,
// as each is about something for which those frames have been answered: a blob is let go of by who
// has it, so its kPublish or kFetch was; a slab is given back after its kMakeSlab; and a blob that
// a kControl names is held by its rank until the coordinator has decided (SealedBatch, the plan of
// StepRunner), so that its pin is taken, or refused for good, by then. A kFetchParts reads what
// other hosts have, with or without a copy here; and what a question for held memory is told is
// only a number.
void Agent::empty_ring(std::uint32_t rank) {
  Rank& it = ranks_[rank];
  RingMessage message;
  // What is pushed meanwhile has its turn the next time.
  for (std::uint32_t i = 0; i < kRingCapacity && listens_to_ring(it); ++i) {
    if (!it.ring->try_pop(message)) {
      break;
    }
    if (Status status = handle(rank, message); !status.ok()) {
      disconnect(rank, status);
    }
  }
  if (listens_to_ring(it)) {
    if (Status damage = it.ring->check_received(); !damage.ok()) {
      disconnect(rank, damage);
    }
  }
}

Status Agent::handle(std::uint32_t rank, const RingMessage& message) {
  Rank& it = ranks_[rank];
  if (message.kind == number(FrameKind::kLetGo)) {
    const Result<BlobHandle> handle = read_let_go(message);
    if (!handle) {
      return handle.error();
    }
    let_go(it.client, *handle);
    return {};
  }
  if (message.kind == number(FrameKind::kGiveBackSlab)) {
    const Result<std::uint32_t> segment = read_give_back_slab(message);
    if (!segment) {
      return segment.error();
    }
    segments_.give_back_slab(it.client, *segment);
    return {};
  }
  if (message.kind == number(FrameKind::kAskHeld)) {
    return answer_held(it, message);
  }
  return Status(ErrorCode::kInvalidArgument,
                fmt::format("it sent a message of unknown kind {} through its ring", message.kind));
}

void Agent::let_go(std::uint32_t client, const BlobHandle& handle) {
  if (!is_with_us(handle) && copies_) {
    copies_->table().let_go(client, handle);
  } else {
    segments_.let_go(client, handle);
  }
}

Status Agent::answer_held(Rank& rank, const RingMessage& question) {
  PINION_RETURN_IF_ERROR(check_ask_held(question));
  // A rank waits for each answer before it asks again, so one always fits.
  return rank.ring->try_push(make_held(question.request, segments_.usage().memory_bytes))
             ? Status()
             : Status(ErrorCode::kResourceExhausted,
                      "its ring has no room for an answer: it asks without taking what it is told, "
                      "or has damaged the ring");
}

}  // namespace pinion
