#include "agent_link.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

#include <pinion/core/assert.hpp>

namespace pinion {
namespace {

Status gone() {
  return Status(ErrorCode::kUnavailable, "the agent of this job is gone");
}

std::uint16_t number(FrameKind kind) {
  return static_cast<std::uint16_t>(kind);
}

// Whether the agent has answered with what was asked for; else why not.
Status check_answer(const Frame& answer, FrameKind expected, std::size_t descriptor_count) {
  if (answer.kind == number(FrameKind::kDone)) {
    Status refused = decode_status(answer.payload);
    return refused.ok() ? Status(ErrorCode::kInternal, "the agent answered a request with nothing")
                        : refused;
  }
  if (answer.kind != number(expected) || answer.descriptors.size() != descriptor_count) {
    return Status(ErrorCode::kInternal,
                  "the agent answered with a frame of kind " + std::to_string(answer.kind) +
                      " and " + std::to_string(answer.descriptors.size()) + " descriptors");
  }
  return {};
}

// The end of a ring whose descriptors are the first of a frame.
Result<RingEnd> attach_ring(Frame frame, UniqueFd peer_watch) {
  const Result<RingAddress> address = decode_ring_address(frame.payload);
  if (!address) {
    return address.error();
  }
  RingTicket ticket{.address = *address, .descriptors = {}};
  std::move(frame.descriptors.begin(), frame.descriptors.begin() + kRingDescriptorCount,
            ticket.descriptors.begin());
  return RingEnd::attach(std::move(ticket), std::move(peer_watch));
}

// The ring with the agent, which follows its welcome.
Result<RingEnd> receive_ring(Channel& channel) {
  Result<std::optional<Frame>> frame = channel.receive();
  if (!frame) {
    return std::move(frame).error();
  }
  if (!frame->has_value()) {
    return gone();
  }
  if (Status refused = check_answer(**frame, FrameKind::kRingTicket, kRingDescriptorCount);
      !refused.ok()) {
    return refused;
  }
  UniqueFd socket(::fcntl(channel.descriptor(), F_DUPFD_CLOEXEC, 0));
  if (!socket.valid()) {
    return Status::from_errno(errno, "duplicating the socket to the agent for its ring");
  }
  return attach_ring(*std::move(*frame), std::move(socket));
}

}  // namespace

AgentLink::AgentLink(Channel channel, RingEnd ring)
    : channel_(std::move(channel)), ring_(std::move(ring)) {}

Result<std::pair<std::unique_ptr<AgentLink>, Welcome>> AgentLink::join(UniqueFd socket,
                                                                       const Hello& hello) {
  Result<Channel> channel = Channel::adopt(std::move(socket));
  if (!channel) {
    return std::move(channel).error();
  }
  PINION_RETURN_IF_ERROR(channel->send(number(FrameKind::kHello), 0, encode_hello(hello)));
  Result<std::optional<Frame>> answer = channel->receive();
  if (!answer) {
    return std::move(answer).error();
  }
  if (!answer->has_value()) {
    return gone();
  }
  Frame& frame = **answer;
  if (frame.kind != number(FrameKind::kWelcome)) {
    Status refused =
        frame.kind == number(FrameKind::kDone) ? decode_status(frame.payload) : Status();
    return refused.ok()
               ? Status(ErrorCode::kInternal, "the agent answered a hello with a frame of kind " +
                                                  std::to_string(frame.kind))
               : std::move(refused).with_context("the agent refuses this rank");
  }
  Result<Welcome> welcome = decode_welcome(frame.payload);
  if (!welcome) {
    return std::move(welcome).error();
  }
  Result<RingEnd> ring = receive_ring(*channel);
  if (!ring) {
    return std::move(ring).error().with_context("joining the agent's ring");
  }
  std::unique_ptr<AgentLink> link(
      new AgentLink(std::move(channel).value(), std::move(ring).value()));
  link->take_descriptors(std::move(frame.descriptors));
  try {
    link->reader_ = std::thread([self = link.get()] { self->read_frames(); });
  } catch (const std::system_error& error) {
    return Status(
        ErrorCode::kResourceExhausted,
        std::string("cannot start the thread that reads from the agent: ") + error.what());
  }
  return std::pair(std::move(link), std::move(welcome).value());
}

// Of a welcome: those of a BlobMemory are two, and the last.
void AgentLink::take_descriptors(std::vector<UniqueFd> descriptors) {
  if (descriptors.size() % 2 == 1) {
    row_ = std::move(descriptors.front());
    descriptors.erase(descriptors.begin());
  }
  if (descriptors.size() == 2) {
    blob_memory_ = std::make_shared<const BlobMemory>(
        BlobMemory{.writable = std::move(descriptors[0]), .read_only = std::move(descriptors[1])});
  }
}

AgentLink::~AgentLink() {
  {
    MutexLock lock(mutex_);
    leaving_ = true;
  }
  channel_.shutdown();
  if (reader_.joinable()) {
    reader_.join();
  }
}

Status AgentLink::send(std::span<const std::byte> message) {
  return channel_.send(number(FrameKind::kControl), 0, message);
}

Result<std::vector<std::byte>> AgentLink::receive(Instant deadline) {
  MutexLock lock(mutex_);
  while (inbox_.empty() && !woken_ && !closed_) {
    if (arrived_.wait_until(mutex_, deadline) == std::cv_status::timeout) {
      break;
    }
  }
  if (!inbox_.empty()) {
    std::vector<std::byte> message = std::move(inbox_.front());
    inbox_.pop_front();
    return message;
  }
  woken_ = false;
  if (closed_) {
    return gone();
  }
  return std::vector<std::byte>();
}

void AgentLink::wake() noexcept {
  {
    MutexLock lock(mutex_);
    woken_ = true;
  }
  arrived_.notify_all();
}

Status AgentLink::publish(const BlobHandle& handle, Place home, int descriptor) {
  Result<Frame> answer =
      request(FrameKind::kPublish, encode_reference({handle, home}), {&descriptor, 1});
  if (!answer) {
    return std::move(answer).error();
  }
  if (answer->kind == number(FrameKind::kDone)) {
    return decode_status(answer->payload);
  }
  return take_held(*answer);
}

Status AgentLink::take_held(const Frame& answer) {
  const Result<std::uint64_t> held = decode_held(answer.payload);
  if (!held) {
    return held.error();
  }
  // Only a number: nothing else is read because of it.
  held_bytes_.store(*held, std::memory_order_relaxed);
  return {};
}

// False: the agent is gone. One that has damaged the ring is none, as at the socket.
bool AgentLink::push(const RingMessage& message) noexcept {
  MutexLock lock(pushing_);
  while (!ring_.try_push(message)) {
    // Only a death ends this wait: what is said here must not be lost while the agent lives.
    const Status waited = ring_.wait_for_space(Instant::max());
    if (waited.code() == ErrorCode::kDataLoss) {
      exit_with(waited);
    }
    if (!waited.ok()) {
      return false;
    }
  }
  return true;
}

std::uint64_t AgentLink::ask_held_bytes() {
  MutexLock lock(asking_);
  const std::uint64_t request = ++ask_count_;
  if (!push(make_ask_held(request))) {
    return held_bytes();
  }
  RingMessage answer;
  while (answer.kind != number(FrameKind::kHeld) || answer.request != request) {
    if (ring_.try_pop(answer)) {
      continue;
    }
    const Status waited = ring_.wait_for_message(Instant::max());
    if (waited.code() == ErrorCode::kDataLoss) {
      exit_with(waited);
    }
    if (!waited.ok()) {
      return held_bytes();  // What was known before is as good then.
    }
  }
  if (const Result<std::uint64_t> held = read_held(answer)) {
    held_bytes_.store(*held, std::memory_order_relaxed);
  }
  return held_bytes();
}

void AgentLink::let_go(const BlobHandle& handle) noexcept {
  static_cast<void>(push(make_let_go(handle)));  // Without the agent it is gone all the same.
}

Result<std::pair<UniqueFd, Place>> AgentLink::fetch(const BlobHandle& handle) {
  Result<Frame> answer = request(FrameKind::kFetch, encode_reference({handle, Place{}}));
  if (!answer) {
    return std::move(answer).error();
  }
  if (answer->kind == number(FrameKind::kDone)) {
    Status refused = decode_status(answer->payload);
    return refused.ok() ? Status(ErrorCode::kInternal, "the agent answered a fetch with nothing")
                        : std::move(refused);
  }
  Result<BlobReference> reference = decode_reference(answer->payload);
  if (!reference) {
    return std::move(reference).error();
  }
  if (answer->descriptors.size() != 1) {
    return Status(ErrorCode::kInternal, "the agent sent " +
                                            std::to_string(answer->descriptors.size()) +
                                            " descriptors for a blob; it must send 1");
  }
  return std::pair(std::move(answer->descriptors[0]), reference->home);
}

std::function<Status()> AgentLink::fetch_parts(std::span<const BlobPart> parts, int room) {
  Result<std::uint64_t> id = begin_request(FrameKind::kFetchParts, encode_parts(parts), {&room, 1});
  if (!id) {
    return [error = std::move(id).error()] { return error; };
  }
  // Its answer has no use for anybody else, whether or not it is waited for.
  const auto asked = std::shared_ptr<const std::uint64_t>(new std::uint64_t(*id),
                                                          [this](const std::uint64_t* begun) {
                                                            forget_request(*begun);
                                                            delete begun;
                                                          });
  return [this, asked]() -> Status {
    const Result<Frame> answer = await_answer(*asked);
    if (!answer) {
      return answer.error();
    }
    return answer->kind == number(FrameKind::kDone)
               ? decode_status(answer->payload)
               : Status(ErrorCode::kInternal,
                        "the agent answered with a frame of kind " + std::to_string(answer->kind));
  };
}

Result<RingEnd> AgentLink::ring_with(std::uint32_t rank) {
  Result<Frame> answer =
      request(FrameKind::kRing, encode_reference({BlobHandle{.index = rank}, {}}));
  if (!answer) {
    return std::move(answer).error();
  }
  if (Status refused = check_answer(*answer, FrameKind::kRingTicket, kRingDescriptorCount + 1);
      !refused.ok()) {
    return refused;
  }
  UniqueFd watch = std::move(answer->descriptors.back());
  return attach_ring(*std::move(answer), std::move(watch));
}

Result<SlabGrant> AgentLink::make_slab(const SlabRequest& wanted) {
  return request_slab(FrameKind::kMakeSlab, encode_slab_request(wanted));
}

Result<SlabGrant> AgentLink::fetch_slab(const BlobHandle& handle) {
  return request_slab(FrameKind::kFetchSlab, encode_reference({handle, Place{}}));
}

Result<SlabGrant> AgentLink::request_slab(FrameKind kind, std::span<const std::byte> payload) {
  Result<Frame> answer = request(kind, payload);
  if (!answer) {
    return std::move(answer).error();
  }
  if (Status refused = check_answer(*answer, FrameKind::kSlab, 1); !refused.ok()) {
    return refused;
  }
  const Result<SlabReply> reply = decode_slab_reply(answer->payload);
  if (!reply) {
    return reply.error();
  }
  held_bytes_.store(reply->held_bytes, std::memory_order_relaxed);
  return SlabGrant{std::move(answer->descriptors[0]), reply->home, reply->slot};
}

Result<UniqueFd> AgentLink::fetch_row(std::uint32_t client) {
  Result<Frame> answer =
      request(FrameKind::kFetchRow, encode_reference({BlobHandle{.segment = client}, {}}));
  if (!answer) {
    return std::move(answer).error();
  }
  if (Status refused = check_answer(*answer, FrameKind::kRow, 1); !refused.ok()) {
    return refused;
  }
  return std::move(answer->descriptors[0]);
}

void AgentLink::give_back_slab(std::uint32_t segment) noexcept {
  static_cast<void>(push(make_give_back_slab(segment)));  // As let_go().
}

bool AgentLink::ends_for(const DeviceLoss& loss) {
  const Result<Frame> answered = request(FrameKind::kDeviceLost, encode_device_loss(loss));
  return answered && answered->kind == number(FrameKind::kDone) &&
         decode_status(answered->payload).ok();
}

void AgentLink::say_once(std::string_view text) noexcept {
  const Status sent = channel_.send(number(FrameKind::kSayOnce), 0, std::as_bytes(std::span(text)));
  static_cast<void>(sent.ok());  // Without the agent this process is about to end.
}

void AgentLink::leave(std::uint32_t rank) noexcept {
  {
    MutexLock lock(mutex_);
    leaving_ = true;
  }
  const Result<Frame> answered =
      request(FrameKind::kGoodbye, encode_reference({BlobHandle{.index = rank}, {}}));
  static_cast<void>(answered.has_value());  // Gone or not, there is nothing left to do.
}

void AgentLink::wait_for_end_of_agent() noexcept {
  MutexLock lock(mutex_);
  while (!closed_) {
    arrived_.wait(mutex_);
  }
}

Result<Frame> AgentLink::request(FrameKind kind, std::span<const std::byte> payload,
                                 std::span<const int> descriptors) {
  const Result<std::uint64_t> id = begin_request(kind, payload, descriptors);
  if (!id) {
    return id.error();
  }
  Result<Frame> answer = await_answer(*id);
  forget_request(*id);
  return answer;
}

Result<std::uint64_t> AgentLink::begin_request(FrameKind kind, std::span<const std::byte> payload,
                                               std::span<const int> descriptors) {
  std::uint64_t id = 0;
  {
    MutexLock lock(mutex_);
    if (closed_) {
      return gone();
    }
    id = ++request_count_;
    requests_[id];
  }
  Status sent = channel_.send(number(kind), id, payload, descriptors);
  if (!sent.ok()) {
    forget_request(id);
    return sent;
  }
  return id;
}

Result<Frame> AgentLink::await_answer(std::uint64_t id) {
  MutexLock lock(mutex_);
  std::optional<Frame>& answer = requests_.at(id);
  while (!answer && !closed_) {
    arrived_.wait(mutex_);
  }
  if (!answer) {
    return gone();
  }
  return *std::move(answer);
}

void AgentLink::forget_request(std::uint64_t id) noexcept {
  MutexLock lock(mutex_);
  requests_.erase(id);
}

void AgentLink::read_frames() {
  Status end = gone();
  while (true) {
    Result<std::optional<Frame>> frame = channel_.receive();
    if (!frame) {
      end = std::move(frame).error();
      break;
    }
    if (!frame->has_value()) {
      break;
    }
    sort_in(std::move(**frame));
  }
  bool expected = false;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    expected = leaving_;
  }
  arrived_.notify_all();
  if (!expected) {
    exit_with(end);
  }
}

void AgentLink::sort_in(Frame frame) {
  {
    MutexLock lock(mutex_);
    if (frame.kind == number(FrameKind::kControl)) {
      inbox_.push_back(std::move(frame.payload));
    } else if (const auto waiting = requests_.find(frame.request); waiting != requests_.end()) {
      waiting->second = std::move(frame);
    }
  }
  arrived_.notify_all();
}

}  // namespace pinion
