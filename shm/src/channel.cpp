#include <pinion/shm/channel.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <string>

#include <pinion/core/thread_annotations.hpp>

namespace pinion {
namespace {

// A frame on the wire, little-endian: magic u32, kind u16, descriptor count u16, payload length
// u32, reserved u32 (zero), request u64, then the payload. The descriptors travel with the first
// byte, and the reader never asks for more bytes than the frame in hand has left: so the kernel
// cannot hand it descriptors of the next frame.
constexpr std::uint32_t kMagic = 0x464e4950;  // "PINF" on the wire.
constexpr std::size_t kHeaderBytes = 24;
using HeaderBytes = std::array<std::byte, kHeaderBytes>;

// A payload grows as it arrives, so that a header that lies costs no memory.
constexpr std::size_t kPayloadStepBytes = std::size_t{1} << 20;

enum class Wait { kNo, kYes };

template <class Integer>
void put(HeaderBytes& header, std::size_t offset, Integer value) noexcept {
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    header[offset + i] = static_cast<std::byte>((value >> (8 * i)) & 0xff);
  }
}

template <class Integer>
Integer take(const HeaderBytes& header, std::size_t offset) noexcept {
  Integer value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    value = static_cast<Integer>(
        value | static_cast<Integer>(std::to_integer<Integer>(header[offset + i]) << (8 * i)));
  }
  return value;
}

// What a writer needs to know of a frame; everything is borrowed.
struct FrameView {
  HeaderBytes header = {};
  std::span<const std::byte> payload;
  std::span<const int> descriptors;

  [[nodiscard]] std::size_t size_bytes() const noexcept { return kHeaderBytes + payload.size(); }
};

// A frame that waits in the outbox.
struct WaitingFrame {
  HeaderBytes header = {};
  std::vector<std::byte> payload;
  std::vector<UniqueFd> owned;
  std::vector<int> descriptors;  // The numbers of `owned`, as the kernel wants them.
  std::size_t written_bytes = 0;

  [[nodiscard]] FrameView view() const noexcept { return {header, payload, descriptors}; }
};

// The frame that is being read.
struct PartialFrame {
  HeaderBytes header = {};
  std::size_t header_bytes = 0;
  std::size_t payload_bytes = 0;
  std::size_t payload_size = 0;      // As announced; valid once the header is whole.
  std::size_t descriptor_count = 0;  // The same.
  Frame frame;
};

HeaderBytes make_header(std::uint16_t kind, std::uint64_t request, std::size_t payload_size,
                        std::size_t descriptor_count) noexcept {
  HeaderBytes header = {};
  put<std::uint32_t>(header, 0, kMagic);
  put<std::uint16_t>(header, 4, kind);
  put<std::uint16_t>(header, 6, static_cast<std::uint16_t>(descriptor_count));
  put<std::uint32_t>(header, 8, static_cast<std::uint32_t>(payload_size));
  put<std::uint64_t>(header, 16, request);
  return header;
}

Status check_outgoing(std::span<const std::byte> payload, std::span<const int> descriptors) {
  if (payload.size() > kFramePayloadBytesMax) {
    return Status(ErrorCode::kInvalidArgument,
                  "a frame carries at most " + std::to_string(kFramePayloadBytesMax) +
                      " bytes, not " + std::to_string(payload.size()) + "; send a blob instead");
  }
  if (descriptors.size() > kFrameDescriptorCountMax) {
    return Status(ErrorCode::kInvalidArgument,
                  "a frame carries at most " + std::to_string(kFrameDescriptorCountMax) +
                      " descriptors, not " + std::to_string(descriptors.size()));
  }
  return {};
}

void wait_until_ready(int socket, short events) noexcept {
  pollfd request = {.fd = socket, .events = events, .revents = 0};
  // Whatever it answers, the next read or write says what is the matter.
  static_cast<void>(::poll(&request, 1, -1));
}

constexpr std::size_t kControlBytes = CMSG_SPACE(kFrameDescriptorCountMax * sizeof(int));

ssize_t write_part(int socket, const FrameView& frame, std::size_t written_bytes, Wait wait) {
  std::array<iovec, 2> parts = {};
  std::size_t part_count = 0;
  const auto add = [&](std::span<const std::byte> bytes) {
    // iovec has no const; sendmsg does not write.
    parts[part_count++] = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  };
  if (written_bytes < kHeaderBytes) {
    add(std::span(frame.header).subspan(written_bytes));
  }
  const std::size_t payload_begin = std::max(written_bytes, kHeaderBytes) - kHeaderBytes;
  if (payload_begin < frame.payload.size()) {
    add(frame.payload.subspan(payload_begin));
  }
  msghdr message = {};
  message.msg_iov = parts.data();
  message.msg_iovlen = part_count;
  alignas(cmsghdr) std::array<std::byte, kControlBytes> control = {};
  if (written_bytes == 0 && !frame.descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(frame.descriptors.size_bytes());
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(frame.descriptors.size_bytes());
    std::memcpy(CMSG_DATA(rights), frame.descriptors.data(), frame.descriptors.size_bytes());
  }
  return ::sendmsg(socket, &message, MSG_NOSIGNAL | (wait == Wait::kNo ? MSG_DONTWAIT : 0));
}

Status write_failure(int native) {
  constexpr const char* kWhat = "writing a frame to the peer's socket";
  switch (native) {
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
      return Status::from_native(ErrorOrigin::kErrno, native, ErrorCode::kUnavailable,
                                 "the peer is gone: its end of the socket is closed");
    case EBADF:
      return Status::from_native(ErrorOrigin::kErrno, native, ErrorCode::kInvalidArgument,
                                 "a descriptor that was to be sent is not open");
    case ETOOMANYREFS:
    case ENOBUFS:
      return Status::from_native(ErrorOrigin::kErrno, native, ErrorCode::kResourceExhausted,
                                 "the kernel has no room for a frame: too many descriptors in "
                                 "flight or no buffers; let the peer read first");
    default:
      return Status::from_errno(native, kWhat);
  }
}

// True when the whole frame is out, false when the kernel takes no more at the moment.
Result<bool> write_frame(int socket, const FrameView& frame, std::size_t& written_bytes,
                         Wait wait) {
  while (written_bytes < frame.size_bytes()) {
    const ssize_t count = write_part(socket, frame, written_bytes, wait);
    if (count >= 0) {
      written_bytes += static_cast<std::size_t>(count);
    } else if (errno == EAGAIN && wait == Wait::kNo) {
      return false;
    } else if (errno == EAGAIN) {
      wait_until_ready(socket, POLLOUT);
    } else if (errno != EINTR) {
      return write_failure(errno);
    }
  }
  return true;
}

// Every descriptor of a message is owned before anything is judged, so that none leaks.
void adopt_descriptors(msghdr& message, std::vector<UniqueFd>& descriptors) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      descriptors.emplace_back(descriptor);
    }
  }
}

Status broken_frame(const std::string& what) {
  return Status(ErrorCode::kDataLoss, "the peer sent a broken frame: " + what);
}

Status parse_header(PartialFrame& partial) {
  const HeaderBytes& header = partial.header;
  const auto magic = take<std::uint32_t>(header, 0);
  const auto reserved = take<std::uint32_t>(header, 12);
  partial.descriptor_count = take<std::uint16_t>(header, 6);
  partial.payload_size = take<std::uint32_t>(header, 8);
  if (magic != kMagic || reserved != 0) {
    return broken_frame("its header begins with " + std::to_string(magic) + ", expected " +
                        std::to_string(kMagic) + ", and has " + std::to_string(reserved) +
                        " in the reserved word, expected 0");
  }
  if (partial.payload_size > kFramePayloadBytesMax) {
    return broken_frame("it announces " + std::to_string(partial.payload_size) +
                        " bytes; the limit is " + std::to_string(kFramePayloadBytesMax));
  }
  if (partial.descriptor_count > kFrameDescriptorCountMax) {
    return broken_frame("it announces " + std::to_string(partial.descriptor_count) +
                        " descriptors; the limit is " + std::to_string(kFrameDescriptorCountMax));
  }
  partial.frame.kind = take<std::uint16_t>(header, 4);
  partial.frame.request = take<std::uint64_t>(header, 16);
  return {};
}

Status check_descriptors(const PartialFrame& partial) {
  if (partial.frame.descriptors.size() == partial.descriptor_count) {
    return {};
  }
  return broken_frame("it announces " + std::to_string(partial.descriptor_count) +
                      " descriptors and brings " +
                      std::to_string(partial.frame.descriptors.size()));
}

}  // namespace

struct Channel::State {
  explicit State(UniqueFd connected) noexcept : socket(std::move(connected)) {}

  enum class ReadOutcome { kBytes, kNothingYet, kEndOfFile };

  const UniqueFd socket;

  mutable Mutex mutex;
  std::deque<WaitingFrame> outbox PINION_GUARDED_BY(mutex);
  std::size_t outbox_bytes PINION_GUARDED_BY(mutex) = 0;
  Status write_error PINION_GUARDED_BY(mutex);  // Of the first failure that broke the stream.

  // Only the one thread that receives uses these.
  PartialFrame partial;
  Status read_error;

  // A stream that ends inside a frame cannot be taken up again.
  Status break_writing(const Status& error) PINION_REQUIRES(mutex) {
    write_error = error;
    outbox.clear();
    outbox_bytes = 0;
    return error;
  }

  // True when nothing waits any more.
  Result<bool> drain(Wait wait) PINION_REQUIRES(mutex) {
    PINION_RETURN_IF_ERROR(Status(write_error));
    while (!outbox.empty()) {
      WaitingFrame& front = outbox.front();
      const std::size_t before = front.written_bytes;
      const Result<bool> whole = write_frame(socket.get(), front.view(), front.written_bytes, wait);
      outbox_bytes -= front.written_bytes - before;
      if (!whole) {
        return settle(whole.error(), front.written_bytes);
      }
      if (!*whole) {
        return false;
      }
      outbox.pop_front();
    }
    return true;
  }

  // A frame of which nothing is out may fail alone, unless the peer is gone.
  Status settle(const Status& error, std::size_t written_bytes) PINION_REQUIRES(mutex) {
    const bool stream_is_whole = written_bytes == 0 && error.code() != ErrorCode::kUnavailable;
    return stream_is_whole ? error : break_writing(error);
  }

  Status break_reading(Status error) {
    partial = {};
    read_error = std::move(error);
    static_cast<void>(::shutdown(socket.get(), SHUT_RDWR));
    return read_error;
  }

  // Reads into `target` and moves its begin forward.
  Result<ReadOutcome> read_part(std::span<std::byte>& target, Wait wait) {
    iovec part = {target.data(), target.size()};
    alignas(cmsghdr) std::array<std::byte, kControlBytes> control = {};
    for (;;) {
      msghdr message = {};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      const ssize_t count = ::recvmsg(socket.get(), &message,
                                      MSG_CMSG_CLOEXEC | (wait == Wait::kNo ? MSG_DONTWAIT : 0));
      if (count >= 0) {
        adopt_descriptors(message, partial.frame.descriptors);
        if ((message.msg_flags & MSG_CTRUNC) != 0) {
          return broken_frame("its descriptors do not fit; it brings more than " +
                              std::to_string(kFrameDescriptorCountMax) +
                              " or this process may open no more files");
        }
        target = target.subspan(static_cast<std::size_t>(count));
        return count == 0 ? ReadOutcome::kEndOfFile : ReadOutcome::kBytes;
      }
      if (errno == EAGAIN && wait == Wait::kNo) {
        return ReadOutcome::kNothingYet;
      }
      if (errno == EAGAIN) {
        wait_until_ready(socket.get(), POLLIN);
      } else if (errno == ECONNRESET) {
        return Status::from_native(ErrorOrigin::kErrno, ECONNRESET, ErrorCode::kUnavailable,
                                   "the peer went away without reading what was sent to it");
      } else if (errno != EINTR) {
        return Status::from_errno(errno, "reading a frame from the peer's socket");
      }
    }
  }

  // Goes on with the frame in hand: kBytes when it is whole.
  Result<ReadOutcome> read_frame(Wait wait) {
    while (partial.header_bytes < kHeaderBytes) {
      std::span<std::byte> rest = std::span(partial.header).subspan(partial.header_bytes);
      Result<ReadOutcome> outcome = read_part(rest, wait);
      partial.header_bytes = kHeaderBytes - rest.size();
      if (!outcome || *outcome != ReadOutcome::kBytes) {
        return outcome;
      }
      if (partial.header_bytes == kHeaderBytes) {
        PINION_RETURN_IF_ERROR(parse_header(partial));
        PINION_RETURN_IF_ERROR(check_descriptors(partial));
      }
    }
    std::vector<std::byte>& payload = partial.frame.payload;
    while (partial.payload_bytes < partial.payload_size) {
      if (partial.payload_bytes == payload.size()) {
        payload.resize(std::min(partial.payload_size, payload.size() + kPayloadStepBytes));
      }
      std::span<std::byte> rest = std::span(payload).subspan(partial.payload_bytes);
      Result<ReadOutcome> outcome = read_part(rest, wait);
      partial.payload_bytes = payload.size() - rest.size();
      if (!outcome || *outcome != ReadOutcome::kBytes) {
        return outcome;
      }
      // Those that ride on the payload belong to nothing.
      PINION_RETURN_IF_ERROR(check_descriptors(partial));
    }
    return ReadOutcome::kBytes;
  }

  // kBytes and kEndOfFile between frames are left to the caller.
  Result<ReadOutcome> advance(Wait wait) {
    PINION_RETURN_IF_ERROR(Status(read_error));
    Result<ReadOutcome> outcome = read_frame(wait);
    if (!outcome) {
      return break_reading(std::move(outcome).error());
    }
    if (*outcome == ReadOutcome::kEndOfFile && partial.header_bytes > 0) {
      return break_reading(Status(ErrorCode::kUnavailable,
                                  "the peer went away inside a frame, after " +
                                      std::to_string(partial.header_bytes) + " of " +
                                      std::to_string(kHeaderBytes) + " header bytes and " +
                                      std::to_string(partial.payload_bytes) + " payload bytes"));
    }
    return outcome;
  }

  Frame take_frame() { return std::exchange(partial, PartialFrame()).frame; }
};

Channel::Channel(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Channel::~Channel() = default;
Channel::Channel(Channel&&) noexcept = default;
Channel& Channel::operator=(Channel&&) noexcept = default;

Result<std::pair<Channel, Channel>> Channel::create_pair() {
  std::array<int, 2> ends = {};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return Status::from_errno(errno, "socketpair");
  }
  return std::pair(Channel(std::make_unique<State>(UniqueFd(ends[0]))),
                   Channel(std::make_unique<State>(UniqueFd(ends[1]))));
}

Result<Channel> Channel::adopt(UniqueFd socket) {
  int domain = 0;
  int type = 0;
  socklen_t size = sizeof(int);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 ||
      ::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
    return Status::from_native(ErrorOrigin::kErrno, errno, ErrorCode::kInvalidArgument,
                               "descriptor " + std::to_string(socket.get()) + " is not a socket");
  }
  if (domain != AF_UNIX || type != SOCK_STREAM) {
    return Status(ErrorCode::kInvalidArgument,
                  "descriptor " + std::to_string(socket.get()) + " is a socket of domain " +
                      std::to_string(domain) + " and type " + std::to_string(type) +
                      ", expected a Unix stream socket");
  }
  if (::fcntl(socket.get(), F_SETFD, FD_CLOEXEC) != 0) {
    return Status::from_errno(errno, "fcntl(F_SETFD)");
  }
  return Channel(std::make_unique<State>(std::move(socket)));
}

Status Channel::send(std::uint16_t kind, std::uint64_t request, std::span<const std::byte> payload,
                     std::span<const int> descriptors) {
  PINION_RETURN_IF_ERROR(check_outgoing(payload, descriptors));
  const FrameView frame = {make_header(kind, request, payload.size(), descriptors.size()), payload,
                           descriptors};
  MutexLock lock(state_->mutex);
  if (const Result<bool> empty = state_->drain(Wait::kYes); !empty) {
    return empty.error();
  }
  std::size_t written_bytes = 0;
  const Result<bool> whole = write_frame(state_->socket.get(), frame, written_bytes, Wait::kYes);
  return whole ? Status() : state_->settle(whole.error(), written_bytes);
}

Result<std::optional<Frame>> Channel::receive() {
  const Result<State::ReadOutcome> outcome = state_->advance(Wait::kYes);
  if (!outcome) {
    return outcome.error();
  }
  if (*outcome == State::ReadOutcome::kEndOfFile) {
    return std::optional<Frame>();
  }
  return std::optional<Frame>(state_->take_frame());
}

Status Channel::enqueue(std::uint16_t kind, std::uint64_t request,
                        std::span<const std::byte> payload, std::span<const int> descriptors) {
  PINION_RETURN_IF_ERROR(check_outgoing(payload, descriptors));
  WaitingFrame frame;
  frame.header = make_header(kind, request, payload.size(), descriptors.size());
  for (const int descriptor : descriptors) {
    const UniqueFd& copy = frame.owned.emplace_back(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
    if (!copy.valid()) {
      return errno == EBADF
                 ? write_failure(EBADF)
                 : Status::from_errno(errno, "duplicating a descriptor that is to be sent");
    }
    frame.descriptors.push_back(copy.get());
  }
  frame.payload.assign(payload.begin(), payload.end());
  const std::size_t size_bytes = frame.view().size_bytes();

  MutexLock lock(state_->mutex);
  PINION_RETURN_IF_ERROR(Status(state_->write_error));
  if (state_->outbox_bytes + size_bytes > kOutboxBytesMax) {
    return Status(ErrorCode::kResourceExhausted,
                  "a frame of " + std::to_string(size_bytes) + " bytes finds " +
                      std::to_string(state_->outbox_bytes) + " of " +
                      std::to_string(kOutboxBytesMax) +
                      " bytes waiting already: the peer does not read");
  }
  state_->outbox.push_back(std::move(frame));
  state_->outbox_bytes += size_bytes;
  const Result<bool> empty = state_->drain(Wait::kNo);
  // The frame is in the outbox: want of room in the kernel is for flush() to report.
  return empty || state_->write_error.ok() ? Status() : empty.error();
}

Status Channel::flush() {
  MutexLock lock(state_->mutex);
  const Result<bool> empty = state_->drain(Wait::kNo);
  return empty ? Status() : empty.error();
}

bool Channel::wants_write() const {
  return outbox_bytes() > 0;
}

std::size_t Channel::outbox_bytes() const {
  MutexLock lock(state_->mutex);
  return state_->outbox_bytes;
}

Result<std::optional<Frame>> Channel::try_receive() {
  const Result<State::ReadOutcome> outcome = state_->advance(Wait::kNo);
  if (!outcome) {
    return outcome.error();
  }
  switch (*outcome) {
    case State::ReadOutcome::kNothingYet:
      return std::optional<Frame>();
    case State::ReadOutcome::kBytes:
      return std::optional<Frame>(state_->take_frame());
    case State::ReadOutcome::kEndOfFile:
      break;
  }
  return Status(ErrorCode::kUnavailable, "the peer closed its end of the channel");
}

void Channel::shutdown() noexcept {
  static_cast<void>(::shutdown(descriptor(), SHUT_RDWR));
}

int Channel::descriptor() const noexcept {
  return state_->socket.get();
}

Result<PeerCredentials> Channel::peer() const {
  ucred credentials = {};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(descriptor(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return Status::from_errno(errno, "getsockopt(SO_PEERCRED)");
  }
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

}  // namespace pinion
