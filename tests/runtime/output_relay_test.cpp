#include "agent/output_relay.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/output_pipe.hpp"

namespace pinion {
namespace {

// One turn of the agent's loop.
void turn(OutputRelay& relay) {
  std::vector<pollfd> watched;
  relay.watch(watched);
  ::poll(watched.data(), watched.size(), 0);
  relay.read(watched);
  relay.write();
}

// False when the pipe is full.
bool write_line(const UniqueFd& writer, const std::string& line) {
  return ::write(writer.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

// Writes until that is refused for long; returns how much was taken, some MiB where it has a bound.
std::size_t write_all_that_is_taken(const UniqueFd& writer,
                                    const std::function<void()>& turn_once) {
  ::fcntl(writer.get(), F_SETFL, O_NONBLOCK);
  const std::string line = std::string(1023, 'x') + "\n";
  std::size_t written = 0;
  for (int refused_in_a_row = 0; refused_in_a_row < 100 && written < 16u << 20;) {
    const bool taken = write_line(writer, line);
    written += taken ? line.size() : 0;
    refused_in_a_row = taken ? 0 : refused_in_a_row + 1;
    turn_once();
  }
  return written;
}

TEST(OutputRelay, HoldsRanksBackWhoseOutputNobodyTakes) {
  const OutputPipe output;
  OutputRelay relay(false);
  const OutputRelay::Ends ends = relay.add_rank(0).value();
  const std::size_t written = write_all_that_is_taken(ends.output, [&] { turn(relay); });
  ASSERT_LT(written, 16u << 20) << "the relay has no bound";
  EXPECT_TRUE(relay.has_waiting());
  // And nothing of it is lost.
  std::size_t read = 0;
  while (relay.has_waiting() || read < written) {
    const std::string some = output.read_all();
    read += some.size();
    turn(relay);
    ASSERT_TRUE(relay.has_waiting() || !some.empty());
  }
  EXPECT_EQ(read, written);
}

TEST(OutputRelay, LetsRanksSeeThatNobodyReads) {
  const auto pipe_before = ::signal(SIGPIPE, SIG_IGN);
  OutputPipe output;
  OutputRelay relay(false);
  const OutputRelay::Ends ends = relay.add_rank(0).value();
  output.close_reader();
  ASSERT_TRUE(write_line(ends.output, "words\n"));
  turn(relay);
  EXPECT_FALSE(write_line(ends.output, "more\n"));
  EXPECT_EQ(errno, EPIPE);
  EXPECT_TRUE(relay.status().ok()) << "a reader may go";
  EXPECT_FALSE(relay.has_waiting());
  ::signal(SIGPIPE, pipe_before);
}

TEST(OutputRelay, TakesTheLastWordsOfARank) {
  const OutputPipe output;
  OutputRelay relay(true);
  OutputRelay::Ends first = relay.add_rank(7).value();
  const OutputRelay::Ends second = relay.add_rank(8).value();
  ASSERT_TRUE(write_line(first.output, "half"));
  ASSERT_TRUE(write_line(second.output, "other\n"));
  first = {};
  relay.read_rank(7);
  relay.read_rank(8);
  relay.write();
  EXPECT_EQ(output.read_all(), "[7] half\n[8] other\n");
  ASSERT_TRUE(write_line(second.output, "end"));
  relay.read_rest();
  relay.write();
  EXPECT_EQ(output.read_all(), "[8] end");
}

// What the head is sent, in order.
std::string take_all(OutputRelay& relay, bool on_errors = false) {
  std::string text;
  while (const std::optional<OutputRelay::Block> block = relay.take_block()) {
    EXPECT_EQ(block->on_errors, on_errors);
    text.append(reinterpret_cast<const char*>(block->bytes.data()), block->bytes.size());
  }
  return text;
}

TEST(OutputRelayToTheHead, GivesNoMoreThanTheHeadTakes) {
  OutputRelay relay(false);
  relay.begin_to_send();
  const OutputRelay::Ends ends = relay.add_rank(0).value();
  std::string sent;
  const std::size_t written = write_all_that_is_taken(ends.output, [&] {
    turn(relay);
    sent += take_all(relay);
  });
  ASSERT_LT(written, 16u << 20) << "the relay has no bound";
  EXPECT_LT(sent.size(), 1u << 20) << "what is under way has no bound";
  EXPECT_FALSE(relay.head_has_all());
  for (std::size_t taken = 0; sent.size() < written;) {
    const std::size_t before = sent.size();
    relay.head_took(false, sent.size() - taken);
    taken = sent.size();
    turn(relay);
    sent += take_all(relay);
    ASSERT_GT(sent.size(), before);
  }
  EXPECT_EQ(sent.size(), written);
  EXPECT_EQ(relay.output_bytes(), written);
  EXPECT_FALSE(relay.head_has_all());
  relay.head_took(false, written);
  EXPECT_TRUE(relay.head_has_all());
}

TEST(OutputRelayToTheHead, CatchesUpWithNoMoreThanItHasRoomFor) {
  OutputRelay relay(false);
  relay.begin_to_send();
  const OutputRelay::Ends ends = relay.add_rank(5).value();
  ASSERT_TRUE(write_line(ends.output, "one\ntwo\n"));
  relay.catch_up_with(4);
  EXPECT_EQ(relay.output_bytes(), 0u);
  relay.catch_up_with(5);
  EXPECT_EQ(relay.output_bytes(), 8u);
  EXPECT_LT(write_all_that_is_taken(ends.output, [&] { relay.catch_up_with(5); }), 16u << 20);
}

TEST(OutputRelayToTheHead, KeepsTheTwoOutputsApart) {
  OutputRelay relay(true);
  relay.begin_to_send();
  const OutputRelay::Ends ends = relay.add_rank(3).value();
  ASSERT_TRUE(write_line(ends.errors, "error\n"));
  relay.read_rank(3);
  EXPECT_EQ(take_all(relay, true), "[3,err] error\n");
  ASSERT_TRUE(write_line(ends.output, "out\nhalf"));
  relay.read_rank(3);
  EXPECT_EQ(take_all(relay), "[3] out\n");
  relay.read_rest();
  EXPECT_EQ(take_all(relay), "[3] half");
}

TEST(OutputRelayToTheHead, LetsRanksSeeThatNobodyReadsThere) {
  const auto pipe_before = ::signal(SIGPIPE, SIG_IGN);
  OutputRelay relay(false);
  relay.begin_to_send();
  const OutputRelay::Ends ends = relay.add_rank(0).value();
  ASSERT_TRUE(write_line(ends.output, "words\n"));
  turn(relay);
  EXPECT_EQ(take_all(relay), "words\n");
  relay.head_closed(false);
  EXPECT_TRUE(relay.head_has_all());
  EXPECT_FALSE(write_line(ends.output, "more\n"));
  EXPECT_EQ(errno, EPIPE);
  EXPECT_TRUE(write_line(ends.errors, "error\n"));
  ::signal(SIGPIPE, pipe_before);
}

TEST(OutputRelayToTheHead, SaysItsLastWordsHereWhenTheHeadIsGone) {
  const OutputPipe output(STDERR_FILENO);
  OutputRelay relay(false);
  relay.begin_to_send();
  const OutputRelay::Ends ends = relay.add_rank(0).value();
  ASSERT_TRUE(write_line(ends.output, "words of a rank\n"));
  turn(relay);
  relay.end_sending();
  EXPECT_TRUE(relay.head_has_all());
  EXPECT_FALSE(relay.take_block().has_value());
  relay.say("why");
  relay.write();
  EXPECT_FALSE(relay.has_waiting());
  EXPECT_EQ(output.read_all(), "why\n");
}

}  // namespace
}  // namespace pinion
