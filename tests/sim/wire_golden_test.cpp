// Bytes that programs of earlier days have written keep their meaning.

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shard/protocol/wire.hpp>

#include "sim/hexadecimal.hpp"
#include "sim/wire_golden.hpp"
#include "sim/wire_messages.hpp"

namespace pinion::protocol {
namespace {

/// What is left of a message in the fourth form.
Message in_fourth_form(Message message) {
  if (auto* make = std::get_if<MakePlan>(&message)) {
    make->workers.clear();
  } else if (auto* registration = std::get_if<Register>(&message)) {
    registration->worker_counts.clear();
  }
  return message;
}

/// What is left of a message in the third form.
Message in_third_form(Message message) {
  message = in_fourth_form(std::move(message));
  if (auto* plan = std::get_if<PlanReady>(&message)) {
    plan->combines = false;
  } else if (auto* inputs = std::get_if<MergeInputs>(&message)) {
    inputs->combined.clear();
  }
  return message;
}

/// What is left of a message in the second form.
Message in_second_form(Message message) {
  message = in_third_form(std::move(message));
  if (auto* plan = std::get_if<PlanReady>(&message)) {
    plan->shard_deadline = {};
  } else if (auto* failed = std::get_if<StepFailed>(&message)) {
    failed->shard.reset();
  }
  return message;
}

/// What is left of a message in the first form.
Message in_first_form(Message message) {
  message = in_second_form(std::move(message));
  if (auto* plan = std::get_if<PlanReady>(&message)) {
    for (ShardEntry& shard : plan->shards) {
      shard = {.weight = shard.weight, .place = shard.place};
    }
  } else if (auto* heartbeat = std::get_if<Heartbeat>(&message)) {
    *heartbeat = {.step = heartbeat->step, .sent_ns = heartbeat->sent_ns, .held = heartbeat->held};
  } else if (auto* grant = std::get_if<Grant>(&message)) {
    grant->second_attempt = false;
  } else if (auto* done = std::get_if<StepDone>(&message)) {
    done->skipped_shard_count = 0;
  }
  return message;
}

std::vector<Message> one_of_each_in(Message (*form)(Message)) {
  std::vector<Message> messages;
  for (const Message& message : one_of_each()) {
    messages.push_back(form(message));
  }
  return messages;
}

void expect_decoded(std::span<const char* const> golden, const std::vector<Message>& messages) {
  ASSERT_LE(golden.size(), messages.size());
  for (std::size_t index = 0; index < golden.size(); ++index) {
    SCOPED_TRACE(index);
    const Result<Decoded> decoded = decode(bytes_of(golden[index]));
    ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
    EXPECT_EQ(decoded->envelope, kEnvelope);
    EXPECT_TRUE(decoded->message == messages[index]);
  }
}

TEST(WireGolden, TheFirstFormIsReadAsItWasMeant) {
  expect_decoded(kFirstForm, one_of_each_in(in_first_form));
}

TEST(WireGolden, TheSecondFormIsReadAsItWasMeant) {
  expect_decoded(kSecondForm, one_of_each_in(in_second_form));
}

TEST(WireGolden, WhatWasAddedInTheThirdFormIsReadAsItWasMeant) {
  for (const char* const golden : kThirdForm) {
    const Result<Decoded> decoded = decode(bytes_of(golden));
    ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
    const std::vector<Message> messages = one_of_each_in(in_third_form);
    EXPECT_EQ(std::count(messages.begin(), messages.end(), decoded->message), 1);
    EXPECT_NE(in_second_form(decoded->message), decoded->message);
  }
}

TEST(WireGolden, WhatWasAddedInTheFourthFormIsReadAsItWasMeant) {
  for (const char* const golden : kFourthForm) {
    const Result<Decoded> decoded = decode(bytes_of(golden));
    ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
    const std::vector<Message> messages = one_of_each_in(in_fourth_form);
    EXPECT_EQ(std::count(messages.begin(), messages.end(), decoded->message), 1);
    EXPECT_NE(in_third_form(decoded->message), decoded->message);
  }
}

TEST(WireGolden, WhatWasAddedInTheFifthFormIsReadAsItWasMeant) {
  for (const char* const golden : kFifthForm) {
    const Result<Decoded> decoded = decode(bytes_of(golden));
    ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
    const std::vector<Message> messages = one_of_each();
    EXPECT_EQ(std::count(messages.begin(), messages.end(), decoded->message), 1);
    EXPECT_NE(in_fourth_form(decoded->message), decoded->message);
  }
}

TEST(WireGolden, TheMessageThatCameInTheSixthFormIsReadAsItWasMeant) {
  const Result<Decoded> decoded = decode(bytes_of(kSixthForm[0]));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
  EXPECT_TRUE(decoded->message == one_of_each_that_came_later().front());
}

}  // namespace
}  // namespace pinion::protocol
