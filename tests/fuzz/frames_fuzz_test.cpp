// The decoders of what ranks and their agent send to each other, on frames and messages of their
// ring that are nearly right.

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "frames.hpp"
#include "mutate.hpp"
#include "runtime/some_frames.hpp"

namespace pinion {
namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// In a block of exactly their size, so that a sanitizer sees every read beyond them.
std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

// Numbers may be written in several ways, so what is read is written and read again.
template <class Decode, class Encode>
void expect_whole_or_refused(const std::string& text, Decode decode, Encode encode) {
  const auto decoded = decode(bytes_of(text));
  if (!decoded) {
    EXPECT_EQ(decoded.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_FALSE(decoded.error().message().empty());
    return;
  }
  const std::vector<std::byte> written = encode(*decoded);
  const auto again = decode(written);
  ASSERT_TRUE(again.has_value()) << again.error().to_string();
  EXPECT_EQ(encode(*again), written);
}

TEST(FramesFuzz, WhatHasFieldsIsWholeOrRefused) {
  const std::vector<std::string> hellos = {
      text_of(encode_hello({.version = "1.2.3", .pid = 4194304})), text_of(encode_hello({}))};
  const std::vector<std::string> welcomes = {text_of(encode_welcome(example_welcome())),
                                             text_of(encode_welcome({}))};
  const std::vector<std::string> losses = {
      text_of(encode_device_loss({.uuid = "GPU-1",
                                  .name = "a \xff device",
                                  .number = 7,
                                  .error = Status(ErrorCode::kDataLoss, "an ECC error")}))};
  fuzz::for_each_trial([&](fuzz::Mutator& mutator, std::uint64_t) {
    expect_whole_or_refused(mutator.mutate(hellos), decode_hello, encode_hello);
    expect_whole_or_refused(mutator.mutate(welcomes), decode_welcome, encode_welcome);
    const std::string loss = mutator.mutate(losses);
    expect_whole_or_refused(loss, decode_device_loss, encode_device_loss);
    if (const Result<DeviceLoss> lost = decode_device_loss(bytes_of(loss))) {
      EXPECT_FALSE(lost->error.ok()) << "a device is lost for which nothing failed";
    }
  });
}

void expect_its_size_only(const std::vector<std::byte>& bytes) {
  EXPECT_EQ(decode_reference(bytes).has_value(), bytes.size() == sizeof(BlobReference));
  EXPECT_EQ(decode_ring_address(bytes).has_value(), bytes.size() == sizeof(RingAddress));
  EXPECT_EQ(decode_slab_request(bytes).has_value(), bytes.size() == sizeof(SlabRequest));
  EXPECT_EQ(decode_slab_reply(bytes).has_value(), bytes.size() == sizeof(SlabReply));
  EXPECT_EQ(decode_held(bytes).has_value(), bytes.size() == sizeof(std::uint64_t));
  EXPECT_EQ(decode_parts(bytes).has_value(),
            !bytes.empty() && bytes.size() % sizeof(BlobPart) == 0);
}

// The bytes of a message of a ring, which gives out none that says to be longer than it can be.
void expect_its_size_only(std::string image) {
  RingMessage message;
  image.resize(sizeof(message));
  std::memcpy(&message, image.data(), sizeof(message));
  message.length_bytes =
      static_cast<std::uint32_t>(message.length_bytes % (kRingPayloadBytesMax + 1));
  EXPECT_EQ(read_let_go(message).has_value(), message.length_bytes == sizeof(BlobHandle));
  EXPECT_EQ(read_give_back_slab(message).has_value(),
            message.length_bytes == sizeof(std::uint32_t));
  EXPECT_EQ(check_ask_held(message).ok(), message.length_bytes == 0);
  EXPECT_EQ(read_held(message).has_value(), message.length_bytes == sizeof(std::uint64_t));
}

TEST(FramesFuzz, WhatHasOneSizeIsReadInThatSizeOnlyAndAStatusInAny) {
  const BlobPart part = {};
  const std::vector<std::string> frames = {
      text_of(encode_reference({})),
      text_of(encode_ring_address({})),
      text_of(encode_slab_request({})),
      text_of(encode_slab_reply({})),
      text_of(encode_held(1)),
      text_of(encode_parts({&part, 1})),
      text_of(encode_status(Status(ErrorCode::kAborted, "no")))};
  const RingMessage let_go = make_let_go({.job = 1, .generation = 2});
  const RingMessage held = make_held(5, 6);
  const std::vector<std::string> messages = {text_of(std::as_bytes(std::span(&let_go, 1))),
                                             text_of(std::as_bytes(std::span(&held, 1)))};
  fuzz::for_each_trial([&](fuzz::Mutator& mutator, std::uint64_t) {
    const std::vector<std::byte> bytes = bytes_of(mutator.mutate(frames));
    expect_its_size_only(bytes);
    const Status status = decode_status(bytes);
    const Status again = decode_status(encode_status(status));
    EXPECT_EQ(again.code(), status.code());
    EXPECT_EQ(again.message(), status.message());
    expect_its_size_only(mutator.mutate(messages));
  });
}

}  // namespace
}  // namespace pinion
