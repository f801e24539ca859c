#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/core/transport.hpp>

namespace pinion::detail {

// The numbers of the wire are those of the machine.
static_assert(std::endian::native == std::endian::little);

/// Of the frames in this file; both ends must have the same.
inline constexpr std::uint32_t kProtocolVersion = 2;

/// What one send of a link carries: this, then frames up to its end.
struct BatchHeader {
  std::uint32_t sequence = 0;  ///< Counts the batches of a connection, from 0.
  std::uint32_t length = 0;    ///< Of all that follows.
};
static_assert(sizeof(BatchHeader) == 8);

enum class FrameKind : std::uint8_t {
  kHello = 1,
  kWelcome,
  kRefuse,  ///< An error. The last frame of its connection.
  kMessage,
  kRequest,    ///< id: the request's.
  kReply,      ///< id: the request's. An error, or the reply.
  kCredit,     ///< id: the cost of all that was taken since the connection began.
  kPull,       ///< id: the pull's. The handle, or a BlobPart.
  kPullBytes,  ///< id: the pull's. A checksum, then the whole of a small blob.
  kPullEnd,    ///< id: the pull's. From the owner an error; from the puller: it wants no more.
  kPing,
  kPong,
  kGoodbye,
};

struct FrameHeader {
  std::uint32_t length = 0;  ///< Of the bytes that follow.
  FrameKind kind = FrameKind::kPing;
  std::uint8_t error = 0;  ///< An ErrorCode; the bytes are then its words.
  std::uint16_t zero = 0;
  std::uint64_t id = 0;
};
static_assert(sizeof(FrameHeader) == 16);

struct Frame {
  FrameHeader header = {};
  std::span<const std::byte> bytes = {};

  /// What the frame says if it is an error; success if it is none.
  [[nodiscard]] Status status() const;
};

/// Reads the frames of a batch, of which it trusts nothing.
class FrameReader {
 public:
  explicit FrameReader(std::span<const std::byte> frames) noexcept : rest_(frames) {}

  /// The next frame; nothing at the end, and from a frame on that is none: damaged() is true then.
  [[nodiscard]] std::optional<Frame> next() noexcept;
  [[nodiscard]] bool damaged() const noexcept { return damaged_; }

 private:
  std::span<const std::byte> rest_;
  bool damaged_ = false;
};

/// Appends a frame to `batch`; its bytes are `first` and then `second`.
void append_frame(std::vector<std::byte>& batch, FrameHeader header,
                  std::span<const std::byte> first = {}, std::span<const std::byte> second = {});

/// Appends a frame that says `error`, cut to a length that fits every window.
void append_error(std::vector<std::byte>& batch, FrameKind kind, std::uint64_t id,
                  const Status& error);

/// How two ends introduce themselves.
struct Hello {
  std::uint32_t protocol = kProtocolVersion;
  std::uint32_t host = 0;
  std::uint32_t expected_host = 0;  ///< Whom the sender takes the receiver for.
  std::uint64_t incarnation = 0;    ///< Which life of the sender it is.
  std::uint64_t window_bytes = 0;   ///< What it gives credit for.
  JobKey job_key = {};
  std::string pinion_version = {};
  std::string link_version = {};

  friend bool operator==(const Hello&, const Hello&) = default;
};

[[nodiscard]] std::vector<std::byte> encode(const Hello& hello);

/// Errors: kFailedPrecondition for what is no greeting of Pinion, and for another protocol.
[[nodiscard]] Result<Hello> decode_hello(std::span<const std::byte> bytes);

}  // namespace pinion::detail
