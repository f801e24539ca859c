#include "launch/private_slurm.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>

#include "net/free_port.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;

constexpr std::array kNodes = {"n1", "n2"};
constexpr std::array kPrograms = {"/usr/sbin/munged", "/usr/sbin/slurmctld", "/usr/sbin/slurmd",
                                  "/usr/bin/srun"};

std::string host_name() {
  std::array<char, 256> name = {};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace

PrivateSlurm::~PrivateSlurm() {
  if (daemons_.empty()) {
    return;
  }
  const auto ask = [this](std::vector<std::string> command) {
    return run_command(folder_, command, environment()).output;
  };
  // What a test has left running; its daemons would leave it, too.
  static_cast<void>(ask({"/usr/bin/scancel", "--signal=KILL", "--full", "--user=root"}));
  static_cast<void>(ask({"/usr/bin/scancel", "--user=root"}));
  static_cast<void>(eventually([&] { return ask({"/usr/bin/squeue", "-h"}).empty(); }));
  // First what needs the others.
  while (!daemons_.empty()) {
    kill(daemons_.back()->pid(), SIGTERM);
    static_cast<void>(daemons_.back()->wait_for(60s));
    daemons_.pop_back();
  }
}

RunningCommand::Environment PrivateSlurm::environment() const {
  return {{"SLURM_CONF", folder_ / "slurm.conf"}};
}

void PrivateSlurm::write_configuration() const {
  std::string text = "ClusterName=pinion\nSlurmctldHost=" + host_name() +
                     "(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\nAuthType=auth/munge\n"
                     "CredType=cred/munge\nAuthInfo=socket=" +
                     folder_ / "munge.socket" +
                     "\nMpiDefault=none\nProctrackType=proctrack/linuxproc\n"
                     "TaskPlugin=task/none\nJobAcctGatherType=jobacct_gather/none\n"
                     "AccountingStorageType=accounting_storage/none\nSwitchType=switch/none\n"
                     "SchedulerType=sched/builtin\nSelectType=select/"
                     "cons_tres\n"
                     "SelectTypeParameters=CR_CPU\nSlurmdParameters=config_overrides\n"
                     "ReturnToService=2\nKillWait=1\nMailProg=/bin/true\n";
  text += "SlurmctldPort=" + std::to_string(free_port()) + "\n";
  for (const char* const name : {"SlurmctldPidFile", "SlurmctldLogFile", "StateSaveLocation"}) {
    text += std::string(name) + "=" + (folder_ / name) + "\n";
  }
  for (const char* const name : {"SlurmdPidFile", "SlurmdLogFile", "SlurmdSpoolDir"}) {
    text += std::string(name) + "=" + (folder_ / name) + ".%n\n";
  }
  text += "TmpFS=" + folder_ / "" + "\n";
  for (const char* const node : kNodes) {
    text += std::string("NodeName=") + node + " NodeHostname=" + host_name() +
            " NodeAddr=127.0.0.1 Port=" + std::to_string(free_port()) + " CPUs=8 State=UNKNOWN\n";
    std::filesystem::create_directories(folder_ / "SlurmdSpoolDir." + node);
  }
  std::filesystem::create_directories(folder_ / "StateSaveLocation");
  text += "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n" + lines_;
  write_file(folder_ / "slurm.conf", text);
  // No control groups: the machine's are not ours.
  write_file(folder_ / "cgroup.conf", "CgroupPlugin=cgroup/v1\n");
  write_file(folder_ / "munge.key", std::string(1024, 'k'));
  std::filesystem::permissions(folder_ / "munge.key", std::filesystem::perms::owner_read |
                                                          std::filesystem::perms::owner_write);
}

void PrivateSlurm::run_daemon(const std::vector<std::string>& command) {
  daemons_.push_back(std::make_unique<RunningCommand>(folder_, command, environment()));
}

std::string PrivateSlurm::what_daemons_say() const {
  std::string text;
  for (const std::unique_ptr<RunningCommand>& daemon : daemons_) {
    text += daemon->errors() + daemon->output();
  }
  for (const std::string log : {"SlurmctldLogFile", "SlurmdLogFile.n1", "SlurmdLogFile.n2"}) {
    text += log + ":\n" + read_file(folder_ / log);
  }
  return text;
}

std::string PrivateSlurm::start() {
  if (geteuid() != 0) {
    return "a Slurm of a test's own needs root";
  }
  for (const char* const program : kPrograms) {
    if (access(program, X_OK) != 0) {
      return std::string(program) + " is not here (packages slurm-wlm, munge)";
    }
  }
  write_configuration();
  run_daemon({"/usr/sbin/munged", "--foreground", "--force", "--socket=" + folder_ / "munge.socket",
              "--key-file=" + folder_ / "munge.key", "--pid-file=" + folder_ / "munge.pid",
              "--log-file=" + folder_ / "munge.log", "--seed-file=" + folder_ / "munge.seed"});
  if (!eventually([&] { return access((folder_ / "munge.socket").c_str(), F_OK) == 0; })) {
    return "munged does not start: " + what_daemons_say();
  }
  run_daemon({"/usr/sbin/slurmctld", "-D", "-f", folder_ / "slurm.conf"});
  for (const char* const node : kNodes) {
    run_daemon({"/usr/sbin/slurmd", "-D", "-f", folder_ / "slurm.conf", "-N", node});
  }
  const bool is_idle = eventually([&] {
    const bool all_run = std::none_of(daemons_.begin(), daemons_.end(), [](const auto& daemon) {
      return daemon->wait_for(0s).has_value();
    });
    return !all_run ||
           run_command(folder_, {"/usr/bin/sinfo", "-h", "-o", "%D %t"}, environment()).output ==
               "2 idle\n";
  });
  if (!is_idle) {
    return "the nodes of Slurm do not become idle: " + what_daemons_say();
  }
  const CommandResult tried = run_command(
      folder_, {"/usr/bin/srun", "--immediate=60", "--mpi=pmix", "true"}, environment());
  return tried.status == 0 ? ""
                           : "Slurm does not run a job here: " + tried.errors + what_daemons_say();
}

}  // namespace pinion
