#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mp/job_runner.hpp"

namespace pinion {

/// A Slurm that is a test's own: its daemons, its configuration and all that they write are in the
/// test's folder, and end with it. Its nodes, n1 and n2, are both this machine; steps that speak
/// PMIx have to be on one of them. Needs root.
class PrivateSlurm {
 public:
  /// Its configuration has `lines` as well.
  explicit PrivateSlurm(const TemporaryFolder& folder, std::string lines = {})
      : folder_(folder), lines_(std::move(lines)) {}
  ~PrivateSlurm();
  PrivateSlurm(const PrivateSlurm&) = delete;
  PrivateSlurm& operator=(const PrivateSlurm&) = delete;

  /// Why it cannot be used here; empty once it takes jobs.
  [[nodiscard]] std::string start();

  /// What srun and its like need to find it.
  [[nodiscard]] RunningCommand::Environment environment() const;

  /// What they printed and logged.
  [[nodiscard]] std::string what_daemons_say() const;

 private:
  void write_configuration() const;
  void run_daemon(const std::vector<std::string>& command);

  const TemporaryFolder& folder_;
  std::string lines_;
  std::vector<std::unique_ptr<RunningCommand>> daemons_;
};

}  // namespace pinion
