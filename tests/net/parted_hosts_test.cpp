// Hosts that reach the head of their job and do not reach each other: the bridge between them lets
// nothing through.

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/job_in_namespaces.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr const char* kNoParting = "a bridge cannot keep its ports apart here";

class HostsThatAreParted : public JobInNamespaces {
 protected:
  void SetUp() override {
    JobInNamespaces::SetUp();
    if (!IsSkipped()) {
      detach_agents();
    }
  }

  void expect_one_lost(const RunningCommand& running) const {
    EXPECT_THAT(running.errors(),
                HasSubstr("host 2 is lost: c: it and b do not reach each other: "));
    EXPECT_EQ(count_of(" is lost: ", running.errors()), 1u) << running.errors();
    EXPECT_TRUE(eventually([&] { return !something_runs(); }));
  }
};

TEST_F(HostsThatAreParted, CostAJobOneOfTheTwo) {
  RunningCommand running(folder_,
                         in_namespaces({1, 1, 1}, {GATED_PROGRAM, path("")}, grant_log_option()),
                         environment());
  ASSERT_TRUE(eventually([&] {
    return fs::exists(path("body.0.1")) && fs::exists(path("body.1.1")) &&
           fs::exists(path("body.2.1"));
  })) << running.errors();
  if (!part({1, 2})) {
    GTEST_SKIP() << kNoParting;
  }
  ASSERT_TRUE(is_lost(running, 2)) << running.errors();
  expect_the_answer_once(running);
  expect_one_lost(running);
}

// One waits for the other, which finds no way to it. Nobody is done before one of them is lost, as
// rank 0 holds a merge back, and no rank takes all of them.
TEST_F(HostsThatAreParted, CostItAlsoWhenTheyNeverMet) {
  if (!part({1, 2})) {
    GTEST_SKIP() << kNoParting;
  }
  RunningCommand running(folder_, in_namespaces({1, 1, 1}, {MERGING_PROGRAM, path("")}),
                         environment());
  ASSERT_TRUE(is_lost(running, 2)) << running.errors();
  write_file(path("body.2"), "");  // Where the plan lay on host 1, rank 2 had none.
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(running.output(), "500 keys, sum 1008000\n");
  expect_one_lost(running);
}

}  // namespace
}  // namespace pinion
