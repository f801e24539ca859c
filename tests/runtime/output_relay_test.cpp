#include "agent/output_relay.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

// A pipe in place of our standard output while the object lives.
class OutputPipe {
 public:
  OutputPipe() : saved_(::dup(STDOUT_FILENO)) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    reader_ = UniqueFd(ends[0]);
    const UniqueFd writer(ends[1]);
    EXPECT_EQ(::dup2(writer.get(), STDOUT_FILENO), STDOUT_FILENO);
    ::fcntl(reader_.get(), F_SETFL, O_NONBLOCK);
  }
  ~OutputPipe() { ::dup2(saved_.get(), STDOUT_FILENO); }
  OutputPipe(const OutputPipe&) = delete;
  OutputPipe& operator=(const OutputPipe&) = delete;

  std::string read_all() const {
    std::string text;
    char bytes[65536];
    for (ssize_t count = 0; (count = ::read(reader_.get(), bytes, sizeof(bytes))) > 0;) {
      text.append(bytes, static_cast<std::size_t>(count));
    }
    return text;
  }
  void close_reader() { reader_ = UniqueFd(); }

 private:
  UniqueFd saved_;
  UniqueFd reader_;
};

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

TEST(OutputRelay, HoldsRanksBackWhoseOutputNobodyTakes) {
  const OutputPipe output;
  OutputRelay relay(false);
  const OutputRelay::Ends ends = relay.add_rank(0).value();
  ::fcntl(ends.output.get(), F_SETFL, O_NONBLOCK);
  const std::string line = std::string(1023, 'x') + "\n";
  std::size_t written = 0;
  std::size_t refused_in_a_row = 0;
  while (refused_in_a_row < 100) {
    const bool taken = write_line(ends.output, line);
    written += taken ? line.size() : 0;
    refused_in_a_row = taken ? 0 : refused_in_a_row + 1;
    turn(relay);
    ASSERT_LT(written, 16u << 20) << "the relay has no bound";
  }
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

}  // namespace
}  // namespace pinion
