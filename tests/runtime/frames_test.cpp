#include "frames.hpp"

#include <array>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "runtime/some_frames.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text) {
  Bytes bytes;
  for (const char c : text) {
    bytes.push_back(static_cast<std::byte>(c));
  }
  return bytes;
}

Bytes cbor_of(const json& value) {
  std::string encoded;
  json::to_cbor(value, encoded);
  return bytes_of(encoded);
}

json json_of_cbor(const Bytes& bytes) {
  return json::from_cbor(
      std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

TEST(HelloFrame, ArrivesAsItWasSent) {
  const Result<Hello> hello = decode_hello(encode_hello({"1.2.3", 4194304}));
  ASSERT_TRUE(hello.has_value()) << hello.error().to_string();
  EXPECT_EQ(hello->version, "1.2.3");
  EXPECT_EQ(hello->pid, 4194304);
}

TEST(HelloFrame, IsRefusedWhenItCannotBeRead) {
  const std::string deep(100000, '[');
  for (const std::string_view text :
       {std::string_view(), std::string_view("\0\0", 2), std::string_view("{"),
        std::string_view("[]"), std::string_view("7"), std::string_view("null"),
        std::string_view("{}"), std::string_view(R"({"version":"1"})"),
        std::string_view(R"({"pid":1})"), std::string_view(R"({"version":1,"pid":1})"),
        std::string_view(R"({"version":"1","pid":"1"})"),
        std::string_view(R"({"version":"1","pid":null})"),
        std::string_view(R"({"version":"1","pid":1} more)"),
        std::string_view(R"({"version":"1","pid":1e999})"),
        std::string_view("{\"version\":\"\xff\",\"pid\":1}"), std::string_view(deep)}) {
    SCOPED_TRACE(text.substr(0, 40));
    const Result<Hello> hello = decode_hello(bytes_of(text));
    ASSERT_FALSE(hello.has_value());
    EXPECT_EQ(hello.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(std::string(hello.error().message()), HasSubstr("hello"));
  }
}

TEST(WelcomeFrame, ArrivesAsItWasSent) {
  const Welcome sent = example_welcome();
  const Result<Welcome> welcome = decode_welcome(encode_welcome(sent));
  ASSERT_TRUE(welcome.has_value()) << welcome.error().to_string();
  EXPECT_EQ(welcome->info.job, sent.info.job);
  EXPECT_EQ(welcome->info.seed, sent.info.seed);
  EXPECT_EQ(welcome->info.epoch, sent.info.epoch);
  EXPECT_EQ(welcome->info.host, sent.info.host);
  EXPECT_EQ(welcome->info.rank, sent.info.rank);
  EXPECT_EQ(welcome->info.rank_count, sent.info.rank_count);
  EXPECT_EQ(welcome->info.incarnation, sent.info.incarnation);
  EXPECT_EQ(welcome->info.batch_shard_count, sent.info.batch_shard_count);
  EXPECT_EQ(welcome->info.batch_duration, sent.info.batch_duration);
  EXPECT_EQ(welcome->info.batch_bytes, sent.info.batch_bytes);
  EXPECT_EQ(welcome->info.has_standard_input, sent.info.has_standard_input);
  EXPECT_EQ(welcome->first_segment, sent.first_segment);
  EXPECT_EQ(welcome->segment_count, sent.segment_count);
  EXPECT_EQ(welcome->memory_bytes, sent.memory_bytes);
  EXPECT_EQ(welcome->spill_directory, sent.spill_directory);
  EXPECT_EQ(welcome->spill_bytes_max, sent.spill_bytes_max);
  EXPECT_EQ(welcome->memory_wait, sent.memory_wait);
  EXPECT_EQ(welcome->trace_directory, sent.trace_directory);
  EXPECT_EQ(welcome->binds_memory, sent.binds_memory);
  EXPECT_EQ(welcome->devices, sent.devices);
  EXPECT_EQ(welcome->device_choice, sent.device_choice);
  EXPECT_EQ(welcome->hang, sent.hang);
  ASSERT_EQ(welcome->groups.size(), sent.groups.size());
  for (std::size_t i = 0; i < sent.groups.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(welcome->groups[i].place, sent.groups[i].place);
    EXPECT_EQ(welcome->groups[i].cpus, sent.groups[i].cpus);
    EXPECT_EQ(welcome->groups[i].worker_count, sent.groups[i].worker_count);
    EXPECT_EQ(welcome->groups[i].shared_cpus, sent.groups[i].shared_cpus);
    EXPECT_EQ(welcome->groups[i].distances, sent.groups[i].distances);
  }
}

TEST(WelcomeFrame, IsRefusedWithoutAnyOneOfItsFields) {
  const json whole = json_of_cbor(encode_welcome(example_welcome()));
  ASSERT_GE(whole.size(), 17u);
  for (const auto& [name, value] : whole.items()) {
    SCOPED_TRACE(name);
    json without = whole;
    without.erase(name);
    const Result<Welcome> welcome = decode_welcome(cbor_of(without));
    ASSERT_FALSE(welcome.has_value());
    EXPECT_EQ(welcome.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(std::string(welcome.error().message()), HasSubstr(name));
  }
}

TEST(WelcomeFrame, IsRefusedWithAFieldOfAnotherType) {
  const json whole = json_of_cbor(encode_welcome(example_welcome()));
  for (const auto& [name, value] : whole.items()) {
    SCOPED_TRACE(name);
    for (const json& other : {json(), json::object({{"place", 1}}), json::array({1})}) {
      json wrong = whole;
      wrong[name] = other;
      const Result<Welcome> welcome = decode_welcome(cbor_of(wrong));
      if (name == "groups" && other.is_null()) {
        EXPECT_TRUE(welcome.has_value()) << "no groups at all is an empty list";
        continue;
      }
      ASSERT_FALSE(welcome.has_value()) << other.dump();
      EXPECT_EQ(welcome.error().code(), ErrorCode::kInvalidArgument);
    }
  }
}

TEST(WelcomeFrame, IsRefusedWhenItIsCutShort) {
  const Bytes whole = encode_welcome(example_welcome());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    ASSERT_FALSE(decode_welcome(std::span(whole).first(size)).has_value()) << size;
  }
}

TEST(WelcomeFrame, NeverBreaksTheReaderWhateverItHolds) {
  std::mt19937 random(1);
  const Bytes whole = encode_welcome(example_welcome());
  int refused_count = 0;
  for (int round = 0; round < 2000; ++round) {
    Bytes changed = whole;
    for (unsigned i = 0; i <= random() % 3; ++i) {
      changed[random() % changed.size()] = static_cast<std::byte>(random() & 0xff);
    }
    refused_count += decode_welcome(changed).has_value() ? 0 : 1;
  }
  EXPECT_GT(refused_count, 500);
}

TEST(BlobReferenceFrame, ArrivesAsItWasSent) {
  const BlobReference sent = {.handle = {.job = 1,
                                         .generation = 2,
                                         .length_bytes = 3,
                                         .epoch = 4,
                                         .host = 5,
                                         .segment = 6,
                                         .index = 7},
                              .home = {.kind = PlaceKind::kDevice, .index = 8, .host = 9}};
  const Result<BlobReference> reference = decode_reference(encode_reference(sent));
  ASSERT_TRUE(reference.has_value()) << reference.error().to_string();
  EXPECT_EQ(reference->handle, sent.handle);
  EXPECT_EQ(reference->home, sent.home);
}

TEST(BlobReferenceFrame, IsRefusedInAnyOtherSize) {
  const Bytes whole = encode_reference({});
  Bytes longer = whole;
  longer.push_back(std::byte{0});
  for (std::size_t size = 0; size <= longer.size(); ++size) {
    const Result<BlobReference> reference = decode_reference(std::span(longer).first(size));
    EXPECT_EQ(reference.has_value(), size == whole.size()) << size;
    if (!reference) {
      EXPECT_EQ(reference.error().code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(std::string(reference.error().message()), HasSubstr(std::to_string(size)));
    }
  }
}

TEST(RingMessages, ArriveAsTheyWereSentAndAreRefusedInAnyOtherSize) {
  const BlobHandle handle = {.job = 1, .generation = 2, .length_bytes = 3, .segment = 4};
  EXPECT_EQ(*read_let_go(make_let_go(handle)), handle);
  EXPECT_EQ(*read_give_back_slab(make_give_back_slab(4'000'000'000)), 4'000'000'000);
  EXPECT_EQ(*read_held(make_held(5, 0x8000000000000000)), 0x8000000000000000);
  EXPECT_EQ(make_held(5, 6).request, 5u);
  EXPECT_EQ(make_ask_held(7).request, 7u);
  RingMessage message;
  for (message.length_bytes = 0; message.length_bytes <= kRingPayloadBytesMax;
       ++message.length_bytes) {
    SCOPED_TRACE(message.length_bytes);
    EXPECT_EQ(read_let_go(message).has_value(), message.length_bytes == sizeof(BlobHandle));
    EXPECT_EQ(read_give_back_slab(message).has_value(), message.length_bytes == 4);
    EXPECT_EQ(read_held(message).has_value(), message.length_bytes == 8);
    EXPECT_EQ(check_ask_held(message).ok(), message.length_bytes == 0);
  }
}

TEST(RingAddressFrame, ArrivesAsItWasSentAndIsRefusedInAnyOtherSize) {
  const RingAddress sent = {.job = 1, .number = 2, .capacity = 64, .side = 1};
  Bytes longer = encode_ring_address(sent);
  longer.push_back(std::byte{0});
  for (std::size_t size = 0; size <= longer.size(); ++size) {
    const Result<RingAddress> address = decode_ring_address(std::span(longer).first(size));
    ASSERT_EQ(address.has_value(), size == sizeof(RingAddress)) << size;
    if (address) {
      EXPECT_EQ(address->job, sent.job);
      EXPECT_EQ(address->number, sent.number);
      EXPECT_EQ(address->capacity, sent.capacity);
      EXPECT_EQ(address->side, sent.side);
    }
  }
}

TEST(SlabFrames, ArriveAsTheyWereSentAndInNoOtherSize) {
  const Place home = {.kind = PlaceKind::kDevice, .index = 8, .host = 9};
  const Bytes request = encode_slab_request({.home = home, .size_bytes = 1, .segment = 2});
  const Bytes reply = encode_slab_reply({.home = home, .held_bytes = 3, .slot = 4});
  EXPECT_EQ(decode_slab_request(request)->home, home);
  EXPECT_EQ(decode_slab_request(request)->size_bytes, 1u);
  EXPECT_EQ(decode_slab_request(request)->segment, 2u);
  EXPECT_EQ(decode_slab_reply(reply)->home, home);
  EXPECT_EQ(decode_slab_reply(reply)->held_bytes, 3u);
  EXPECT_EQ(decode_slab_reply(reply)->slot, 4u);
  for (std::size_t size = 0; size < request.size(); ++size) {
    EXPECT_EQ(decode_slab_request(std::span(request).first(size)).error().code(),
              ErrorCode::kInvalidArgument);
  }
  for (std::size_t size = 0; size < reply.size(); ++size) {
    EXPECT_EQ(decode_slab_reply(std::span(reply).first(size)).error().code(),
              ErrorCode::kInvalidArgument);
  }
}

TEST(DeviceLossFrame, ArrivesAsItWasSentAndIsRefusedWithoutAnError) {
  const Bytes whole = encode_device_loss(
      {.uuid = "GPU-1", .name = "\xff", .number = 2, .error = Status(ErrorCode::kDataLoss, "ECC")});
  const Result<DeviceLoss> loss = decode_device_loss(whole);
  ASSERT_TRUE(loss.has_value()) << loss.error().to_string();
  EXPECT_EQ(loss->uuid, "GPU-1");
  EXPECT_EQ(loss->name, "\xff");
  EXPECT_EQ(loss->number, 2u);
  EXPECT_EQ(loss->error.code(), ErrorCode::kDataLoss);
  EXPECT_EQ(loss->error.message(), "ECC");
  json other = json_of_cbor(whole);
  for (const int code : {17, 256, -1}) {
    other["code"] = code;
    EXPECT_EQ(decode_device_loss(cbor_of(other))->error.code(), ErrorCode::kUnknown) << code;
  }
  other["code"] = 0;
  EXPECT_THAT(decode_device_loss(cbor_of(other)).error().to_string(), HasSubstr("code 0"));
}

TEST(StatusFrame, ArrivesAsItWasSent) {
  EXPECT_TRUE(decode_status(encode_status(Status())).ok());
  for (const ErrorInfo& info : error_table()) {
    if (info.code == ErrorCode::kOk) {
      continue;
    }
    for (const std::string_view text : {"", "disk \xff is full"}) {
      const Status status = decode_status(encode_status(Status(info.code, std::string(text))));
      EXPECT_EQ(status.code(), info.code);
      EXPECT_EQ(status.message(), text);
    }
  }
}

TEST(StatusFrame, KeepsTheWordsOfACodeThatIsNotInTheTable) {
  const auto table_size = static_cast<unsigned>(error_table().size());
  for (const unsigned code : {table_size, table_size + 1, 128u, 255u}) {
    Bytes payload = bytes_of("?words");
    payload[0] = static_cast<std::byte>(code);
    const Status status = decode_status(payload);
    EXPECT_EQ(status.code(), ErrorCode::kUnknown) << code;
    EXPECT_EQ(status.message(), "words");
  }
}

TEST(StatusFrame, IsAnErrorWithoutACode) {
  EXPECT_EQ(decode_status({}).code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace pinion
