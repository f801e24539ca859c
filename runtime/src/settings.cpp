#include "settings.hpp"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <system_error>

#include <toml++/toml.h>

#include <pinion/gpu/emulation_spec.hpp>

namespace pinion {
namespace {

template <class Number>
std::optional<Number> parse(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

template <class Number>
bool set_number(Number& target, std::string_view text, Number least) {
  const std::optional<Number> number = parse<Number>(text);
  if (!number || *number < least) {
    return false;
  }
  target = *number;
  return true;
}

bool set_seconds(Duration& target, std::string_view text) {
  const std::optional<double> seconds = parse<double>(text);
  if (!seconds || !(*seconds >= 1e-6) || *seconds > 1e6) {
    return false;
  }
  target = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*seconds));
  return true;
}

bool set_factor(double& target, std::string_view text) {
  const std::optional<double> factor = parse<double>(text);
  if (!factor || !(*factor >= 1.0) || *factor > 1e6) {
    return false;
  }
  target = *factor;
  return true;
}

bool set_text(std::string& target, std::string_view text) {
  if (text.empty()) {
    return false;
  }
  target = text;
  return true;
}

bool set_flag(bool& target, std::string_view text) {
  if (text == "1" || text == "true" || text == "yes") {
    target = true;
    return true;
  }
  if (text == "0" || text == "false" || text == "no") {
    target = false;
    return true;
  }
  return false;
}

// How many devices "emu:auto" is depends on the machine.
bool set_devices(std::string& target, std::string_view text) {
  constexpr std::string_view kOfTheMachine = "emu:auto";
  const bool is_of_the_machine = text.starts_with(kOfTheMachine);
  const std::string counted =
      is_of_the_machine ? "emu:1" + std::string(text.substr(kOfTheMachine.size())) : "";
  return (text == "auto" || text == "none" ||
          parse_emulation_spec(is_of_the_machine ? counted : text).has_value()) &&
         set_text(target, text);
}

struct Setting {
  const char* name;
  const char* form;
  const char* meaning;
  bool (*set)(Settings&, std::string_view);
};

constexpr Setting kSettings[] = {
    {"workers", "a number, 0 or more", "workers of a rank; 0 shares the usable CPUs [0]",
     [](Settings& s, std::string_view v) {
       return set_number<std::size_t>(s.workers_per_rank, v, 0);
     }},
    {"batch-shards", "a number, 0 or more",
     "most shards in a batch, the unit of commit; 0 is 64, fewer in a rank that was started again, "
     "and many where a rank is alone [0]",
     [](Settings& s, std::string_view v) {
       return set_number<std::size_t>(s.batch_shard_count, v, 0);
     }},
    {"batch-seconds", "seconds, from 0.000001 to 1000000", "age at which a batch is sealed [5]",
     [](Settings& s, std::string_view v) { return set_seconds(s.batch_duration, v); }},
    {"batch-bytes", "bytes, at least 1", "memory at which a batch is sealed [268435456]",
     [](Settings& s, std::string_view v) {
       return set_number<std::uint64_t>(s.batch_bytes, v, 1);
     }},
    {"lease-seconds", "seconds, from 0.000001 to 1000000",
     "how long a lease holds without a heartbeat [6]",
     [](Settings& s, std::string_view v) { return set_seconds(s.lease_duration, v); }},
    {"memory-bytes", "bytes, 0 or more",
     "memory budget of a rank; 0 is its share of half of what may be used [0]",
     [](Settings& s, std::string_view v) {
       return set_number<std::uint64_t>(s.memory_bytes, v, 0);
     }},
    {"spill-directory", "a directory", "where blobs go beyond memory [TMPDIR, or /var/tmp]",
     [](Settings& s, std::string_view v) { return set_text(s.spill_directory, v); }},
    {"spill-bytes-max", "bytes, 0 or more", "most that a rank spills; 0: nothing [what fits]",
     [](Settings& s, std::string_view v) {
       return set_number<std::uint64_t>(s.spill_bytes_max, v, 0);
     }},
    {"memory-wait-seconds", "seconds, from 0.000001 to 1000000",
     "how long a rank waits for memory before a blob is refused [1]",
     [](Settings& s, std::string_view v) { return set_seconds(s.memory_wait, v); }},
    {"huge-pages", "0 or 1", "ranks share large blobs in huge pages, where the system has them [1]",
     [](Settings& s, std::string_view v) { return set_flag(s.huge_pages, v); }},
    {"seed", "a number", "what the random seeds of shards derive from [1]",
     [](Settings& s, std::string_view v) { return set_number<std::uint64_t>(s.seed, v, 0); }},
    {"skip-bad", "0 or 1", "go on without shards that keep failing, and say which [0]",
     [](Settings& s, std::string_view v) { return set_flag(s.skip_bad, v); }},
    {"only-shard", "the number of a shard", "run that shard alone in each step that has it [all]",
     [](Settings& s, std::string_view v) {
       std::uint64_t shard = 0;
       const bool fits = set_number<std::uint64_t>(shard, v, 0);
       s.only_shard = fits ? std::optional(shard) : s.only_shard;
       return fits;
     }},
    {"late-seconds", "seconds, from 0.000001 to 1000000",
     "least age at which what a rank is late with is given to another one too [1]",
     [](Settings& s, std::string_view v) { return set_seconds(s.late_least, v); }},
    {"deaths-max", "a number, at least 1",
     "ranks that may die with a shard, run alone, until it is given up [2]",
     [](Settings& s, std::string_view v) {
       return set_number<std::uint32_t>(s.death_count_max, v, 1);
     }},
    {"combine-bytes", "bytes, 0 or more",
     "what hosts may spare each other at most, from which each combines its partials before others "
     "pull them [8388608]",
     [](Settings& s, std::string_view v) {
       return set_number<std::uint64_t>(s.combine_bytes, v, 0);
     }},
    {"quiet", "0 or 1", "print no progress and no summary [0]",
     [](Settings& s, std::string_view v) { return set_flag(s.quiet, v); }},
    {"grace-seconds", "seconds, from 0.000001 to 1000000",
     "how long ranks that are told to end may take before they are killed [5]",
     [](Settings& s, std::string_view v) { return set_seconds(s.grace, v); }},
    {"debugger", "a command", "what --debug-rank puts in front of the program [gdb --args]",
     [](Settings& s, std::string_view v) { return set_text(s.debugger, v); }},
    {"remote-shell", "a command",
     "what starts an agent on another host (--host) [ssh -o BatchMode=yes, or srun in Slurm]",
     [](Settings& s, std::string_view v) { return set_text(s.remote_shell, v); }},
    {"start-width", "a number, at least 1",
     "how many other agents each agent starts [16; in Slurm the head starts all]",
     [](Settings& s, std::string_view v) {
       return set_number<std::uint32_t>(s.start_width, v, 1);
     }},
    {"join-seconds", "seconds, from 0.000001 to 1000000",
     "how long ranks of mpirun or srun wait for each other to join [60]",
     [](Settings& s, std::string_view v) { return set_seconds(s.join_patience, v); }},
    {"network", "a network, as 10.0.0.0/24", "by which hosts reach each other [the first of each]",
     [](Settings& s, std::string_view v) { return set_text(s.network, v); }},
    {"devices", "auto, none, or an emulation as emu:2,mem=1g (docs/gpu.md)",
     "what runs the kernels of shards beside the workers [auto]",
     [](Settings& s, std::string_view v) { return set_devices(s.devices, v); }},
    {"hang-first-seconds", "seconds, from 0.000001 to 1000000",
     "how long the first shard on a device may take before the device counts as hanging [60]",
     [](Settings& s, std::string_view v) { return set_seconds(s.hang.first, v); }},
    {"hang-factor", "a number, from 1 to 1000000",
     "times what those before it took by their bytes that a shard may take later on [20]",
     [](Settings& s, std::string_view v) { return set_factor(s.hang.factor, v); }},
    {"hang-seconds", "seconds, from 0.000001 to 1000000", "what it may take at least, later on [1]",
     [](Settings& s, std::string_view v) { return set_seconds(s.hang.least, v); }},
    {"transports", "names of UCX, as rc,self", "by which hosts reach each other [tcp]",
     [](Settings& s, std::string_view v) { return set_text(s.transports, v); }},
    {"network-devices", "names, as mlx5_0:1", "what these transports use [that of the network]",
     [](Settings& s, std::string_view v) { return set_text(s.network_devices, v); }},
    {"trace", "a directory", "write a trace there, for Perfetto [none]",
     [](Settings& s, std::string_view v) { return set_text(s.trace_directory, v); }},
    {"grant-log", "a file", "log every grant and acceptance there, one JSON object a line [none]",
     [](Settings& s, std::string_view v) { return set_text(s.grant_log, v); }},
    {"test-no-fast-forward", "0 or 1", "tests only: a respawned rank runs finished steps again [0]",
     [](Settings& s, std::string_view v) { return set_flag(s.test_no_fast_forward, v); }},
    {"test-no-acceptance", "0 or 1", "tests only: accepted partials die with their rank [0]",
     [](Settings& s, std::string_view v) { return set_flag(s.test_no_acceptance, v); }},
    {"test-journal-kill", "a number, 0 or more",
     "tests only: the agent dies at a point in writing its journal; 5 a record [0]",
     [](Settings& s, std::string_view v) {
       return set_number<std::uint64_t>(s.test_journal_kill, v, 0);
     }},
    {"test-no-descriptors", "0 or 1", "tests only: the agent passes no descriptors on [0]",
     [](Settings& s, std::string_view v) { return set_flag(s.test_no_descriptors, v); }},
    {"test-no-fences", "0 or 1", "tests only: reports are accepted whoever holds the shards [0]",
     [](Settings& s, std::string_view v) { return set_flag(s.test_no_fences, v); }},
    {"test-stop-after", "a number, 0 or more",
     "tests only: the agent stops itself when its grant log has so many lines; 0: never [0]",
     [](Settings& s, std::string_view v) {
       return set_number<std::uint64_t>(s.test_stop_after, v, 0);
     }},
};

// It has its own ways to the hosts of an allocation. The agent there is no task of MPI, and has the
// CPUs of the whole allocation, beside what else runs in it.
constexpr const char* kShellInAllocation =
    "srun --quiet --nodes=1 --ntasks=1 --overlap --mpi=none --cpu-bind=none --nodelist";

constexpr std::string_view kOptionPrefix = "--pinion-";

std::string variable_name(const char* name) {
  std::string variable = "PINION_";
  for (const char* c = name; *c != '\0'; ++c) {
    variable += *c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(*c)));
  }
  return variable;
}

std::optional<std::string> scalar_text(const toml::node& node) {
  if (const auto* text = node.as_string()) {
    return text->get();
  }
  if (const auto* number = node.as_integer()) {
    return std::to_string(number->get());
  }
  if (const auto* flag = node.as_boolean()) {
    return flag->get() ? "true" : "false";
  }
  if (const auto* real = node.as_floating_point()) {
    char digits[32];  // The shortest form that reads back as the same number has at most 24.
    return std::string(digits, std::to_chars(digits, std::end(digits), real->get()).ptr);
  }
  return std::nullopt;
}

// Not left to the parser: it tells a file that is missing from one that is broken by words only.
Result<std::string> text_of_file(const std::string& path) {
  struct Close {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "re"));
  std::string text;
  char block[4096];
  for (std::size_t count = 1; file && count > 0;) {
    count = std::fread(block, 1, sizeof(block), file.get());
    text.append(block, count);
  }
  if (!file || std::ferror(file.get()) != 0) {
    return Status::from_errno(errno, "PINION_CONFIG names " + path + ", which cannot be read");
  }
  return text;
}

Status read_file(Settings& settings, const std::string& path) {
  const Result<std::string> text = text_of_file(path);
  if (!text) {
    return text.error();
  }
  toml::table table;
  try {
    table = toml::parse(*text);
  } catch (const toml::parse_error& error) {
    std::ostringstream where;
    where << error.source().begin;
    return Status(ErrorCode::kInvalidArgument, "configuration file " + path + ": " +
                                                   std::string(error.description()) + " (" +
                                                   where.str() + ")");
  }
  for (const auto& [key, node] : table) {
    const std::optional<std::string> value = scalar_text(node);
    if (!value) {
      return Status(ErrorCode::kInvalidArgument, "configuration file " + path + ": " +
                                                     std::string(key.str()) +
                                                     " must be a text, a number or true/false");
    }
    PINION_RETURN_IF_ERROR(
        set_setting(settings, key.str(), *value).with_context("configuration file " + path));
  }
  return {};
}

}  // namespace

Status set_setting(Settings& settings, std::string_view name, std::string_view value) {
  for (const Setting& setting : kSettings) {
    if (name == setting.name) {
      if (setting.set(settings, value)) {
        return {};
      }
      return Status(ErrorCode::kInvalidArgument, std::string(name) + " is '" + std::string(value) +
                                                     "'; it must be " + setting.form);
    }
  }
  return Status(ErrorCode::kInvalidArgument,
                "'" + std::string(name) + "' is no setting of Pinion; see pinion run --help");
}

Result<Settings> read_settings() {
  Settings settings;
  if (const std::string folder = environment_value("TMPDIR"); !folder.empty()) {
    settings.spill_directory = folder;
  }
  if (!environment_value("SLURM_JOB_NODELIST").empty()) {
    settings.remote_shell = kShellInAllocation;
    settings.start_width = std::numeric_limits<std::uint32_t>::max();
  }
  if (const std::string path = environment_value("PINION_CONFIG"); !path.empty()) {
    PINION_RETURN_IF_ERROR(read_file(settings, path));
  }
  for (const Setting& setting : kSettings) {
    const std::string variable = variable_name(setting.name);
    if (const std::string value = environment_value(variable.c_str()); !value.empty()) {
      PINION_RETURN_IF_ERROR(
          set_setting(settings, setting.name, value).with_context("variable " + variable));
    }
  }
  return settings;
}

std::vector<std::pair<std::string, std::string>> given_options(int argc, char* const* argv) {
  std::vector<std::pair<std::string, std::string>> options;
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    const std::string_view argument = argv[i];
    const std::size_t equals = argument.find('=');
    if (argument.starts_with(kOptionPrefix) && equals != std::string_view::npos) {
      options.emplace_back(argument.substr(kOptionPrefix.size(), equals - kOptionPrefix.size()),
                           argument.substr(equals + 1));
    }
  }
  return options;
}

Status take_options(Settings& settings, int& argc, char** argv) {
  int kept = std::min(argc, 1);
  bool ended = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    ended = ended || argument == "--";
    if (ended || !argument.starts_with(kOptionPrefix)) {
      argv[kept++] = argv[i];
      continue;
    }
    const std::string_view body = argument.substr(kOptionPrefix.size());
    const std::size_t equals = body.find('=');
    if (equals == std::string_view::npos) {
      return Status(ErrorCode::kInvalidArgument,
                    "option " + std::string(argument) + " needs a value: --pinion-NAME=VALUE");
    }
    PINION_RETURN_IF_ERROR(set_setting(settings, body.substr(0, equals), body.substr(equals + 1)));
  }
  argc = kept;
  argv[argc] = nullptr;  // As the C library promises for the end of argv.
  return {};
}

Status make_trace_directory(const Settings& settings) {
  if (settings.trace_directory.empty()) {
    return {};
  }
  std::error_code error;
  std::filesystem::create_directories(settings.trace_directory, error);
  // It may be there already, and be somebody else's.
  if (!error && access(settings.trace_directory.c_str(), W_OK | X_OK) != 0) {
    error = std::error_code(errno, std::generic_category());
  }
  return error ? Status::from_errno(error.value(),
                                    "cannot make the trace directory " + settings.trace_directory)
               : Status();
}

std::size_t batch_shard_count_of(const Settings& settings, std::size_t rank_count,
                                 std::uint32_t incarnation) {
  constexpr std::size_t kOfSeveralRanks = 64;
  constexpr std::size_t kLessEachLife = 8;
  constexpr std::size_t kOfALoneRank = 4096;
  if (settings.batch_shard_count > 0) {
    return settings.batch_shard_count;
  }
  if (rank_count == 1) {
    return kOfALoneRank;
  }
  std::size_t count = kOfSeveralRanks;
  for (std::uint32_t life = 1; life < incarnation && count > 1; ++life) {
    count /= kLessEachLife;
  }
  return count;
}

std::string environment_value(const char* name) {
  return find_environment_value(name).value_or(std::string());
}

std::optional<std::string> find_environment_value(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

std::string settings_help() {
  std::ostringstream out;
  for (const Setting& setting : kSettings) {
    out << "  " << setting.name << std::string(22 - std::strlen(setting.name), ' ')
        << setting.meaning << "\n";
  }
  return out.str();
}

}  // namespace pinion
