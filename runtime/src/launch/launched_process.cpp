#include "launch/launched_process.hpp"

#include <sched.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>

#include <nlohmann/json.hpp>

#include "settings.hpp"

namespace pinion {
namespace {

using nlohmann::json;

constexpr const char* kNamespace = "PMIX_NAMESPACE";

std::string own_host_name() {
  std::array<char, 256> name = {};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

std::string text_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string target_of_link(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::read_symlink(path, ignored).string();
}

std::vector<unsigned> own_cpus() {
  std::array<cpu_set_t, 8> sets = {};  // 8192 CPUs, as many as Linux can have.
  std::vector<unsigned> cpus;
  if (sched_getaffinity(0, sizeof(sets), sets.data()) != 0) {
    return cpus;
  }
  for (unsigned cpu = 0; cpu < sets.size() * CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu % CPU_SETSIZE, &sets[cpu / CPU_SETSIZE])) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

// The parent of a process, as "PID (NAME) STATE PARENT ..." has it; a name may have anything in it.
pid_t parent_of(pid_t pid) {
  const std::string text = text_of_file("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t name_end = text.rfind(')');
  return name_end == std::string::npos || name_end + 4 > text.size()
             ? 0
             : static_cast<pid_t>(std::strtol(text.c_str() + name_end + 4, nullptr, 10));
}

// The first process above us that is no process of this launch, such as a script around us.
pid_t find_launcher() {
  const std::string entry = kNamespace + ("=" + environment_value(kNamespace)) + '\0';
  pid_t pid = getppid();
  while (pid > 1) {
    const std::string environment = text_of_file("/proc/" + std::to_string(pid) + "/environ");
    if (!environment.starts_with(entry) && environment.find('\0' + entry) == std::string::npos) {
      return pid;
    }
    pid = parent_of(pid);
  }
  return 0;
}

}  // namespace

bool is_launched_by_other() {
  const std::optional<std::string> launch = find_environment_value(kNamespace);
  // What a rank of the same launch has started is none itself.
  return launch && find_environment_value("PMIX_RANK") &&
         environment_value("PINION_JOINED_LAUNCH") != *launch;
}

std::string warning_of_lone_processes() {
  if (find_environment_value("PINION_RANK") || find_environment_value("PINION_JOINED_BY")) {
    return "";
  }
  constexpr struct {
    const char* rank;
    const char* count;
    const char* advice;
  } kLaunchers[] = {{"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "srun --mpi=pmix"},
                    {"PMI_RANK", "PMI_SIZE", "Open MPI's mpirun, or pinion run"}};
  for (const auto& it : kLaunchers) {
    const std::string count = environment_value(it.count);
    if (environment_value(it.rank) == "0" && !count.empty() && count != "1") {
      return "each of the " + count +
             " processes of this launch is a job of its own, as they have no PMIx; for one job "
             "use " +
             it.advice;
    }
  }
  return "";
}

LaunchedProcess describe_this_process() {
  LaunchedProcess process;
  process.host_name = own_host_name();
  const std::string divided = environment_value("PINION_HOST_ID");
  process.host = process.host_name + ' ' + target_of_link("/proc/self/ns/pid") + ' ' +
                 target_of_link("/proc/self/ns/net") + ' ' +
                 text_of_file("/proc/sys/kernel/random/boot_id") + divided;
  if (!divided.empty()) {
    process.host_name += "." + divided;
  }
  process.pid = getpid();
  process.launcher = find_launcher();
  process.cpus = own_cpus();
  return process;
}

std::string encode_launched_process(const LaunchedProcess& process) {
  std::string encoded;
  json::to_cbor(json{process.host, process.host_name, process.pid, process.launcher, process.cpus},
                encoded);
  return encoded;
}

Result<LaunchedProcess> decode_launched_process(std::string_view text) {
  try {
    const json value = json::from_cbor(text);
    return LaunchedProcess{value.at(0), value.at(1), value.at(2), value.at(3), value.at(4)};
  } catch (const json::exception& error) {
    return Status(
        ErrorCode::kInvalidArgument,
        std::string("a process of this launch tells what is not understood: ") + error.what());
  }
}

}  // namespace pinion
