#include "transport/frames.hpp"

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conformance/transport_sides.hpp"

namespace pinion::detail {
namespace {

using testing::HasSubstr;
using testing_transport::pattern;

TEST(Frames, ComeBackAsTheyWereWritten) {
  std::vector<std::byte> batch;
  append_frame(batch, {.kind = FrameKind::kMessage}, pattern(10, 1), pattern(20, 2));
  append_frame(batch, {.kind = FrameKind::kReply, .id = 7});
  append_error(batch, FrameKind::kReply, 8, Status(ErrorCode::kAborted, "no"));
  FrameReader reader(batch);
  const std::optional<Frame> message = reader.next();
  ASSERT_TRUE(message);
  EXPECT_EQ(message->header.kind, FrameKind::kMessage);
  EXPECT_EQ(message->bytes.size(), 30u);
  EXPECT_EQ(message->bytes[10], pattern(20, 2)[0]);
  EXPECT_TRUE(message->status().ok());
  const std::optional<Frame> reply = reader.next();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->header.id, 7u);
  EXPECT_TRUE(reply->bytes.empty());
  const std::optional<Frame> error = reader.next();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->header.id, 8u);
  EXPECT_EQ(error->status().to_string(), "ABORTED: no");
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.damaged());
}

TEST(Frames, EndWhereTheyAreCutOff) {
  std::vector<std::byte> batch;
  append_frame(batch, {.kind = FrameKind::kMessage}, pattern(10, 1));
  for (std::size_t size = 1; size < batch.size(); ++size) {
    FrameReader reader(std::span<const std::byte>(batch).first(size));
    EXPECT_FALSE(reader.next()) << size;
    EXPECT_TRUE(reader.damaged()) << size;
  }
}

TEST(Frames, AnErrorOfAnUnknownNumberIsStillOne) {
  EXPECT_EQ((Frame{.header = {.error = 200}}).status().code(), ErrorCode::kUnknown);
}

TEST(Frames, LongWordsAreCut) {
  std::vector<std::byte> batch;
  append_error(batch, FrameKind::kReply, 8, Status(ErrorCode::kAborted, std::string(1 << 20, 'x')));
  EXPECT_LT(batch.size(), 5000u);
}

TEST(Hello, ComesBackAsItWasWritten) {
  const Hello hello = {.host = 1,
                       .expected_host = 2,
                       .incarnation = 3,
                       .window_bytes = 4,
                       .job_key = {.job = 8, .epoch = 9, .proof = {std::byte{10}, std::byte{11}}},
                       .pinion_version = "5.6.7",
                       .link_version = "a link"};
  EXPECT_EQ(*decode_hello(encode(hello)), hello);
}

TEST(Hello, IsRefusedWithWords) {
  const std::vector<std::byte> whole = encode(Hello{.pinion_version = "1", .link_version = "2"});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Result<Hello> cut = decode_hello(std::span<const std::byte>(whole).first(size));
    ASSERT_FALSE(cut) << size;
    EXPECT_EQ(cut.error().code(), ErrorCode::kFailedPrecondition);
  }
  EXPECT_THAT(std::string(decode_hello(pattern(100, 1)).error().message()),
              HasSubstr("100 bytes that no agent of Pinion sends"));
  EXPECT_THAT(std::string(decode_hello(encode(Hello{.protocol = 1})).error().message()),
              HasSubstr("it speaks protocol 1, this host protocol 2"));
}

}  // namespace
}  // namespace pinion::detail
