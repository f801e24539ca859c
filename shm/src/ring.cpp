#include <pinion/shm/ring.hpp>

#include <fcntl.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "ring_connection.hpp"
#include "ring_segment.hpp"

namespace pinion {
namespace {

UniqueFd& descriptor_of(RingTicket& ticket, RingDescriptor which) {
  return ticket.descriptors[static_cast<std::size_t>(which)];
}

// Makes what the end `ticket` sleeps on, and gives the other end what it is woken by.
Status make_wake_ups(RingTicket& ticket, RingTicket& other) {
  using Pair = std::pair<RingDescriptor, RingDescriptor>;
  for (const auto& [ours, theirs] :
       {Pair(RingDescriptor::kMessageCame, RingDescriptor::kPeerMessage),
        Pair(RingDescriptor::kSpaceCame, RingDescriptor::kPeerSpace)}) {
    UniqueFd wake_up(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_up.valid()) {
      return Status::from_errno(errno, "eventfd for a ring");
    }
    UniqueFd copy(::fcntl(wake_up.get(), F_DUPFD_CLOEXEC, 0));
    if (!copy.valid()) {
      return Status::from_errno(errno, "duplicating an eventfd of a ring");
    }
    descriptor_of(ticket, ours) = std::move(wake_up);
    descriptor_of(other, theirs) = std::move(copy);
  }
  return {};
}

Status make_segment(RingTicket& ticket, RingTicket& other) {
  Result<UniqueFd> segment = make_ring_segment(ticket.address);
  if (!segment) {
    return std::move(segment).error();
  }
  Result<UniqueFd> reader = open_ring_segment_for_reading(segment->get());
  if (!reader) {
    return std::move(reader).error();
  }
  descriptor_of(ticket, RingDescriptor::kOwnSegment) = std::move(segment).value();
  descriptor_of(other, RingDescriptor::kPeerSegment) = std::move(reader).value();
  return {};
}

}  // namespace

Result<std::pair<RingTicket, RingTicket>> make_ring(std::uint64_t job, std::uint64_t number,
                                                    std::uint32_t capacity) {
  std::pair<RingTicket, RingTicket> tickets;
  auto& [first, second] = tickets;
  first.address = {.job = job, .number = number, .capacity = capacity, .side = 0};
  second.address = {.job = job, .number = number, .capacity = capacity, .side = 1};
  PINION_RETURN_IF_ERROR(check_ring_address(first.address));
  PINION_RETURN_IF_ERROR(make_segment(first, second));
  PINION_RETURN_IF_ERROR(make_segment(second, first));
  PINION_RETURN_IF_ERROR(make_wake_ups(first, second));
  PINION_RETURN_IF_ERROR(make_wake_ups(second, first));
  return tickets;
}

Result<RingParts> open_ring_parts(RingTicket ticket, UniqueFd peer_watch) {
  const RingAddress& address = ticket.address;
  PINION_RETURN_IF_ERROR(check_ring_address(address));
  for (const UniqueFd& descriptor : ticket.descriptors) {
    if (!descriptor.valid()) {
      return Status(ErrorCode::kInvalidArgument, "a ticket of a ring without all its descriptors");
    }
  }
  if (!peer_watch.valid()) {
    return Status(ErrorCode::kInvalidArgument,
                  "an end of a ring needs a descriptor that tells of the other end's death");
  }
  UniqueFd& own_segment = descriptor_of(ticket, RingDescriptor::kOwnSegment);
  UniqueFd& peer_segment = descriptor_of(ticket, RingDescriptor::kPeerSegment);
  RingAddress peer_address = address;
  peer_address.side = 1 - address.side;
  Result<MemoryMapping> own = map_ring_segment(own_segment.get(), address, true);
  if (!own) {
    return std::move(own).error();
  }
  Result<MemoryMapping> peer = map_ring_segment(peer_segment.get(), peer_address, false);
  if (!peer) {
    return std::move(peer).error();
  }
  // The mappings are enough from here on.
  own_segment.reset();
  peer_segment.reset();
  return RingParts{address, std::move(own).value(), std::move(peer).value(),
                   std::move(ticket.descriptors), std::move(peer_watch)};
}

struct RingEnd::State {
  RingConnection<RingMemory> connection;
};

Result<RingEnd> RingEnd::attach(RingTicket ticket, UniqueFd peer_watch,
                                const RingOptions& options) {
  Result<RingParts> parts = open_ring_parts(std::move(ticket), std::move(peer_watch));
  if (!parts) {
    return std::move(parts).error();
  }
  return RingEnd(
      std::unique_ptr<State>(new State{RingConnection<RingMemory>(std::move(*parts), options)}));
}

RingEnd::RingEnd(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
RingEnd::~RingEnd() = default;
RingEnd::RingEnd(RingEnd&&) noexcept = default;
RingEnd& RingEnd::operator=(RingEnd&&) noexcept = default;

bool RingEnd::try_push(const RingMessage& message) noexcept {
  return state_->connection.push({&message, 1}) == 1;
}

std::size_t RingEnd::try_push(std::span<const RingMessage> messages) noexcept {
  return state_->connection.push(messages);
}

bool RingEnd::try_pop(RingMessage& message) noexcept {
  return state_->connection.pop({&message, 1}) == 1;
}

std::size_t RingEnd::try_pop(std::span<RingMessage> messages) noexcept {
  return state_->connection.pop(messages);
}

Status RingEnd::wait_for_message(Instant deadline) {
  return state_->connection.wait_for_message(deadline);
}

Status RingEnd::wait_for_space(Instant deadline) {
  return state_->connection.wait_for_space(deadline);
}

bool RingEnd::begin_sleep() noexcept {
  return state_->connection.begin_sleep();
}

int RingEnd::message_descriptor() const noexcept {
  return state_->connection.message_descriptor();
}

void RingEnd::end_sleep(bool was_readable) noexcept {
  state_->connection.end_sleep(was_readable);
}

Status RingEnd::check_received() const {
  return state_->connection.check_received();
}

const RingAddress& RingEnd::address() const noexcept {
  return state_->connection.address();
}

}  // namespace pinion
