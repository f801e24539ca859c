#include <pinion/core/trace.hpp>

#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace pinion {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;

class TraceFile : public testing::Test {
 protected:
  TraceFile() {
    std::string pattern = testing::TempDir() + "pinion-trace-XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = folder_ / "trace.json";
  }
  ~TraceFile() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string text() const {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  // What `trace` writes, as a viewer reads it.
  [[nodiscard]] Json written(const Trace& trace, std::uint32_t rank = 0) const {
    EXPECT_TRUE(trace.write(path_, rank).ok());
    return Json::parse(text());
  }

  [[nodiscard]] std::ptrdiff_t file_count() const {
    return std::distance(std::filesystem::directory_iterator(folder_),
                         std::filesystem::directory_iterator());
  }

  std::filesystem::path folder_;
  std::filesystem::path path_;
};

TraceSpan span_of(const char* name, Duration begin, Duration length, std::uint64_t id = 0) {
  return {.name = name, .id = id, .begin = Instant(begin), .end = Instant(begin + length)};
}

std::vector<Json> spans_of(const Json& file) {
  std::vector<Json> spans;
  for (const Json& event : file.at("traceEvents")) {
    if (event.at("ph") == "X") {
      spans.push_back(event);
    }
  }
  return spans;
}

std::vector<std::uint64_t> ids_of(const Json& file) {
  std::vector<std::uint64_t> ids;
  for (const Json& span : spans_of(file)) {
    ids.push_back(span.at("args").at("id"));
  }
  return ids;
}

TEST_F(TraceFile, HasOneProcessRowForTheRankAndOneThreadRowAWorker) {
  const Trace trace({.enabled = true}, 2);
  const Json file = written(trace, 3);
  std::vector<std::string> rows;
  for (const Json& event : file.at("traceEvents")) {
    EXPECT_EQ(event.at("ph"), "M");
    EXPECT_EQ(event.at("pid"), 3);
    rows.push_back(event.at("args").at("name"));
  }
  EXPECT_EQ(rows, (std::vector<std::string>{"rank 3", "worker 0", "worker 1", "program"}));
}

TEST_F(TraceFile, HasRowsThatWereAdded) {
  Trace trace({.enabled = true, .span_count_max = 1}, 1);
  const std::size_t row = trace.add_row("device 0, copy in");
  EXPECT_EQ(row, 2u);
  trace.record(row, span_of("copy in", 5us, 2us));
  trace.record(0, span_of("shard", 6us, 2us));
  const Json file = written(trace);
  std::vector<std::string> rows;
  for (const Json& event : file.at("traceEvents")) {
    if (event.at("ph") == "M") {
      rows.push_back(event.at("args").at("name"));
    }
  }
  EXPECT_EQ(rows, (std::vector<std::string>{"rank 0", "worker 0", "program", "device 0, copy in"}));
  const std::vector<Json> spans = spans_of(file);
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].at("tid"), 0);
  EXPECT_EQ(spans[1].at("name"), "copy in");
  EXPECT_EQ(spans[1].at("tid"), 2);
}

TEST_F(TraceFile, ShowsASpanWithItsRowIdAndPlace) {
  Trace trace({.enabled = true}, 2);
  TraceSpan span = span_of("map", 5us, 2us, UINT64_MAX);
  span.place = {.kind = PlaceKind::kDevice, .index = 1, .host = 4};
  trace.record(1, span);

  const std::vector<Json> spans = spans_of(written(trace, 7));

  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].at("name"), "map");
  EXPECT_EQ(spans[0].at("pid"), 7);
  EXPECT_EQ(spans[0].at("tid"), 1);
  EXPECT_EQ(spans[0].at("args").at("id"), UINT64_MAX);
  EXPECT_EQ(spans[0].at("args").at("place"), "device 1 of host 4");
}

TEST_F(TraceFile, CountsInMicrosecondsAndKeepsEveryNanosecond) {
  Trace trace({.enabled = true}, 1);
  trace.record(0, span_of("a", 1'234'567'890'123'456'789ns, 1ns));
  trace.record(1, span_of("b", -1500ns, 2'000'050ns));
  static_cast<void>(written(trace));
  EXPECT_THAT(text(), testing::HasSubstr("\"ts\":1234567890123456.789,\"dur\":0.001,"));
  EXPECT_THAT(text(), testing::HasSubstr("\"ts\":-1.500,\"dur\":2000.050,"));
}

TEST_F(TraceFile, EscapesNames) {
  Trace trace({.enabled = true}, 1);
  const char* const name = "a \"quoted\" back\\slash\n\t\x01 caf\xc3\xa9";
  trace.record(0, span_of(name, 0us, 1us));
  EXPECT_EQ(spans_of(written(trace)).at(0).at("name"), name);
}

TEST_F(TraceFile, KeepsTheLatestSpansInOrder) {
  Trace trace({.enabled = true, .span_count_max = 3}, 1);
  for (std::uint64_t id = 0; id < 8; ++id) {
    trace.record(0, span_of("a", 0us, 1us, id));
  }
  EXPECT_EQ(ids_of(written(trace)), (std::vector<std::uint64_t>{5, 6, 7}));
  EXPECT_EQ(trace.overwritten(), 5u);
}

TEST_F(TraceFile, OverwritesNothingUntilTheRingIsFull) {
  Trace trace({.enabled = true, .span_count_max = 3}, 1);
  for (std::uint64_t id = 0; id < 3; ++id) {
    trace.record(0, span_of("a", 0us, 1us, id));
  }
  EXPECT_EQ(ids_of(written(trace)), (std::vector<std::uint64_t>{0, 1, 2}));
  EXPECT_EQ(trace.overwritten(), 0u);
}

TEST_F(TraceFile, HoldsAllSpansOfALongTrace) {
  Trace trace({.enabled = true}, 1);
  for (std::uint64_t id = 0; id < 3000; ++id) {
    trace.record(id % 2, span_of("a", 0us, 1us, id));
  }
  EXPECT_EQ(spans_of(written(trace)).size(), 3000u);
}

TEST_F(TraceFile, CountsSpansThatARingOfNoneLoses) {
  Trace trace({.enabled = true, .span_count_max = 0}, 1);
  trace.record(0, span_of("a", 0us, 1us));
  EXPECT_EQ(trace.overwritten(), 1u);
  EXPECT_TRUE(spans_of(written(trace)).empty());
}

TEST_F(TraceFile, HasNoSpansWhenTheTraceIsOff) {
  Trace trace({}, 1);
  trace.record(0, span_of("a", 0us, 1us));
  EXPECT_FALSE(trace.enabled());
  EXPECT_EQ(trace.overwritten(), 0u);
  EXPECT_TRUE(spans_of(written(trace)).empty());
}

TEST_F(TraceFile, ReplacesAnOlderFileAndLeavesNoOther) {
  std::ofstream(path_) << "older";
  const Trace trace({.enabled = true}, 1);
  static_cast<void>(written(trace));
  EXPECT_EQ(file_count(), 1);
}

TEST_F(TraceFile, AppearsBesideWhatADeadProcessOfTheSameNumberLeft) {
  const std::string stale = path_.string() + ".partial-" + std::to_string(::getpid()) + "-0";
  std::ofstream(stale) << "stale";
  const Trace trace({.enabled = true}, 1);
  static_cast<void>(written(trace));
  EXPECT_EQ(file_count(), 2);
}

TEST_F(TraceFile, NamesAFolderThatDoesNotExist) {
  const Trace trace({.enabled = true}, 1);
  const Status status = trace.write(folder_ / "none" / "trace.json", 0);
  EXPECT_EQ(status.code(), ErrorCode::kNotFound);
  EXPECT_THAT(status.message(), testing::HasSubstr("none/trace.json"));
}

TEST_F(TraceFile, LeavesNothingWhenItCannotAppear) {
  std::filesystem::create_directory(path_);
  const Trace trace({.enabled = true}, 1);
  EXPECT_EQ(trace.write(path_, 0).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(file_count(), 1);
}

TEST(TraceDeathTest, DiesOfAWorkerThatItDoesNotHave) {
  Trace trace({.enabled = true}, 2);
  EXPECT_DEATH(trace.record(3, {}), "worker <");
}

}  // namespace
}  // namespace pinion
