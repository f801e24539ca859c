#include "launch/launched_job_test.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace pinion {

std::string JobOfAnyLauncher::prepare(Launcher launcher, const std::string& slurm_lines) {
  // Of a library that is loaded and not ours, besides what all tests leave out.
  write_file(path("leaks"),
             read_file(LEAK_SUPPRESSIONS) + "leak:libpmix\nleak:libevent\nleak:libhwloc\n");
  if (launcher == Launcher::kMpirun) {
    const CommandResult tried =
        run_command(folder_, by(launcher, 2, {"true"}), launch_environment());
    return tried.status == 0 ? "" : "mpirun does not run here: " + tried.errors;
  }
  if (launcher == Launcher::kSrun) {
    slurm_ = std::make_unique<PrivateSlurm>(folder_, slurm_lines);
    return slurm_->start();
  }
  return "";
}

RunningCommand::Environment JobOfAnyLauncher::launch_environment(
    RunningCommand::Environment additions) const {
  const std::string agent =
      (std::filesystem::path(PINION_COMMAND).parent_path() / "pinion-agent").string();
  additions.insert(additions.end(),
                   {{"PINION_AGENT", agent},
                    {"PINION_GRANT_LOG", path("grants")},
                    {"PINION_WORKERS", "1"},
                    {"LSAN_OPTIONS", "suppressions=" + path("leaks") + ":print_suppressions=0"},
                    // Of mpirun: no other host is there, and what it puts into
                    // /tmp it leaves there when it is killed.
                    {"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                    {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                    {"OMPI_MCA_plm", "isolated"},
                    {"OMPI_MCA_orte_tmpdir_base", path("")}});
  if (slurm_) {
    const RunningCommand::Environment slurm = slurm_->environment();
    additions.insert(additions.end(), slurm.begin(), slurm.end());
  }
  return environment(std::move(additions));
}

std::vector<std::string> JobOfAnyLauncher::by(Launcher launcher, std::size_t rank_count,
                                              const std::vector<std::string>& program,
                                              const std::vector<std::string>& options) const {
  const std::string count = std::to_string(rank_count);
  std::vector<std::string> command;
  if (launcher == Launcher::kPinion) {
    command = {PINION_COMMAND, "run", "-n", count, "--oversubscribe"};
  } else if (launcher == Launcher::kMpirun) {
    command = {"mpirun", "--oversubscribe", "-n", count};
  } else if (launcher == Launcher::kSrun) {
    command = {"srun", "--mpi=pmix", "--quiet", "-n", count};
  }
  command.insert(command.end(), options.begin(), options.end());
  command.insert(command.end(), program.begin(), program.end());
  return command;
}

std::vector<std::string> JobOfAnyLauncher::on_hosts(int host_count,
                                                    std::vector<std::string> program) {
  const std::string host =
      "$((${OMPI_COMM_WORLD_RANK:-$SLURM_PROCID} % " + std::to_string(host_count) + "))";
  program.insert(program.begin(), {"sh", "-c", "PINION_HOST_ID=" + host + " exec \"$@\"", "sh"});
  return program;
}

pid_t JobOfAnyLauncher::agent_of_host(int host) const {
  const std::vector<pid_t> of_host = processes_with("PINION_HOST_ID=" + std::to_string(host));
  for (const pid_t agent : agents()) {
    if (std::find(of_host.begin(), of_host.end(), agent) != of_host.end()) {
      return agent;
    }
  }
  return 0;
}

std::vector<pid_t> JobOfAnyLauncher::agents() const {
  std::vector<pid_t> found = processes_with("PINION_TEST_TOKEN=" + token());
  std::erase_if(found, [](pid_t pid) {
    return read_file("/proc/" + std::to_string(pid) + "/cmdline").find("--launched=") ==
           std::string::npos;
  });
  return found;
}

bool JobOfAnyLauncher::bodies_have_begun(std::size_t rank_count) const {
  return eventually([&] {
    for (std::size_t rank = 0; rank < rank_count; ++rank) {
      if (access(path("body." + std::to_string(rank) + ".1").c_str(), F_OK) != 0) {
        return false;
      }
    }
    return true;
  });
}

}  // namespace pinion
