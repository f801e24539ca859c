// What ranks and the coordinator of a job send to each other, nearly right: its decoder, and those
// who are told of what comes out of that.

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shard/protocol/coordinator.hpp>
#include <pinion/shard/protocol/rank_machine.hpp>

#include "mutate.hpp"
#include "sim/wire_messages.hpp"

namespace pinion::protocol {
namespace {

using namespace std::chrono_literals;

std::string text_of(const Message& message) {
  const std::vector<std::byte> bytes = encode(kEnvelope, message);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// In a block of exactly their size, so that a sanitizer sees every read beyond them.
std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::string> texts_of(const std::vector<Message>& messages) {
  std::vector<std::string> texts;
  for (const Message& message : messages) {
    texts.push_back(text_of(message));
  }
  return texts;
}

TEST(WireFuzz, AMessageIsWholeOrRefused) {
  const std::vector<std::string> examples = texts_of(one_of_each());
  fuzz::for_each_trial([&](fuzz::Mutator& mutator, std::uint64_t) {
    const Result<Decoded> decoded = decode(bytes_of(mutator.mutate(examples)));
    if (!decoded) {
      EXPECT_TRUE(decoded.error().code() == ErrorCode::kInvalidArgument ||
                  decoded.error().code() == ErrorCode::kUnimplemented)
          << decoded.error().to_string();
      EXPECT_FALSE(decoded.error().message().empty());
      return;
    }
    const Result<Decoded> again = decode(encode(decoded->envelope, decoded->message));
    ASSERT_TRUE(again.has_value()) << again.error().to_string();
    EXPECT_EQ(again->envelope, decoded->envelope);
    EXPECT_TRUE(again->message == decoded->message) << decoded->message.index();
  });
}

// The first lease that a coordinator grants is of the heaviest shard.
constexpr Lease kFirstLease{.unit = 1, .fence = {.epoch = 9, .counter = std::uint64_t{1} << 24}};
constexpr Lease kSecondLease{.unit = 0,
                             .fence = {.epoch = 9, .counter = std::uint64_t{2} << 24 | 1}};

// What a rank says in a step of two shards, nearly in the order in which it would. Between two of
// these anything else may be said, and it all may be nearly right.
std::vector<Message> script_of_a_rank() {
  return {Register{.protocol_version = kProtocolVersion,
                   .places = {{}, {.kind = PlaceKind::kDevice}},
                   .worker_counts = {2, 1}},
          EnterStep{.step = 1, .fingerprint = 5},
          PlanReady{.step = 1,
                    .plan = kBlob,
                    .shards = {{.weight = 1}, {.weight = 2}},
                    .shard_deadline = 1h,
                    .combines = true},
          Claim{.step = 1, .unit_count = 2},
          Heartbeat{.step = 1, .held = {kFirstLease, kSecondLease}, .observations = {"hot"}},
          Report{.step = 1, .report = 1, .output = kBlob, .digest = 1, .batch = {kFirstLease}},
          BatchFailed{.step = 1,
                      .bad_unit = 0,
                      .failure = {.code = ErrorCode::kUnknown, .text = "no"},
                      .batch = {kSecondLease}},
          GiveBack{.step = 1, .leases = {kFirstLease}},
          Claim{.step = 1, .unit_count = 2}};
}

TEST(WireFuzz, ACoordinatorTakesWhateverCanBeDecoded) {
  const std::vector<std::string> script = texts_of(script_of_a_rank());
  std::vector<std::string> examples = texts_of(one_of_each());
  examples.insert(examples.end(), script.begin(), script.end());
  std::uint64_t accepted_count = 0;
  fuzz::for_each_trial([&](fuzz::Mutator& mutator, std::uint64_t) {
    Instant now(100s);
    Effects effects;
    Coordinator coordinator({.job = kEnvelope.job,
                             .epoch = kEnvelope.epoch,
                             .rank_count = kEnvelope.rank + 1,
                             .plan_patience = 1ms,
                             .journaled = true});
    coordinator.step(RankJoined{.rank = kEnvelope.rank, .incarnation = kEnvelope.incarnation}, now,
                     effects);
    const auto say = [&](const std::string& text) {
      const Result<Decoded> decoded = decode(bytes_of(text));
      if (decoded) {
        coordinator.step(MessageReceived{decoded->envelope, decoded->message}, now, effects);
      }
    };
    for (const std::string& line : script) {
      say(mutator.below(4) == 0 ? mutator.mutate({line}) : line);
      if (mutator.below(4) == 0) {
        say(mutator.mutate(examples));
      }
      now += 2ms;
      coordinator.step(Tick{}, now, effects);
      static_cast<void>(coordinator.next_deadline());
    }
    accepted_count += coordinator.progress().shard_accepted_count;
    EXPECT_EQ(coordinator.members().size(), kEnvelope.rank + 1);
  });
  EXPECT_GT(accepted_count, 0U) << "the script leads nowhere";
}

// What a rank is told in a step, nearly in the order in which it would be.
std::vector<Message> script_of_a_coordinator() {
  return {MakePlan{.step = 1},
          StepStarted{.step = 1, .plan = kBlob, .shard_count = 2, .lease_duration = 6s},
          Grant{.step = 1,
                .unit_count_left = 3,
                .lease_duration = 6s,
                .leases = {kFirstLease, kSecondLease}},
          HeartbeatAck{.step = 1, .sent_ns = 0, .lost = {kSecondLease}},
          Verdict{.step = 1, .report = 1},
          MergeInputs{.step = 1, .partials = {kBlob}},
          Grant{.step = 1,
                .stage = Stage::kMerge,
                .lease_duration = 6s,
                .leases = {{.unit = 0, .fence = {.epoch = 9, .counter = kBig}}}}};
}

TEST(WireFuzz, ARankTakesWhateverCanBeDecoded) {
  const std::vector<std::string> script = texts_of(script_of_a_coordinator());
  std::vector<std::string> examples = texts_of(one_of_each());
  examples.insert(examples.end(), script.begin(), script.end());
  std::uint64_t lease_count = 0;
  fuzz::for_each_trial([&](fuzz::Mutator& mutator, std::uint64_t) {
    Instant now(100s);
    RankEffects effects;
    RankMachine machine({}, {.step = 1});
    machine.start(now, effects);
    const auto hear = [&](const std::string& text) {
      if (const Result<Decoded> decoded = decode(bytes_of(text))) {
        machine.receive(decoded->message, now, effects);
      }
    };
    for (const std::string& line : script) {
      hear(mutator.below(4) == 0 ? mutator.mutate({line}) : line);
      if (mutator.below(4) == 0) {
        hear(mutator.mutate(examples));
      }
      now += 1s;
      machine.tick(now, effects);
      static_cast<void>(machine.next_deadline());
    }
    for (const RankEffect& effect : effects) {
      const auto* const run = std::get_if<RunLeases>(&effect);
      lease_count += run == nullptr ? 0 : run->leases.size();
    }
  });
  EXPECT_GT(lease_count, 0U) << "the script leads nowhere";
}

}  // namespace
}  // namespace pinion::protocol
