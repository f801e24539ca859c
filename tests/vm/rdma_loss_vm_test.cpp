// Runs as root inside the first of the two virtual machines "rdma-pair" of tests/vm/boot.sh: what
// goes between the hosts of a job goes over RDMA, by adapters in software, and over a cable that
// loses some of it.

#include <chrono>
#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include "jobs_over_rdma.hpp"
#include "mp/job_runner.hpp"

namespace pinion {
namespace {

constexpr std::chrono::seconds kPatience{240};

// What takes a line, a command for the second machine, and that command's input.
const std::string kSecond = "nc 10.77.0.2 2222";
const std::string kShell = "{ echo \"$*\"; cat; } | " + kSecond;

// What `command` prints on the first machine (0) or the second (1).
std::string output_on(const TemporaryFolder& folder, int machine, const std::string& command) {
  const std::string here = machine == 0 ? command : "echo " + command + " | " + kSecond;
  const CommandResult result = run_command(folder, {"sh", "-c", here});
  EXPECT_EQ(result.status, 0) << result.errors;
  return result.output;
}

std::uint64_t counter(const TemporaryFolder& folder, int machine, const std::string& name) {
  const std::string text =
      output_on(folder, machine, "cat /sys/class/infiniband/rxe0/ports/1/hw_counters/" + name);
  return text.empty() ? 0 : std::stoull(text);
}

// What the adapters of both machines did again, or were sent again.
std::uint64_t again(const TemporaryFolder& folder) {
  std::uint64_t sum = 0;
  for (const int machine : {0, 1}) {
    for (const char* const name :
         {"completer_retry_err", "duplicate_request", "out_of_seq_request", "rcvd_seq_err"}) {
      sum += counter(folder, machine, name);
    }
  }
  return sum;
}

TEST(JobOverRdmaThatLoses, CountsWordsAsOneRankDoes) {
  const TemporaryFolder folder;
  const WordsOverRdma words;
  const std::string text = "/tmp/text";  // On both machines.
  write_file(text, words.text);
  ASSERT_EQ(output_on(folder, 0, "{ echo tee " + text + "; cat " + text + "; } | " + kSecond),
            words.text);

  const std::uint64_t before = again(folder);
  RunningCommand job(folder,
                     over_rdma(folder, kShell, WordsOverRdma::program(text, folder / "out")));
  EXPECT_EQ(job.wait_for(kPatience), 0) << job.errors();
  EXPECT_EQ(read_file(folder / "out"), words.counts);
  EXPECT_TRUE(says_rdma(job)) << job.errors();
  EXPECT_GE(pulled_by_both(job).bytes, 1 << 20) << job.errors();
  EXPECT_GT(counter(folder, 0, "rcvd_pkts"), 1000u);
  EXPECT_GT(again(folder), before) << "nothing was lost";
}

TEST(JobOverRdmaThatLoses, PullsWholeVectors) {
  const TemporaryFolder folder;
  const std::uint64_t before = again(folder);
  RunningCommand job(folder, over_rdma(folder, kShell, kVectors));
  EXPECT_EQ(job.wait_for(kPatience), 0) << job.errors();
  EXPECT_EQ(job.output(), kSumOfVectors);
  EXPECT_TRUE(says_rdma(job)) << job.errors();
  EXPECT_TRUE(pulled_by_both(job).has_rate) << job.errors();
  EXPECT_GT(again(folder), before) << "nothing was lost";
}

}  // namespace
}  // namespace pinion
