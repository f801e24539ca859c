#pragma once

#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mp/job_runner.hpp"

namespace pinion {

/// The command `pinion run` for `program` on this many ranks, with more options.
[[nodiscard]] std::vector<std::string> on_ranks(std::size_t rank_count,
                                                const std::vector<std::string>& program,
                                                const std::vector<std::string>& options = {},
                                                std::size_t workers_per_rank = 1);

/// The whole lines of a grant log; the agent may be writing the last one.
[[nodiscard]] std::vector<nlohmann::json> parse_log(const std::string& text);

/// The process of that life of a rank; 0 when it has not joined.
[[nodiscard]] pid_t pid_of(const std::vector<nlohmann::json>& log, std::uint64_t rank,
                           std::uint64_t incarnation);

/// The shards of a step that were accepted, one entry for each acceptance, sorted.
[[nodiscard]] std::vector<std::uint64_t> accepted_shards(const std::vector<nlohmann::json>& log,
                                                         std::uint64_t step);

/// What the log shows of the sink's rules, seen from outside, in words: each fence that was given
/// twice, each unit that was accepted twice, or from a life that was dead or never had the fence.
[[nodiscard]] std::vector<std::string> fence_violations(const std::vector<nlohmann::json>& log);

/// 0 to count - 1: what accepted_shards() gives when each was accepted once.
[[nodiscard]] std::vector<std::uint64_t> each_once(std::uint64_t count);

/// What lies about before a test runs its jobs, to find what they leave.
class Surroundings {
 public:
  /// The jobs' processes are those whose environment has PINION_TEST_TOKEN=`token`.
  explicit Surroundings(std::string token);

  /// Processes of the jobs, the memory without a name that they have, or this process since then,
  /// and names in /tmp and /dev/shm and of sockets that came since then.
  /// Waits, at most a minute, for names to go that other programs make and remove meanwhile.
  [[nodiscard]] std::vector<std::string> left_behind() const;

 private:
  [[nodiscard]] std::vector<std::string> names_that_came() const;

  std::string token_;
  std::vector<std::string> before_;
  std::set<std::string> own_memory_before_;
};

/// A test that runs jobs. When it ends, nothing of them may be left: no process, no memory, no name
/// in /tmp or /dev/shm, no socket.
class JobTest : public testing::Test {
 protected:
  void TearDown() override;

  /// Of a job's processes; they can be told by it.
  [[nodiscard]] RunningCommand::Environment environment(
      RunningCommand::Environment additions = {}) const;

  /// What tells the processes of this test's jobs: their PINION_TEST_TOKEN.
  [[nodiscard]] const std::string& token() const { return token_; }

  /// Whether any process of this test's jobs is still there.
  [[nodiscard]] bool something_runs() const;
  /// Whether a process of that rank is there.
  [[nodiscard]] bool rank_runs(int rank) const;

  [[nodiscard]] CommandResult run(const std::vector<std::string>& command,
                                  const std::string& input = {}) const {
    return run_command(folder_, command, environment(), input);
  }

  [[nodiscard]] std::string path(const std::string& name) const { return folder_ / name; }

  /// The grant log that jobs of this test write when they are given grant_log_option().
  [[nodiscard]] std::vector<nlohmann::json> grant_log() const {
    return parse_log(read_file(path("grants")));
  }
  [[nodiscard]] std::vector<std::string> grant_log_option() const {
    return {"--grant-log", path("grants")};
  }

  /// Waits until the agent of a job that was given stop_option() has stopped itself; its process,
  /// or 0 when the job has ended before. SIGCONT lets it go on.
  [[nodiscard]] pid_t stopped_agent(RunningCommand& running) const;
  [[nodiscard]] static std::vector<std::string> stop_option(std::size_t line_count) {
    return {"--set", "test-stop-after=" + std::to_string(line_count)};
  }

  /// Waits until both ranks have begun a body of gated_program.
  [[nodiscard]] bool bodies_have_begun() const;

  TemporaryFolder folder_;

 private:
  std::string token_ = folder_ / "token";
  Surroundings surroundings_{token_};
};

}  // namespace pinion
