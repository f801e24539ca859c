// What `pinion shm` shows of a job that is at work.

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"
#include "mp/system_huge_pages.hpp"

namespace pinion {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

using ShmCommand = JobTest;

TEST_F(ShmCommand, ShowsTheSlabsOfAJobAtWork) {
  RunningCommand running(folder_, on_ranks(2, {GATED_PROGRAM, path("")}, grant_log_option()),
                         environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  const std::string process = std::to_string(running.pid());

  // Both ranks have opened the plan, which one of them made and the job keeps.
  const CommandResult shown = run_pinion(folder_, {"shm", process, "--json"}, environment());
  ASSERT_EQ(shown.status, 0) << shown.errors;
  const json jobs = json::parse(shown.output);
  ASSERT_EQ(jobs.size(), 1u) << shown.output;
  const json& job = jobs[0];
  EXPECT_EQ(job.at("agent"), parent_of(pid_of(grant_log(), 0, 1)));
  ASSERT_EQ(job.at("segments").size(), 1u) << shown.output;
  const json& slab = job.at("segments")[0];
  EXPECT_EQ(slab.at("kind"), "slab");
  // Rank 0, unless it came so late that rank 1 has planned.
  EXPECT_THAT(
      slab.at("owner").get<std::string>(),
      AnyOf(std::to_string(pid_of(grant_log(), 0, 1)), std::to_string(pid_of(grant_log(), 1, 1))));
  EXPECT_EQ(slab.at("blob_count"), 1);
  EXPECT_EQ(slab.at("kept_count"), 1);
  EXPECT_GE(slab.at("reference_count"), 1);
  EXPECT_EQ(job.at("processes").size(), 2u);

  const CommandResult table = run_pinion(folder_, {"shm"}, environment());
  EXPECT_EQ(table.status, 0);
  EXPECT_THAT(table.output, HasSubstr(job.at("job").get<std::string>()));
  EXPECT_THAT(table.output, HasSubstr("slab"));

  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  const CommandResult over = run_pinion(folder_, {"shm", process}, environment());
  EXPECT_EQ(over.status, 66);
  EXPECT_THAT(over.errors, HasSubstr("neither a running pinion run nor its agent"));
}

// Rank 0 has 5 blobs of 8 MiB, which is 4 huge pages, behind a header that makes each a page more.
TEST_F(ShmCommand, ShowsWhatOfLargeBlobsLiesInHugePages) {
  constexpr std::uint64_t kBlobBytes = std::uint64_t{8} << 20;
  const SystemHugePages system;
  std::vector<std::string> options = grant_log_option();
  options.insert(options.end(), {"--report-bindings", "--set", "memory-bytes=268435456"});
  RunningCommand running(folder_, on_ranks(2, {BLOB_PROGRAM, "keep", path("")}, options),
                         environment());
  ASSERT_TRUE(eventually([this] { return std::filesystem::exists(path("held")); }))
      << running.errors();
  const CommandResult shown =
      run_pinion(folder_, {"shm", std::to_string(running.pid()), "--json"}, environment());
  ASSERT_EQ(shown.status, 0) << shown.errors;
  const json jobs = json::parse(shown.output);
  ASSERT_EQ(jobs.size(), 1u) << shown.output;
  std::size_t blob_count = 0;
  std::uint64_t huge_bytes = 0;
  for (const json& segment : jobs[0].at("segments")) {
    if (segment.at("owner") == std::to_string(pid_of(grant_log(), 0, 1))) {
      ++blob_count;
      EXPECT_EQ(segment.at("kind"), "segment");
      EXPECT_EQ(segment.at("blob_bytes"), kBlobBytes);
      EXPECT_LE(segment.at("huge_page_bytes"), kBlobBytes);
      huge_bytes += segment.at("huge_page_bytes").get<std::uint64_t>();
    }
  }
  EXPECT_EQ(blob_count, 5u) << shown.output;
  write_file(path("enough"), "");
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();

  const HugePageBounds bounds = system.bounds_of(5 * kBlobBytes, running.errors());
  std::cout << bounds << "\n";
  EXPECT_GE(huge_bytes, bounds.least_bytes) << bounds;
  EXPECT_LE(huge_bytes, bounds.most_bytes) << bounds;
}

}  // namespace
}  // namespace pinion
