#include "progress.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr Instant kStart = Instant(1h);
constexpr const char* kEraseLine = "\r\x1b[K";

protocol::Progress halfway() {
  return {.step = 2,
          .stage = protocol::Stage::kMap,
          .planned = true,
          .shard_count = 8,
          .shard_accepted_count = 4,
          .weight = 1 << 20,
          .weight_accepted = 1 << 19,
          .input_bytes = 1 << 19};
}

// A display on a made-up time line. Everything it writes to standard error is caught.
class Display {
 public:
  explicit Display(const ProgressDisplay::Options& options) : display_(options, kStart) {
    testing::internal::CaptureStderr();
  }
  ~Display() { EXPECT_EQ(testing::internal::GetCapturedStderr(), drawn_); }

  std::string update(const protocol::Progress& progress, Duration after) {
    const std::string text = display_.update(progress, kStart + after);
    drawn_ += text;
    return text;
  }

  std::string clear() {
    const std::string text = display_.clear();
    drawn_ += text;
    return text;
  }

  Duration interval() const { return display_.interval(); }

 private:
  ProgressDisplay display_;
  std::string drawn_;
};

constexpr ProgressDisplay::Options kTerminal = {.quiet = false, .is_terminal = true, .width = 80};
constexpr ProgressDisplay::Options kPipe = {.quiet = false, .is_terminal = false, .width = 80};

TEST(ProgressDisplay, ShowsNothingInTheFirstSecond) {
  Display display(kTerminal);
  for (Duration after = 0ms; after < 1s; after += 10ms) {
    ASSERT_EQ(display.update(halfway(), after), "") << after.count();
  }
  EXPECT_NE(display.update(halfway(), 1s), "");
}

TEST(ProgressDisplay, DrawsAtMostOnceAnInterval) {
  for (const ProgressDisplay::Options& options : {kTerminal, kPipe}) {
    Display display(options);
    Duration last = -1h;
    int drawing_count = 0;
    for (Duration after = 0ms; after < 30s; after += 7ms) {
      if (!display.update(halfway(), after).empty()) {
        ASSERT_GE(after - last, display.interval());
        last = after;
        ++drawing_count;
      }
    }
    EXPECT_GE(drawing_count, options.is_terminal ? 200 : 4);
  }
}

TEST(ProgressDisplay, ShowsNothingBeforeTheFirstStep) {
  Display display(kTerminal);
  EXPECT_EQ(display.update({}, 1min), "");
  EXPECT_EQ(display.clear(), "");
}

TEST(ProgressDisplay, ShowsNothingWhenQuiet) {
  for (const bool is_terminal : {true, false}) {
    Display display({.quiet = true, .is_terminal = is_terminal});
    for (Duration after = 0s; after < 1min; after += 1s) {
      ASSERT_EQ(display.update(halfway(), after), "");
    }
    EXPECT_EQ(display.clear(), "");
  }
}

TEST(ProgressDisplay, DrawsABarThatReplacesTheOneBefore) {
  Display display(kTerminal);
  ASSERT_EQ(display.update({.step = 2}, 0s), "");
  const std::string bar = display.update(halfway(), 2s);
  EXPECT_THAT(bar,
              AllOf(StartsWith(std::string(kEraseLine) + "step 2 ["), HasSubstr("4/8 shards"),
                    HasSubstr("256.00 KiB/s"), HasSubstr("2.00 s left"), Not(HasSubstr("\n"))));
  const auto filled = std::count(bar.begin(), bar.end(), '#');
  EXPECT_GT(filled, 0);
  const std::string box = bar.substr(bar.find('['), bar.find(']') - bar.find('['));
  EXPECT_EQ(filled, std::count(std::next(box.begin()), box.end(), '.')) << "half of it is done";
}

// Lines that fill the last column would make the terminal go to the next one.
TEST(ProgressDisplay, KeepsTheBarInsideTheTerminal) {
  protocol::Progress planning = {.step = 1};
  protocol::Progress merging = halfway();
  merging.stage = protocol::Stage::kMerge;
  protocol::Progress huge = halfway();
  huge.step = 1'000'000;
  huge.shard_count = 18'000'000'000'000'000'000u;
  huge.shard_accepted_count = 17'000'000'000'000'000'000u;
  huge.weight = 18'000'000'000'000'000'000u;
  huge.weight_accepted = 17'000'000'000'000'000'000u;
  huge.input_bytes = 18'000'000'000'000'000'000u;
  huge.failure_count = 18'000'000'000'000'000'000u;
  for (std::size_t width = 20; width <= 200; ++width) {
    for (const protocol::Progress& progress : {planning, halfway(), merging, huge}) {
      Display display({.is_terminal = true, .width = width});
      static_cast<void>(display.update(progress, 0s));
      const std::string bar = display.update(progress, 2s);
      ASSERT_THAT(bar, StartsWith(kEraseLine));
      ASSERT_LT(bar.size() - std::string_view(kEraseLine).size(), width) << bar;
    }
  }
}

TEST(ProgressDisplay, SaysThatAStepIsPlannedOnceThatTakesASecond) {
  Display display(kTerminal);
  ASSERT_EQ(display.update({.step = 1}, 0s), "");
  EXPECT_THAT(display.update({.step = 1}, 2s), HasSubstr("planning"));
  EXPECT_EQ(display.clear(), kEraseLine);
  EXPECT_EQ(display.update({.step = 2}, 3s), "");
  EXPECT_EQ(display.update({.step = 2}, 3900ms), "");
  EXPECT_THAT(display.update({.step = 2}, 4s), HasSubstr("planning"));
}

TEST(ProgressDisplay, FillsTheBarAsTheWorkGoesOn) {
  Display display(kTerminal);
  std::ptrdiff_t before = -1;
  for (std::uint64_t accepted = 0; accepted <= 8; ++accepted) {
    protocol::Progress progress = halfway();
    progress.shard_accepted_count = accepted;
    progress.weight_accepted = accepted * (progress.weight / 8);
    const std::string bar = display.update(progress, 2s + accepted * 1s);
    const auto filled = std::count(bar.begin(), bar.end(), '#');
    EXPECT_GT(filled, before) << bar;
    before = filled;
  }
}

TEST(ProgressDisplay, CountsShardsWhereTheyHaveNoBytes) {
  Display display(kTerminal);
  protocol::Progress progress = halfway();
  progress.weight = 0;
  progress.weight_accepted = 0;
  ASSERT_EQ(display.update({.step = 2}, 0s), "");
  EXPECT_THAT(display.update(progress, 3s), AllOf(HasSubstr("#"), HasSubstr("3.00 s left")));
}

TEST(ProgressDisplay, SaysNoTimeLeftBeforeAnythingIsDone) {
  Display display(kTerminal);
  protocol::Progress progress = halfway();
  progress.shard_accepted_count = 0;
  progress.weight_accepted = 0;
  EXPECT_THAT(display.update(progress, 3s), AllOf(HasSubstr("0/8 shards"), Not(HasSubstr("left"))));
  progress.shard_count = 0;
  progress.weight = 0;
  EXPECT_THAT(display.update(progress, 4s), Not(HasSubstr("left")));
}

TEST(ProgressDisplay, HasASaneTimeLeftAfterATinyFirstShard) {
  Display display(kTerminal);
  display.update({.step = 1}, 0s);
  EXPECT_THAT(display.update({.step = 1,
                              .planned = true,
                              .shard_count = 1'000'000,
                              .shard_accepted_count = 1,
                              .weight = std::uint64_t{1} << 60,
                              .weight_accepted = 1},
                             1h),
              AllOf(HasSubstr(" h "), Not(HasSubstr("-"))));
}

TEST(ProgressDisplay, TellsWhatIsDoneBesideMapping) {
  Display display(kPipe);
  EXPECT_EQ(display.update({.step = 1}, 0s), "");
  EXPECT_EQ(display.update({.step = 1}, 5s), "pinion: step 1: planning\n");
  protocol::Progress merging = halfway();
  merging.stage = protocol::Stage::kMerge;
  EXPECT_EQ(display.update(merging, 10s), "pinion: step 2: merging\n");
  protocol::Progress failing = halfway();
  failing.failure_count = 3;
  EXPECT_THAT(display.update(failing, 15s), HasSubstr("3 run again"));
}

TEST(ProgressDisplay, WritesPlainLinesWhereThereIsNoTerminal) {
  Display display(kPipe);
  EXPECT_EQ(display.update(halfway(), 4999ms), "");
  const std::string line = display.update(halfway(), 5s);
  EXPECT_THAT(line, AllOf(StartsWith("pinion: step 2: 4/8 shards"), EndsWith("\n"),
                          Not(HasSubstr("\r")), Not(HasSubstr("\x1b"))));
  EXPECT_EQ(display.clear(), "");
}

TEST(ProgressDisplay, MeasuresEachStepFromItsOwnStart) {
  Display display(kPipe);
  protocol::Progress first = halfway();
  first.step = 1;
  display.update(first, 0s);
  protocol::Progress second = halfway();
  second.weight_accepted = 0;
  second.shard_accepted_count = 0;
  display.update(second, 10s);
  EXPECT_THAT(display.update(halfway(), 12s), "");
  EXPECT_THAT(display.update(halfway(), 15s), HasSubstr("  5.00 s left"));
}

TEST(ProgressDisplay, ClearsOnlyABarThatIsUp) {
  Display display(kTerminal);
  EXPECT_EQ(display.clear(), "");
  ASSERT_NE(display.update(halfway(), 2s), "");
  EXPECT_EQ(display.clear(), kEraseLine);
  EXPECT_EQ(display.clear(), "");
  ASSERT_NE(display.update(halfway(), 3s), "");
  EXPECT_EQ(display.clear(), kEraseLine);
}

TEST(ProgressDisplay, FitsAStandardErrorThatIsNoTerminal) {
  testing::internal::CaptureStderr();
  const ProgressDisplay::Options options = ProgressDisplay::for_standard_error(true);
  testing::internal::GetCapturedStderr();
  EXPECT_TRUE(options.quiet);
  EXPECT_FALSE(options.is_terminal);
}

TEST(Summary, HasWordsForOneAndForMany) {
  EXPECT_EQ(summary_of({.step_count = 1, .shard_count = 1, .input_bytes = 1 << 20}, 1s),
            "1 step, 1 shard in 1.00 s, 1.00 MiB read (1.00 MiB/s)");
  EXPECT_EQ(summary_of({.step_count = 2, .shard_count = 65, .input_bytes = 3 << 20}, 2s),
            "2 steps, 65 shards in 2.00 s, 3.00 MiB read (1.50 MiB/s)");
}

TEST(Summary, HasWordsForNothing) {
  EXPECT_EQ(summary_of({}, 1ms), "0 steps, 0 shards in 1.00 ms");
  EXPECT_EQ(summary_of({}, Duration::zero()), "0 steps, 0 shards in 0 ns");
}

TEST(Summary, TellsWhatWasRunAgain) {
  EXPECT_THAT(summary_of({.step_count = 1, .shard_count = 9, .failure_count = 4}, 1s),
              EndsWith(", 4 run again"));
}

TEST(Summary, BearsAnyNumber) {
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  EXPECT_THAT(summary_of({kMost, kMost, kMost, kMost}, Duration::zero()),
              AllOf(HasSubstr("in 0 ns, 16.00 EiB read"), HasSubstr("/s)")));
}

}  // namespace
}  // namespace pinion
