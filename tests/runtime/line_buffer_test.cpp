#include "agent/line_buffer.hpp"

#include <algorithm>
#include <random>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace pinion {
namespace {

TEST(LineBuffer, GivesOutWholeLinesOnly) {
  LineBuffer lines;
  EXPECT_EQ(lines.take_lines(), "");
  lines.append("one\ntw");
  EXPECT_EQ(lines.take_lines(), "one\n");
  EXPECT_EQ(lines.take_lines(), "");
  lines.append("o\n\nthree\nfo");
  EXPECT_EQ(lines.take_lines(), "two\n\nthree\n");
  EXPECT_EQ(lines.take_rest(), "fo");
  EXPECT_EQ(lines.take_rest(), "");
}

TEST(LineBuffer, TagsEveryLine) {
  LineBuffer lines("[3] ");
  lines.append("one\n\ntw");
  EXPECT_EQ(lines.take_lines(), "[3] one\n[3] \n");
  lines.append("o");
  EXPECT_EQ(lines.take_rest(), "[3] two");
  EXPECT_EQ(lines.take_rest(), "");
}

TEST(LineBuffer, GivesOutALineThatIsTooLongInPieces) {
  LineBuffer lines;
  lines.append(std::string(LineBuffer::kLineBytesMax - 1, 'x'));
  EXPECT_EQ(lines.take_lines(), "");
  lines.append("yz");
  EXPECT_EQ(lines.take_lines(), std::string(LineBuffer::kLineBytesMax - 1, 'x') + "yz");
  lines.append("end\n");
  EXPECT_EQ(lines.take_lines(), "end\n");
}

TEST(LineBuffer, LosesNoByteWhereverItsInputIsCut) {
  std::mt19937 random(5);
  std::string text;
  for (int i = 0; i < 20'000; ++i) {
    text += random() % 9 == 0 ? '\n' : static_cast<char>('a' + random() % 26);
  }
  LineBuffer lines;
  std::string taken;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t count = random() % 50;
    lines.append(std::string_view(text).substr(begin, count));
    begin += count;
    taken += lines.take_lines();
    EXPECT_TRUE(taken.empty() || taken.back() == '\n');
  }
  EXPECT_EQ(taken + lines.take_rest(), text);
}

// Everything that waits, as an output would take it, some bytes at a time.
std::string drain(LineQueue& queue) {
  std::string text;
  while (!queue.front().empty()) {
    const std::size_t count = std::min<std::size_t>(queue.front().size(), 3);
    text += queue.front().substr(0, count);
    queue.pop(count);
  }
  return text;
}

TEST(LineQueue, EndsALineWhenAnotherFollows) {
  LineQueue queue;
  EXPECT_TRUE(queue.at_line_begin());
  queue.put("whole\n");
  EXPECT_TRUE(queue.at_line_begin());
  queue.put("half");
  EXPECT_FALSE(queue.at_line_begin());
  queue.put("");
  EXPECT_EQ(drain(queue), "whole\nhalf");
  // Also when the half is written already.
  queue.put("next\n");
  EXPECT_EQ(drain(queue), "\nnext\n");
  queue.put("last");
  EXPECT_EQ(drain(queue), "last");
}

TEST(LineQueue, GivesBackAllBytesInOrder) {
  LineQueue queue;
  std::string expected;
  for (int i = 0; i < 100'000; ++i) {
    const std::string line = std::to_string(i) + "\n";
    queue.put(line);
    expected += line;
  }
  EXPECT_EQ(drain(queue), expected);
  queue.put("dropped");
  queue.clear();
  EXPECT_EQ(queue.front(), "");
}

}  // namespace
}  // namespace pinion
