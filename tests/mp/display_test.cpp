// What a job shows while it runs: the bar on a terminal, lines elsewhere, nothing when quiet; the
// summary, the bindings, the trace.

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"
#include "mp/system_huge_pages.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kAnswer = "the sum is 2016";
constexpr const char* kEraseLine = "\r\x1b[K";

// The lines that a terminal shows in the end.
std::vector<std::string> screen_after(const std::string& output) {
  std::vector<std::string> lines = {""};
  std::size_t column = 0;
  for (std::size_t i = 0; i < output.size(); ++i) {
    if (output.compare(i, 3, "\x1b[K") == 0) {
      lines.back().resize(std::min(column, lines.back().size()));
      i += 2;
    } else if (output[i] == '\r') {
      column = 0;
    } else if (output[i] == '\n') {
      lines.emplace_back();
      column = 0;
    } else {
      lines.back().resize(std::max(column + 1, lines.back().size()), ' ');
      lines.back()[column++] = output[i];
    }
  }
  return lines;
}

class Display : public JobTest {
 protected:
  [[nodiscard]] std::vector<std::string> program() const { return {GATED_PROGRAM, path("")}; }
  void open_gate() const { write_file(path("gate"), "open"); }

  void expect_a_bar_that_goes(const std::vector<std::string>& command) {
    TerminalCommand running(command, environment());
    EXPECT_TRUE(running.writes("/64 shards", 3)) << running.output();
    open_gate();
    EXPECT_EQ(running.wait_for_end(), 0) << running.output();
    EXPECT_GE(count_of(std::string(kEraseLine) + "step 1 [", running.output()), 3u);
    EXPECT_THAT(running.output(), ContainsRegex("step 1 \\[[#.]+\\] [0-9]+/64 shards"));
    screen_ = screen_after(running.output());
    EXPECT_THAT(screen_, testing::Contains(kAnswer));
    EXPECT_THAT(screen_, testing::Each(Not(HasSubstr("step 1 ["))));
  }

  std::vector<std::string> screen_;
};

TEST_F(Display, IsABarOnATerminal) {
  expect_a_bar_that_goes(on_ranks(2, program()));
  EXPECT_THAT(screen_, testing::Contains(ContainsRegex("^pinion: 2 ranks, 2 steps, 65 shards")));
}

TEST_F(Display, IsABarOnATerminalOfAProgramAlone) {
  expect_a_bar_that_goes(program());
}

TEST_F(Display, IsLinesElsewhere) {
  RunningCommand running(folder_, on_ranks(2, program()), environment());
  EXPECT_TRUE(eventually([&] { return running.errors().find("/64 shards") != std::string::npos; }));
  open_gate();
  EXPECT_EQ(running.wait_for(60s), 0);
  EXPECT_THAT(running.errors(), ContainsRegex("pinion: step 1: [0-9]+/64 shards"));
  EXPECT_THAT(running.errors(), Not(HasSubstr("\x1b")));
  EXPECT_THAT(running.errors(), ContainsRegex("pinion: 2 ranks, 2 steps, 65 shards"));
  EXPECT_EQ(running.output(), std::string(kAnswer) + "\n");
}

TEST_F(Display, IsNothingWhenQuiet) {
  TerminalCommand running(on_ranks(2, program(), {"--quiet"}), environment());
  ASSERT_TRUE(bodies_have_begun());
  open_gate();
  EXPECT_EQ(running.wait_for_end(), 0);
  EXPECT_EQ(running.output(), std::string(kAnswer) + "\r\n");

  const CommandResult elsewhere = run(on_ranks(2, program(), {"--quiet"}));
  EXPECT_EQ(elsewhere.status, 0);
  EXPECT_EQ(elsewhere.output, std::string(kAnswer) + "\n");
  EXPECT_EQ(elsewhere.errors, "");
}

TEST_F(Display, IsClearedWhenTheKeyboardEndsTheJob) {
  TerminalCommand running(on_ranks(2, program()), environment());
  EXPECT_TRUE(running.writes("step 1 [", 1)) << running.output();
  running.type("\x03");
  EXPECT_EQ(running.wait_for_end(), 130);
  EXPECT_FALSE(something_runs());
  EXPECT_THAT(screen_after(running.output()), testing::Each(Not(HasSubstr("step 1 ["))));
  EXPECT_THAT(running.output(), Not(HasSubstr("starting it again")));
}

TEST_F(Display, SaysWhereEachRankRuns) {
  open_gate();
  const CommandResult result = run(on_ranks(2, program(), {"--report-bindings"}));
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.errors, ContainsRegex("pinion: rank 0: 1 worker on NUMA node 0, "));
  EXPECT_THAT(result.errors, ContainsRegex("pinion: rank 1: 1 worker on NUMA node [0-9]+, "));
}

TEST_F(Display, SaysOfWorkersThatTheyWereNotWhereTheyWereToBe) {
  for (const std::string quiet : {"0", "1"}) {
    // Two, so that they change places.
    const CommandResult result =
        run({UNBOUND_PROGRAM, "--pinion-workers=2", "--pinion-quiet=" + quiet});
    EXPECT_EQ(result.status, 0) << result.errors;
    const std::string words = "pinion: rank 0 ran with workers that were not where they were to be";
    EXPECT_EQ(count_of(words, result.errors), quiet == "1" ? 0u : 1u) << result.errors;
    EXPECT_EQ(count_of("cannot be bound to them: Operation not permitted", result.errors),
              quiet == "1" ? 0u : 1u)
        << result.errors;
  }
}

TEST_F(Display, SaysWhichPagesLargeBlobsGetAndWhyNotOthers) {
  open_gate();
  const CommandResult result = run(on_ranks(2, program(), {"--report-bindings"}));
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(
      result.errors,
      ContainsRegex("pinion: large blobs are in (huge pages where|small pages: [A-Z_]+: )"));
  EXPECT_THAT(result.errors, HasSubstr("pinion: of 0 MiB of large blobs 0 MiB lay in huge pages"));
  const CommandResult without =
      run(on_ranks(2, program(), {"--report-bindings", "--set", "huge-pages=0"}));
  EXPECT_EQ(without.status, 0);
  EXPECT_THAT(without.output, HasSubstr(kAnswer));
  EXPECT_THAT(without.errors, HasSubstr("pinion: large blobs are in small pages: "));
  EXPECT_THAT(without.errors, HasSubstr("huge-pages is set to 0"));
}

// 20 blobs of 8 MiB, which is 4 huge pages, by each of 2 ranks.
TEST_F(Display, SaysHowMuchOfLargeBlobsLayInHugePages) {
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  for (const std::string setting : {"huge-pages=1", "huge-pages=0"}) {
    const SystemHugePages system;
    const CommandResult result =
        run(on_ranks(2, {BLOB_PROGRAM, "turns"},
                     {"--report-bindings", "--set", setting, "--set", "memory-bytes=67108864",
                      "--set", "spill-bytes-max=0"}));
    ASSERT_EQ(result.status, 0) << result.errors;
    const std::string before = "pinion: of 320 MiB of large blobs ";
    const std::size_t at = result.errors.find(before);
    ASSERT_NE(at, std::string::npos) << result.errors;
    const std::uint64_t huge_bytes =
        kMiB * std::strtoull(result.errors.c_str() + at + before.size(), nullptr, 10);
    const HugePageBounds bounds = system.bounds_of(320 * kMiB, result.errors);
    std::cout << setting << ": " << bounds << "\n";
    EXPECT_GE(huge_bytes, bounds.least_bytes) << bounds;
    EXPECT_LE(huge_bytes, bounds.most_bytes) << bounds;
  }
}

// The shards that the spans of a rank's trace are about.
std::vector<std::uint64_t> shards_in_trace(const std::string& path) {
  std::vector<std::uint64_t> shards;
  const json trace = json::parse(read_file(path), nullptr, false);
  EXPECT_FALSE(trace.is_discarded()) << path << " is no JSON: " << read_file(path);
  if (trace.is_object()) {
    for (const json& event : trace.at("traceEvents")) {
      if (event.value("name", "") == "shard") {
        shards.push_back(event.at("args").at("id").get<std::uint64_t>());
      }
    }
  }
  return shards;
}

TEST_F(Display, WritesATraceWithASpanForEachShard) {
  open_gate();
  const CommandResult result =
      run(on_ranks(2, program(), {"--trace", path("deep/trace"), "--set", "late-seconds=3600"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("trace in " + path("deep/trace") + "/trace.rank*.json"));
  std::vector<std::uint64_t> shards = shards_in_trace(path("deep/trace/trace.rank0.json"));
  const std::vector<std::uint64_t> more = shards_in_trace(path("deep/trace/trace.rank1.json"));
  shards.insert(shards.end(), more.begin(), more.end());
  std::sort(shards.begin(), shards.end());
  // The second step, which prints, has a shard 0 too.
  std::vector<std::uint64_t> expected = each_once(64);
  expected.insert(expected.begin(), 0);
  EXPECT_EQ(shards, expected);
}

TEST_F(Display, RefusesATraceDirectoryThatCannotBeMade) {
  write_file(path("file"), "in the way");
  for (const auto& command : {on_ranks(2, program(), {"--trace", path("file/trace")}),
                              std::vector<std::string>{GATED_PROGRAM, path(""),
                                                       "--pinion-trace=" + path("file/trace")}}) {
    const CommandResult result = run(command);
    EXPECT_EQ(result.status, 66);
    EXPECT_EQ(result.output, "");
    EXPECT_THAT(result.errors, HasSubstr("cannot make the trace directory " + path("file/trace")));
    EXPECT_FALSE(std::filesystem::exists(path("body.0.1"))) << "it ran nevertheless";
  }
}

TEST_F(Display, RefusesAGrantLogThatCannotBeWritten) {
  for (const auto& command :
       {on_ranks(2, program(), {"--grant-log", path("nowhere/log")}),
        std::vector<std::string>{GATED_PROGRAM, path(""),
                                 "--pinion-grant-log=" + path("nowhere/log")}}) {
    const CommandResult result = run(command);
    EXPECT_EQ(result.status, 66);
    EXPECT_EQ(result.output, "");
    EXPECT_THAT(result.errors, HasSubstr("cannot write the grant log " + path("nowhere/log")));
    EXPECT_FALSE(std::filesystem::exists(path("body.0.1"))) << "it ran nevertheless";
  }
}

}  // namespace
}  // namespace pinion
