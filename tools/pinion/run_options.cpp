#include "run_options.hpp"

#include <charconv>
#include <chrono>
#include <cstddef>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <pinion/numa/cpu_list.hpp>

#include "host_options.hpp"

namespace pinion {
namespace {

template <class Enum>
struct Choice {
  std::string_view word;
  Enum value;
};

constexpr Choice<RankMapping> kMappings[] = {{"core", RankMapping::kCore},
                                             {"numa", RankMapping::kNuma},
                                             {"socket", RankMapping::kSocket},
                                             {"gpu", RankMapping::kGpu}};
constexpr Choice<RankBinding> kBindings[] = {{"none", RankBinding::kNone},
                                             {"core", RankBinding::kCore},
                                             {"numa", RankBinding::kNuma},
                                             {"socket", RankBinding::kSocket},
                                             {"cpulist", RankBinding::kCpuList}};
constexpr Choice<InputReader> kInputReaders[] = {
    {"0", InputReader::kRank0}, {"all", InputReader::kAll}, {"none", InputReader::kNone}};

constexpr std::int64_t kRankCountMax = 65536;
constexpr std::uint32_t kRespawnCountMax = 1000;
constexpr double kTimeoutSecondsMax = 1e6;

Status wrong(std::string text) {
  return Status(ErrorCode::kInvalidArgument, std::move(text));
}

template <class Enum, std::size_t Count>
Result<Enum> choose(std::string_view option, std::string_view word,
                    const Choice<Enum> (&choices)[Count]) {
  std::string words;
  for (std::size_t i = 0; i < Count; ++i) {
    if (choices[i].word == word) {
      return choices[i].value;
    }
    words += i == 0 ? "" : i + 1 == Count ? " or " : ", ";
    words += choices[i].word;
  }
  return wrong(fmt::format("{} is '{}'; it must be {}", option, word, words));
}

template <class Number>
std::optional<Number> parse(std::string_view text) {
  Number number{};
  const char* const text_end = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), text_end, number);
  return error == std::errc() && end == text_end ? std::optional(number) : std::nullopt;
}

std::string check_whole_number(const std::string& text) {
  return parse<std::int64_t>(text) ? "" : "'" + text + "'; it must be a whole number";
}

constexpr std::string_view kRanksPerHost = "ppr:";

// N of "ppr:N:node".
Result<std::uint32_t> ranks_per_host(std::string_view text) {
  constexpr std::string_view kUnit = ":node";
  const std::string_view number =
      text.ends_with(kUnit)
          ? text.substr(kRanksPerHost.size(), text.size() - kRanksPerHost.size() - kUnit.size())
          : "";
  const std::optional<std::uint32_t> count = parse<std::uint32_t>(number);
  if (!count || *count < 1 || *count > kRankCountMax) {
    return wrong(
        fmt::format("--map-by is '{}'; ranks of each host are ppr:N:node, with N from 1 "
                    "to {}",
                    text, kRankCountMax));
  }
  return *count;
}

Result<std::vector<HostRanks>> named_hosts(const RunOptions& options) {
  if (options.hosts) {
    Result<std::vector<HostRanks>> hosts = parse_host_list(*options.hosts);
    return hosts ? std::move(hosts) : std::move(hosts).error().with_context("--host");
  }
  if (!options.hostfile.empty()) {
    Result<std::vector<HostRanks>> hosts = read_hostfile(options.hostfile);
    return hosts ? std::move(hosts) : std::move(hosts).error().with_context("--hostfile");
  }
  return hosts_of_allocation();
}

// Which hosts have how many ranks, and how many these are together.
Status set_hosts(const RunOptions& options, LaunchSpec& spec) {
  if (options.rank_count && (*options.rank_count < 1 || *options.rank_count > kRankCountMax)) {
    return wrong(fmt::format("-n is {}; it must be 1 to {}", *options.rank_count, kRankCountMax));
  }
  Result<std::vector<HostRanks>> hosts = named_hosts(options);
  if (!hosts) {
    return std::move(hosts).error();
  }
  const bool is_one = hosts->empty();
  if (is_one) {
    hosts->push_back(
        {.name = {}, .rank_count = static_cast<std::uint32_t>(options.rank_count.value_or(1))});
  }
  if (options.map_by.starts_with(kRanksPerHost)) {
    const Result<std::uint32_t> count = ranks_per_host(options.map_by);
    if (!count) {
      return count.error();
    }
    for (HostRanks& host : *hosts) {
      host.rank_count = *count;
    }
  }
  if (options.rank_count) {
    hosts = fill_hosts(*std::move(hosts), static_cast<std::uint64_t>(*options.rank_count));
    if (!hosts) {
      return std::move(hosts).error();
    }
  }
  std::uint64_t rank_count = 0;
  for (const HostRanks& host : *hosts) {
    rank_count += host.rank_count;
  }
  if (rank_count > static_cast<std::uint64_t>(kRankCountMax)) {
    return wrong(
        fmt::format("{} ranks are asked for; a job has {} at most", rank_count, kRankCountMax));
  }
  spec.rank_count = static_cast<std::uint32_t>(rank_count);
  if (!is_one) {
    spec.hosts = *std::move(hosts);
  }
  return {};
}

Status set_counts(const RunOptions& options, LaunchSpec& spec) {
  PINION_RETURN_IF_ERROR(set_hosts(options, spec));
  if (options.worker_count < 0 || options.worker_count > 65536) {
    return wrong(
        fmt::format("--workers-per-rank is {}; it must be 0 to 65536", options.worker_count));
  }
  if (options.debug_rank) {
    if (*options.debug_rank < 0 || *options.debug_rank >= std::int64_t{spec.rank_count}) {
      return wrong(fmt::format("--debug-rank is {}; it must be 0 to {}, the last of {} rank{}",
                               *options.debug_rank, spec.rank_count - 1, spec.rank_count,
                               spec.rank_count == 1 ? "" : "s"));
    }
    if (options.standard_input) {
      return wrong("--stdin cannot go with --debug-rank, whose debugger has the terminal");
    }
    spec.debug_rank = static_cast<std::uint32_t>(*options.debug_rank);
  }
  return {};
}

Status set_placement(const RunOptions& options, LaunchSpec& spec) {
  const Result<RankMapping> map_by = options.map_by.starts_with(kRanksPerHost)
                                         ? RankMapping::kNuma
                                         : choose("--map-by", options.map_by, kMappings);
  if (!map_by) {
    return map_by.error();
  }
  const Result<RankBinding> bind_to = choose("--bind-to", options.bind_to, kBindings);
  if (!bind_to) {
    return bind_to.error();
  }
  spec.map_by = *map_by;
  spec.bind_to = *bind_to;
  spec.allow_oversubscription = options.oversubscribe;
  spec.report_bindings = options.report_bindings;
  if (options.cpus) {
    Result<std::vector<unsigned>> cpus = parse_cpu_list(*options.cpus);
    if (!cpus) {
      return std::move(cpus).error().with_context("--cpus");
    }
    spec.cpus = std::move(cpus).value();
  } else if (*bind_to == RankBinding::kCpuList) {
    return wrong("--bind-to cpulist divides the CPUs of --cpus LIST, which is missing");
  }
  if (!options.topology.empty() && !options.dry_run) {
    return wrong("--topology is for planning only: give --dry-run too, which starts nothing");
  }
  return {};
}

Status set_failure(const RunOptions& options, LaunchSpec& spec) {
  constexpr std::string_view kRespawn = "respawn:";
  const std::string_view text = options.on_failure;
  if (text == "abort") {
    spec.on_failure = OnFailure::kAbort;
  } else if (text == "continue") {
    spec.on_failure = OnFailure::kContinue;
  } else if (text != "respawn") {
    const auto count = text.starts_with(kRespawn)
                           ? parse<std::uint32_t>(text.substr(kRespawn.size()))
                           : std::nullopt;
    if (!count || *count > kRespawnCountMax) {
      return wrong(
          fmt::format("--on-failure is '{}'; it must be abort, continue, respawn or respawn:MAX "
                      "with MAX from 0 to {}",
                      text, kRespawnCountMax));
    }
    spec.respawn_count_max = *count;
  }
  return {};
}

Status set_process(const RunOptions& options, LaunchSpec& spec) {
  for (const std::string& text : options.variables) {
    Result<std::pair<std::string, std::string>> variable = variable_to_export(text);
    if (!variable) {
      return std::move(variable).error().with_context("-x " + text);
    }
    spec.environment.push_back(std::move(variable).value());
  }
  spec.working_directory = options.working_directory;
  const Result<InputReader> reader =
      choose("--stdin", options.standard_input.value_or("0"), kInputReaders);
  if (!reader) {
    return reader.error();
  }
  spec.input_reader = *reader;
  spec.tag_output = options.tag_output;
  if (options.timeout) {
    const std::optional<double> seconds = parse<double>(*options.timeout);
    if (!seconds || !(*seconds >= 1e-3) || *seconds > kTimeoutSecondsMax) {
      return wrong(fmt::format("--timeout is '{}'; it must be seconds, from 0.001 to 1000000",
                               *options.timeout));
    }
    spec.timeout = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*seconds));
  }
  return set_failure(options, spec);
}

Status set_settings(const RunOptions& options, LaunchSpec& spec) {
  for (const std::string& setting : options.settings) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos) {
      return wrong("--set " + setting + " has no value; it must be NAME=VALUE");
    }
    spec.settings.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  if (options.worker_count > 0) {
    spec.settings.emplace_back("workers", std::to_string(options.worker_count));
  }
  if (options.skip_bad) {
    spec.settings.emplace_back("skip-bad", "1");
  }
  if (options.only_shard) {
    spec.settings.emplace_back("only-shard", std::to_string(*options.only_shard));
  }
  if (options.quiet) {
    spec.settings.emplace_back("quiet", "1");
  }
  if (!options.trace.empty()) {
    spec.settings.emplace_back("trace", options.trace);
  }
  if (!options.grant_log.empty()) {
    spec.settings.emplace_back("grant-log", options.grant_log);
  }
  return {};
}

void add_placement_options(CLI::App& command, RunOptions& options) {
  command
      .add_option("-n,--ranks", options.rank_count,
                  "Ranks to start; with --host as many as there is room for, else 1")
      ->check(check_whole_number, "");
  command
      .add_option("--host", options.hosts,
                  "Hosts to start them on, with ranks of each, as in localhost:2,b:4; the first is "
                  "this one")
      ->type_name("LIST");
  command
      .add_option("--hostfile", options.hostfile,
                  "File with a host on each line, as b:4 or b slots=4")
      ->type_name("FILE")
      ->excludes("--host");
  command
      .add_option("--workers-per-rank", options.worker_count,
                  "Workers of a rank; 0 shares the usable CPUs")
      ->check(check_whole_number, "")
      ->default_str("0");
  command
      .add_option(
          "--map-by", options.map_by,
          "What a rank keeps together: core, numa, socket, or gpu (a rank near each GPU, in "
          "turn); or ppr:N:node, as numa with N ranks on each host")
      ->default_str("numa");
  command
      .add_option("--bind-to", options.bind_to,
                  "What workers are bound to: none; core (a CPU each); numa, socket or cpulist "
                  "(those on a node together; cpulist is the rank's part of --cpus)")
      ->default_str("core");
  command
      .add_option("--cpus", options.cpus,
                  "The only CPUs to use, as in 0-3,8; the default is all that may be used")
      ->type_name("LIST");
  command.add_flag("--oversubscribe", options.oversubscribe, "Allow more workers than CPUs");
  command.add_flag("--report-bindings", options.report_bindings, "Say where each rank runs");
  command.add_flag("--dry-run", options.dry_run, "Say where each rank would run; start nothing");
  command
      .add_option("--topology", options.topology,
                  "With --dry-run: plan for the machine that lstopo has recorded there")
      ->type_name("FILE.xml");
}

void add_process_options(CLI::App& command, RunOptions& options) {
  command
      .add_option("-x", options.variables,
                  "Variable of the ranks; without a value, it must be set here")
      ->type_name("NAME[=VALUE]")
      ->allow_extra_args(false);
  command.add_option("--wdir", options.working_directory, "Working directory of the ranks")
      ->type_name("DIR");
  command
      .add_option("--stdin", options.standard_input,
                  "Who reads standard input: 0 (that rank), all (each the whole), none")
      ->default_str("0");
  command.add_flag("--tag-output", options.tag_output,
                   "Begin each line of a rank with [RANK] or [RANK,err]");
  command
      .add_option("--timeout", options.timeout, "End the job, with status 75, when it takes longer")
      ->type_name("SECONDS");
  command
      .add_option("--on-failure", options.on_failure,
                  "What the end of a rank by a signal or an error means: abort ends the job; "
                  "continue leaves the others alone; respawn[:MAX] starts a rank again that had "
                  "joined and a signal killed")
      ->default_str("respawn:3");
  command.add_flag("--skip-bad", options.skip_bad,
                   "Go on without shards that keep failing, and say which");
  command
      .add_option("--only-shard", options.only_shard,
                  "Run this shard alone, in each step that has it")
      ->check(check_whole_number, "")
      ->type_name("SHARD");
  command
      .add_option("--debug-rank", options.debug_rank,
                  "Run this rank in a debugger; the others start when it has joined the job")
      ->check(check_whole_number, "")
      ->type_name("RANK");
}

}  // namespace

void add_run_options(CLI::App& command, RunOptions& options) {
  add_placement_options(command, options);
  add_process_options(command, options);
  command.add_flag("-q,--quiet", options.quiet, "Print no progress and no summary");
  command.add_option("--trace", options.trace, "Directory to write a trace for Perfetto into");
  command.add_option("--grant-log", options.grant_log,
                     "File to log grants and acceptances into, one JSON object a line");
  command
      .add_option("--journal", options.journal,
                  "Folder to keep there what the job needs to go on after its agent has died")
      ->type_name("DIR");
  command
      .add_option("--resume", options.resume,
                  "Go on with the job whose journal is there; without a program, as it was started")
      ->type_name("DIR")
      ->excludes("--journal");
  command.add_option("--set", options.settings, "NAME=VALUE: one of the settings below")
      ->allow_extra_args(false);
}

std::string option_beside_resume(const CLI::App& command) {
  for (const CLI::Option* const option : command.get_options()) {
    std::string name = option->get_name();
    if (option->count() > 0 && name != "--resume" && name != "--quiet") {
      return name;
    }
  }
  return {};
}

Result<LaunchSpec> spec_of(const RunOptions& options, std::vector<std::string> command) {
  LaunchSpec spec;
  PINION_RETURN_IF_ERROR(set_counts(options, spec));
  PINION_RETURN_IF_ERROR(set_placement(options, spec));
  PINION_RETURN_IF_ERROR(set_process(options, spec));
  PINION_RETURN_IF_ERROR(set_settings(options, spec));
  spec.resumes = !options.resume.empty();
  spec.journal_directory = spec.resumes ? options.resume : options.journal;
  if (command.empty()) {
    return wrong("no program is named; try: pinion run -n 2 ./program");
  }
  spec.command = std::move(command);
  return spec;
}

}  // namespace pinion
