#include <pinion/shard/protocol/wire.hpp>

#include <cstring>
#include <limits>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/wire_messages.hpp"

namespace pinion::protocol {
namespace {

TEST(Wire, CarriesEveryMessageUnchanged) {
  for (const Message& message : one_of_each()) {
    SCOPED_TRACE(message.index());
    const Result<Decoded> decoded = decode(encode(kEnvelope, message));
    ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
    EXPECT_EQ(decoded->envelope, kEnvelope);
    EXPECT_TRUE(decoded->message == message);
  }
}

// Texts of every length move what follows them to every alignment.
TEST(Wire, CarriesEmptyAndFullListsBesideTextsOfAnyLength) {
  for (std::size_t length = 0; length < 20; ++length) {
    for (const std::vector<Lease>& leases : {std::vector<Lease>{}, kOneLease, kLeases}) {
      const Message message =
          BatchFailed{.failure = {.text = std::string(length, 'x')}, .batch = leases};
      const Result<Decoded> decoded = decode(encode(kEnvelope, message));
      ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
      EXPECT_TRUE(decoded->message == message);
    }
  }
}

TEST(Wire, ReadsBytesAtAnyAddress) {
  const Message message = one_of_each()[1];
  const std::vector<std::byte> bytes = encode(kEnvelope, message);
  std::vector<std::byte> room(bytes.size() + 8);
  for (std::size_t shift = 0; shift < 8; ++shift) {
    std::memcpy(room.data() + shift, bytes.data(), bytes.size());
    const Result<Decoded> decoded = decode({room.data() + shift, bytes.size()});
    ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
    EXPECT_TRUE(decoded->message == message);
  }
}

// The bytes lie in a block of exactly their size, so that a sanitizer sees every read beyond them.
TEST(Wire, RefusesEveryMessageCutShortAnywhere) {
  for (const Message& message : one_of_each()) {
    const std::vector<std::byte> bytes = encode(kEnvelope, message);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const auto cut = std::make_unique<std::byte[]>(size);
      std::memcpy(cut.get(), bytes.data(), size);
      const Result<Decoded> decoded = decode({cut.get(), size});
      if (decoded.has_value()) {
        // What was cut off was padding only.
        EXPECT_TRUE(decoded->message == message);
        EXPECT_GT(size + 8, bytes.size());
      } else {
        EXPECT_EQ(decoded.error().code(), ErrorCode::kInvalidArgument);
      }
    }
  }
}

TEST(Wire, SurvivesEveryMessageWithOneByteChanged) {
  std::size_t refused_count = 0;
  for (const Message& message : one_of_each()) {
    std::vector<std::byte> bytes = encode(kEnvelope, message);
    for (std::byte& byte : bytes) {
      const std::byte right = byte;
      for (const unsigned flip : {0x01U, 0x04U, 0x10U, 0x80U, 0xffU}) {
        byte = right ^ static_cast<std::byte>(flip);
        const Result<Decoded> decoded = decode(bytes);
        if (decoded.has_value()) {
          // Whatever it means, it can be written again.
          const Result<Decoded> again = decode(encode(decoded->envelope, decoded->message));
          EXPECT_TRUE(again.has_value()) << message.index() << again.error().to_string();
        } else {
          ++refused_count;
        }
      }
      byte = right;
    }
  }
  EXPECT_GT(refused_count, 1000U);
}

TEST(Wire, RefusesNothingAndNoise) {
  EXPECT_EQ(decode({}).error().code(), ErrorCode::kInvalidArgument);
  std::vector<std::byte> noise(64, std::byte{0xff});
  EXPECT_EQ(decode(noise).error().code(), ErrorCode::kInvalidArgument);
}

TEST(Wire, RefusesAnotherVersionAndNamesBoth) {
  // The version is the only place where this number stands.
  const std::vector<std::byte> bytes =
      encode({.job = 0, .epoch = 0, .rank = 0, .incarnation = 0}, MakePlan{.step = 0});
  std::vector<std::byte> other = bytes;
  bool found = false;
  for (std::size_t at = 0; at + 4 <= other.size(); at += 4) {
    std::vector<std::byte> changed = bytes;
    std::uint32_t number = 0;
    std::memcpy(&number, changed.data() + at, 4);
    if (number != kProtocolVersion) {
      continue;
    }
    number = 4711;
    std::memcpy(changed.data() + at, &number, 4);
    const Result<Decoded> decoded = decode(changed);
    if (!decoded.has_value() && decoded.error().code() == ErrorCode::kUnimplemented) {
      found = true;
      EXPECT_THAT(
          std::string(decoded.error().message()),
          testing::AllOf(testing::HasSubstr("version 4711"), testing::HasSubstr("version 1;")));
    }
  }
  EXPECT_TRUE(found);
}

TEST(Wire, CarriesWhatIsCombinedAgain) {
  const auto problem_of = [](std::vector<CombinedPartials> combined) {
    const Message message = MergeInputs{.partials = {kBlob, kBlob}, .combined = combined};
    const Result<Decoded> decoded = decode(encode(kEnvelope, message));
    EXPECT_TRUE(!decoded || decoded->message == message);
    return decoded ? std::string("none") : decoded.error().to_string();
  };
  const CombinedPartials one{.members = {1}, .outputs = {{}, kBlob}};
  EXPECT_EQ(problem_of({one, {.members = {0, 1}, .outputs = {kBlob, {}}}}), "none");
  EXPECT_THAT(problem_of({one, {.members = {0, 1}, .outputs = {kBlob, kBlob}}}),
              testing::HasSubstr("member"));
  EXPECT_THAT(problem_of({{.members = {1, 1}, .outputs = {kBlob, {}}}}),
              testing::HasSubstr("member"));
  EXPECT_THAT(problem_of({{.members = {2}, .outputs = {kBlob, {}}}}), testing::HasSubstr("member"));
  const CombinedPartials around{.members = {0}, .outputs = {{}, {}}};
  EXPECT_EQ(problem_of(std::vector<CombinedPartials>(32, around)), "none");
  EXPECT_THAT(problem_of(std::vector<CombinedPartials>(33, around)), testing::HasSubstr("member"));
  EXPECT_THAT(problem_of({{.members = {}, .outputs = {kBlob}}}), testing::HasSubstr("member"));
  CombinedPartials many{.members = {0}, .outputs = {}};
  many.outputs.resize(MergeInputs::kOutputCountMax);
  EXPECT_EQ(problem_of({many}), "none");
  EXPECT_THAT(problem_of({many, one}), testing::HasSubstr("more combined partials"));
}

TEST(Wire, RefusesValuesThatMeanNothing) {
  const auto problem_of = [](const Message& message) {
    const Result<Decoded> decoded = decode(encode(kEnvelope, message));
    return decoded.has_value() ? std::string("none") : decoded.error().to_string();
  };
  EXPECT_THAT(problem_of(GiveBack{.stage = static_cast<Stage>(3)}), testing::HasSubstr("stage"));
  EXPECT_THAT(problem_of(JobFailed{.failure = {.code = static_cast<ErrorCode>(17)}}),
              testing::HasSubstr("error code"));
  EXPECT_THAT(problem_of(PlanReady{.shards = {{.place = {.kind = static_cast<PlaceKind>(2)}}}}),
              testing::HasSubstr("place"));
  EXPECT_THAT(problem_of(PlanReady{.shards = {{.priority = static_cast<Priority>(3)}}}),
              testing::HasSubstr("priority"));
  EXPECT_THAT(problem_of(Register{.places = {{.kind = static_cast<PlaceKind>(2)}}}),
              testing::HasSubstr("place"));
  EXPECT_THAT(problem_of(Register{.places = {{}}, .worker_counts = {1, 1}}),
              testing::HasSubstr("do not go with the places"));
  for (const std::uint32_t count : {0U, kPlaceWorkerCountMax + 1}) {
    EXPECT_THAT(problem_of(Register{.places = {{}}, .worker_counts = {count}}),
                testing::HasSubstr("no workers, or too many"));
  }
  EXPECT_THAT(problem_of(Registered{}), testing::HasSubstr("duration"));
  EXPECT_THAT(problem_of(PlanReady{.partition_count = kPartitionCountMax + 1}),
              testing::HasSubstr("partitions"));
  EXPECT_THAT(problem_of(Grant{}), testing::HasSubstr("duration"));
  EXPECT_THAT(problem_of(Report{}), testing::HasSubstr("without a lease"));
  EXPECT_THAT(problem_of(Report{.stage = Stage::kMerge, .batch = kLeases}),
              testing::HasSubstr("more than one"));
}

TEST(Wire, RefusesWorkersThatNoPlannerCouldReckonWith) {
  const auto problem_of = [](const std::vector<PlaceWorkers>& workers) {
    const Result<Decoded> decoded = decode(encode(kEnvelope, MakePlan{.workers = workers}));
    return decoded.has_value() ? std::string("none") : decoded.error().to_string();
  };
  const Place first{.index = 1};
  const Place second{.index = 0, .host = 1};
  EXPECT_EQ(problem_of({{first, 1}, {second, 1}}), "none");
  EXPECT_THAT(problem_of({{second, 1}, {first, 1}}), testing::HasSubstr("not in their order"));
  EXPECT_THAT(problem_of({{first, 1}, {first, 1}}), testing::HasSubstr("there twice"));
  EXPECT_THAT(problem_of({{first, 0}}), testing::HasSubstr("without a worker"));
  EXPECT_THAT(problem_of({{{.kind = static_cast<PlaceKind>(2)}, 1}}),
              testing::HasSubstr("kind of place"));
  EXPECT_EQ(problem_of({{first, 1}, {second, 0xfffffffe}}), "none");
  EXPECT_THAT(problem_of({{first, 2}, {second, 0xfffffffe}}),
              testing::HasSubstr("more workers than a job may have"));
}

}  // namespace
}  // namespace pinion::protocol
