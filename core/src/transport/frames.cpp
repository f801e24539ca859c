#include "transport/frames.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace pinion::detail {
namespace {

constexpr std::uint64_t kMagic = 0x6b6e696c'6e696e70;  // "pninlink"
constexpr std::size_t kErrorBytesMax = 4096;
constexpr std::size_t kVersionBytesMax = 256;

// The fixed part of a Hello; then come two texts of the given lengths. Magic and protocol stay
// where they are in every protocol, so that another one can be named.
struct HelloHead {
  std::uint64_t magic = kMagic;
  std::uint32_t protocol = 0;
  std::uint32_t host = 0;
  std::uint32_t expected_host = 0;
  std::uint32_t epoch = 0;
  std::uint64_t job = 0;
  std::array<std::byte, 32> proof = {};
  std::uint64_t incarnation = 0;
  std::uint64_t window_bytes = 0;
  std::uint32_t pinion_version_bytes = 0;
  std::uint32_t link_version_bytes = 0;
};
static_assert(sizeof(HelloHead) == 88);

void append(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Status Frame::status() const {
  if (header.error == 0) {
    return {};
  }
  // A number that this side does not know is still an error.
  return {error_info(static_cast<ErrorCode>(header.error)).code, text_of(bytes)};
}

std::optional<Frame> FrameReader::next() noexcept {
  if (rest_.empty() || damaged_) {
    return std::nullopt;
  }
  Frame frame;
  damaged_ = rest_.size() < sizeof(FrameHeader);
  if (damaged_) {
    return std::nullopt;
  }
  std::memcpy(&frame.header, rest_.data(), sizeof(FrameHeader));
  rest_ = rest_.subspan(sizeof(FrameHeader));
  damaged_ = frame.header.length > rest_.size() || frame.header.zero != 0 ||
             frame.header.kind < FrameKind::kHello || frame.header.kind > FrameKind::kGoodbye;
  if (damaged_) {
    return std::nullopt;
  }
  frame.bytes = rest_.first(frame.header.length);
  rest_ = rest_.subspan(frame.header.length);
  return frame;
}

void append_frame(std::vector<std::byte>& batch, FrameHeader header,
                  std::span<const std::byte> first, std::span<const std::byte> second) {
  header.length = static_cast<std::uint32_t>(first.size() + second.size());
  append(batch, std::as_bytes(std::span(&header, 1)));
  append(batch, first);
  append(batch, second);
}

void append_error(std::vector<std::byte>& batch, FrameKind kind, std::uint64_t id,
                  const Status& error) {
  const std::string_view words = error.message().substr(0, kErrorBytesMax);
  append_frame(batch, {.kind = kind, .error = static_cast<std::uint8_t>(error.code()), .id = id},
               std::as_bytes(std::span(words.data(), words.size())));
}

std::vector<std::byte> encode(const Hello& hello) {
  const std::string pinion_version = hello.pinion_version.substr(0, kVersionBytesMax);
  const std::string link_version = hello.link_version.substr(0, kVersionBytesMax);
  const HelloHead head = {.protocol = hello.protocol,
                          .host = hello.host,
                          .expected_host = hello.expected_host,
                          .epoch = hello.job_key.epoch,
                          .job = hello.job_key.job,
                          .proof = hello.job_key.proof,
                          .incarnation = hello.incarnation,
                          .window_bytes = hello.window_bytes,
                          .pinion_version_bytes = static_cast<std::uint32_t>(pinion_version.size()),
                          .link_version_bytes = static_cast<std::uint32_t>(link_version.size())};
  std::vector<std::byte> bytes(sizeof(head) + pinion_version.size() + link_version.size());
  auto at = std::ranges::copy(std::as_bytes(std::span(&head, 1)), bytes.begin()).out;
  at = std::ranges::copy(std::as_bytes(std::span(pinion_version)), at).out;
  std::ranges::copy(std::as_bytes(std::span(link_version)), at);
  return bytes;
}

Result<Hello> decode_hello(std::span<const std::byte> bytes) {
  HelloHead head;
  std::ranges::copy(bytes.first(std::min(bytes.size(), sizeof(head))),
                    std::as_writable_bytes(std::span(&head, 1)).begin());
  constexpr std::size_t kFixed = offsetof(HelloHead, host);
  if (bytes.size() < kFixed || head.magic != kMagic) {
    return Status(ErrorCode::kFailedPrecondition,
                  "it greets with " + std::to_string(bytes.size()) +
                      " bytes that no agent of Pinion sends; something else has this address");
  }
  if (head.protocol != kProtocolVersion) {
    return Status(ErrorCode::kFailedPrecondition,
                  "it speaks protocol " + std::to_string(head.protocol) + ", this host protocol " +
                      std::to_string(kProtocolVersion) +
                      "; run the same version of Pinion on all hosts");
  }
  const std::size_t texts = std::size_t{head.pinion_version_bytes} + head.link_version_bytes;
  if (bytes.size() != sizeof(head) + texts || texts > 2 * kVersionBytesMax) {
    return Status(ErrorCode::kFailedPrecondition,
                  "its greeting is damaged: " + std::to_string(bytes.size()) +
                      " bytes instead of " + std::to_string(sizeof(head) + texts));
  }
  const std::span<const std::byte> words = bytes.subspan(sizeof(head));
  return Hello{.protocol = head.protocol,
               .host = head.host,
               .expected_host = head.expected_host,
               .incarnation = head.incarnation,
               .window_bytes = head.window_bytes,
               .job_key = {.job = head.job, .epoch = head.epoch, .proof = head.proof},
               .pinion_version = text_of(words.first(head.pinion_version_bytes)),
               .link_version = text_of(words.subspan(head.pinion_version_bytes))};
}

}  // namespace pinion::detail
