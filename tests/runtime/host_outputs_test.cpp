#include "hosts/host_outputs.hpp"

#include <signal.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/output_pipe.hpp"

namespace pinion {
namespace {

HostPrinted printed(const std::string& text, bool on_errors = false) {
  HostPrinted message{.on_errors = on_errors};
  std::transform(text.begin(), text.end(), std::back_inserter(message.bytes),
                 [](char c) { return static_cast<std::byte>(c); });
  return message;
}

TEST(HostOutputs, HaveNoLineOfTwoHosts) {
  const OutputPipe output;
  OutputRelay relay(false);
  HostOutputs outputs(relay);
  outputs.arrived(1, printed("one "));
  outputs.arrived(2, printed("other\nha"));
  outputs.arrived(1, printed("line\n"));
  outputs.arrived(2, printed("lf"));
  relay.write();
  EXPECT_EQ(output.read_all(), "other\none line\n");
  outputs.end(2);
  outputs.end(1);
  relay.print("last");
  relay.write();
  EXPECT_EQ(output.read_all(), "half\nlast\n");
  EXPECT_EQ(outputs.bytes_of(1), 9u);
  EXPECT_EQ(outputs.bytes_of(2), 10u);
  EXPECT_EQ(outputs.bytes_of(3), 0u);
}

TEST(HostOutputs, AreTakenAsFarAsTheyAreWritten) {
  const OutputPipe output;
  OutputRelay relay(false);
  HostOutputs outputs(relay);
  const std::string block(std::size_t{1} << 16, '\n');
  std::uint64_t arrived = 0;
  std::uint64_t taken = 0;
  const auto take = [&] {
    relay.write();
    for (const auto& [host, took] : outputs.take_answers()) {
      EXPECT_EQ(host, 1u);
      EXPECT_FALSE(took.of_errors);
      EXPECT_FALSE(took.is_closed);
      taken += took.byte_count;
    }
  };
  for (; taken == arrived; take()) {
    ASSERT_LT(arrived, 16u << 20) << "nothing holds it back";
    outputs.arrived(1, printed(block));
    arrived += block.size();
  }
  // The other output, and another host, are held back each by itself.
  outputs.arrived(1, printed("error\n", true));
  const auto answers = outputs.take_answers();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers.front().second, (HeadTookOutput{.of_errors = true, .byte_count = 6}));
  std::uint64_t read = 0;
  while (read < arrived) {
    const std::size_t some = output.read_all().size();
    read += some;
    take();
    ASSERT_TRUE(some > 0 || relay.has_waiting());
  }
  EXPECT_EQ(taken, arrived);
}

TEST(HostOutputs, AreClosedWhereNobodyReads) {
  const auto pipe_before = ::signal(SIGPIPE, SIG_IGN);
  OutputPipe output;
  OutputRelay relay(false);
  HostOutputs outputs(relay);
  output.close_reader();
  outputs.arrived(1, printed("words\n"));
  relay.write();
  const auto answers = outputs.take_answers();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers.front().second,
            (HeadTookOutput{.of_errors = false, .byte_count = 6, .is_closed = true}));
  // What was under way meanwhile.
  outputs.arrived(2, printed("words\n"));
  EXPECT_FALSE(relay.has_waiting());
  EXPECT_TRUE(outputs.take_answers().front().second.is_closed);
  ::signal(SIGPIPE, pipe_before);
}

}  // namespace
}  // namespace pinion
