// Bytes that programs of earlier days have written keep their meaning.

#include <cstddef>
#include <span>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shard/protocol/wire.hpp>

#include "sim/hexadecimal.hpp"
#include "sim/wire_golden.hpp"
#include "sim/wire_messages.hpp"

namespace pinion::protocol {
namespace {

/// What is left of a message in the first form.
Message in_first_form(Message message) {
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
  std::vector<Message> messages;
  for (const Message& message : one_of_each()) {
    messages.push_back(in_first_form(message));
  }
  expect_decoded(kFirstForm, messages);
}

TEST(WireGolden, TheSecondFormIsReadAsItWasMeant) {
  expect_decoded(kSecondForm, one_of_each());
}

}  // namespace
}  // namespace pinion::protocol
