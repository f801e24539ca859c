#pragma once

#include <cstddef>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "launch/private_slurm.hpp"
#include "mp/job_test.hpp"

namespace pinion {

/// Who starts the ranks of a job. kNone: nobody, the program is alone.
enum class Launcher { kNone, kPinion, kMpirun, kSrun };

inline void PrintTo(Launcher launcher, std::ostream* out) {
  constexpr const char* kNames[] = {"none", "pinion", "mpirun", "srun"};
  *out << kNames[static_cast<std::size_t>(launcher)];
}

/// A test that runs jobs by any launcher.
class JobOfAnyLauncher : public JobTest {
 protected:
  void TearDown() override {
    // An agent that nobody waits for ends a moment after its ranks.
    static_cast<void>(eventually([&] { return !something_runs(); }));
    slurm_.reset();
    JobTest::TearDown();
  }

  /// Makes what the launcher needs, a Slurm with these lines in its configuration. Why it cannot be
  /// used here; empty where it can.
  [[nodiscard]] std::string prepare(Launcher launcher, const std::string& slurm_lines = {});

  /// The command that has the launcher start the program on this many ranks, one worker each.
  [[nodiscard]] std::vector<std::string> by(Launcher launcher, std::size_t rank_count,
                                            const std::vector<std::string>& program,
                                            const std::vector<std::string>& options = {}) const;

  /// What the command needs in its environment.
  [[nodiscard]] RunningCommand::Environment launch_environment(
      RunningCommand::Environment additions = {}) const;

  [[nodiscard]] CommandResult run_by(Launcher launcher, std::size_t rank_count,
                                     const std::vector<std::string>& program,
                                     const std::string& input = {}) const {
    return run_command(folder_, by(launcher, rank_count, program), launch_environment(), input);
  }

  /// What the daemons of Slurm have to say, empty without them.
  [[nodiscard]] std::string launcher_log() const {
    return slurm_ == nullptr ? "" : slurm_->what_daemons_say();
  }

  /// The program as a process of mpirun or srun on one of so many hosts, all of which are this
  /// machine: processes are dealt to them in turn.
  [[nodiscard]] static std::vector<std::string> on_hosts(int host_count,
                                                         std::vector<std::string> program);

  /// The agents that ranks of this test's jobs have started and that still run.
  [[nodiscard]] std::vector<pid_t> agents() const;

  /// That of a host of on_hosts(); 0 where none runs.
  [[nodiscard]] pid_t agent_of_host(int host) const;

  [[nodiscard]] static bool has_said(const RunningCommand& running, const std::string& words) {
    return eventually([&] { return running.errors().find(words) != std::string::npos; });
  }

  /// Waits until a body of each rank of gated_program has begun, in its first life.
  [[nodiscard]] bool bodies_have_begun(std::size_t rank_count) const;

 private:
  std::unique_ptr<PrivateSlurm> slurm_;
};

}  // namespace pinion
