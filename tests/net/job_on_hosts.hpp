#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "mp/job_test.hpp"

namespace pinion {

/// A test that runs jobs over several hosts, all of which are this machine: the remote shell runs
/// the command that it is given here, in an agent with a segment table, an address and a host
/// number of its own.
class JobOnHosts : public JobTest {
 protected:
  void SetUp() override {
    write_file(shell(), "#!/bin/sh\nshift\nexec \"$@\"\n");
    make_executable(shell());
    if (const CommandResult tried = run(on_hosts({1, 1}, {"true"})); tried.status == 76) {
      GTEST_SKIP() << tried.errors;
    }
  }

  /// `pinion run` with as many ranks on each of as many hosts, "localhost", "b", "c".
  [[nodiscard]] std::vector<std::string> on_hosts(const std::vector<int>& rank_counts,
                                                  const std::vector<std::string>& program,
                                                  const std::vector<std::string>& options = {}) {
    static const char* const kNames[] = {"localhost", "b", "c", "d"};
    std::string hosts;
    int rank_count = 0;
    for (std::size_t i = 0; i < rank_counts.size(); ++i) {
      hosts += (i == 0 ? "" : ",") + (kNames[i] + (":" + std::to_string(rank_counts[i])));
      rank_count += rank_counts[i];
    }
    std::vector<std::string> all = {"--host", hosts, "--set", "remote-shell=" + shell()};
    all.insert(all.end(), options.begin(), options.end());
    return on_ranks(static_cast<std::size_t>(rank_count), program, all);
  }

  [[nodiscard]] std::string shell() const { return path("shell"); }

  static void make_executable(const std::string& file) {
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  }

  /// The process of the agent that has started that rank; 0 when the rank has not joined.
  [[nodiscard]] pid_t agent_of_rank(std::uint64_t rank) const {
    const pid_t pid = pid_of(grant_log(), rank, 1);
    return pid == 0 ? 0 : parent_of(pid);
  }
};

}  // namespace pinion
