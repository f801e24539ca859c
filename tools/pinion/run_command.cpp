#include "run_command.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <pinion/core/status.hpp>
#include <pinion/numa/cpu_list.hpp>
#include <pinion/runtime/launch.hpp>

namespace pinion {
namespace {

constexpr const char* kRunCommand = "run";

struct RunOptions {
  std::int64_t rank_count = 1;
  std::int64_t worker_count = 0;
  std::string map_by = "numa";
  std::string bind_to = "core";
  std::optional<std::string> cpus;
  std::int64_t respawn_count = 3;
  bool oversubscribe = false;
  bool report_bindings = false;
  bool dry_run = false;
  bool quiet = false;
  std::string trace;
  std::string grant_log;
  std::vector<std::string> settings;
};

int fail(const Status& error) {
  fmt::print(stderr, "pinion: {}\n", error.to_string());
  return error_info(error.code()).exit_status;
}

Status wrong(std::string text) {
  return Status(ErrorCode::kInvalidArgument, std::move(text));
}

Result<LaunchSpec> spec_of(const RunOptions& options, std::vector<std::string> command) {
  if (options.rank_count < 1 || options.rank_count > 65536) {
    return wrong(fmt::format("-n is {}; it must be 1 to 65536", options.rank_count));
  }
  if (options.worker_count < 0 || options.worker_count > 65536) {
    return wrong(
        fmt::format("--workers-per-rank is {}; it must be 0 to 65536", options.worker_count));
  }
  if (options.respawn_count < 0 || options.respawn_count > 1000) {
    return wrong(fmt::format("--respawn is {}; it must be 0 to 1000", options.respawn_count));
  }
  if (command.empty()) {
    return wrong("no program is named; try: pinion run -n 2 ./program");
  }
  LaunchSpec spec{.command = std::move(command),
                  .rank_count = static_cast<std::uint32_t>(options.rank_count),
                  .map_by_core = options.map_by == "core",
                  .bind = options.bind_to == "core",
                  .allow_oversubscription = options.oversubscribe,
                  .report_bindings = options.report_bindings,
                  .respawn_count_max = static_cast<std::uint32_t>(options.respawn_count)};
  if (options.cpus) {
    Result<std::vector<unsigned>> cpus = parse_cpu_list(*options.cpus);
    if (!cpus) {
      return std::move(cpus).error().with_context("--cpus");
    }
    spec.cpus = std::move(cpus).value();
  }
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
  if (options.quiet) {
    spec.settings.emplace_back("quiet", "1");
  }
  if (!options.trace.empty()) {
    spec.settings.emplace_back("trace", options.trace);
  }
  if (!options.grant_log.empty()) {
    spec.settings.emplace_back("grant-log", options.grant_log);
  }
  return spec;
}

int run(const RunOptions& options, std::vector<std::string> command) {
  const Result<LaunchSpec> spec = spec_of(options, std::move(command));
  if (!spec) {
    return fail(spec.error());
  }
  if (options.dry_run) {
    const Result<std::string> placement = describe_placement(*spec);
    if (!placement) {
      return fail(placement.error());
    }
    fmt::print("{}", *placement);
    return 0;
  }
  const Result<int> status = launch(*spec);
  return status ? *status : fail(status.error());
}

std::string check_whole_number(const std::string& text) {
  std::int64_t number = 0;
  const char* const text_end = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), text_end, number);
  return error == std::errc() && end == text_end ? "" : "'" + text + "'; it must be a whole number";
}

// Whether the argument is an option of `command` whose value is the argument behind it.
bool takes_next(const CLI::App& command, const std::string& argument) {
  const CLI::Option* const option = command.get_option_no_throw(argument);
  return option != nullptr && option->get_items_expected_max() > 0;
}

// CLI11 is not told of the program, see take_program(), but who asks for help is.
class UsageWithProgram final : public CLI::Formatter {
 public:
  [[nodiscard]] std::string make_usage(const CLI::App* /*app*/,
                                       std::string /*name*/) const override {
    return "Usage: pinion run [OPTIONS] [--] PROGRAM [ARGUMENTS...]\n";
  }
};

}  // namespace

std::vector<std::string> take_program(const CLI::App& app, std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments.front() != kRunCommand) {
    return {};
  }
  const CLI::App& command = *app.get_subcommand(kRunCommand);
  std::size_t end = 1;
  while (end < arguments.size() && arguments[end].size() > 1 && arguments[end].front() == '-' &&
         arguments[end] != "--") {
    end += takes_next(command, arguments[end]) ? 2 : 1;
  }
  end = std::min(end, arguments.size());
  const bool marked = end < arguments.size() && arguments[end] == "--";
  const auto first = arguments.begin() + static_cast<std::ptrdiff_t>(end);
  std::vector<std::string> program(first + (marked ? 1 : 0), arguments.end());
  arguments.erase(first, arguments.end());
  return program;
}

void add_run_command(CLI::App& app, const std::vector<std::string>& program, int& exit_status) {
  CLI::App* command = app.add_subcommand(kRunCommand, "Start a program as the ranks of a job");
  command->formatter(std::make_shared<UsageWithProgram>());
  const auto options = std::make_shared<RunOptions>();
  command->add_option("-n,--ranks", options->rank_count, "Ranks to start")
      ->check(check_whole_number, "")
      ->default_str("1");
  command
      ->add_option("--workers-per-rank", options->worker_count,
                   "Workers of a rank; 0 shares the usable CPUs")
      ->check(check_whole_number, "")
      ->default_str("0");
  command->add_option("--map-by", options->map_by, "What a rank keeps together: core or numa")
      ->check(CLI::IsMember({"core", "numa"}))
      ->default_str("numa");
  command->add_option("--bind-to", options->bind_to, "What a worker is bound to: none or core")
      ->check(CLI::IsMember({"none", "core"}))
      ->default_str("core");
  command
      ->add_option("--cpus", options->cpus,
                   "The only CPUs to use, as in 0-3,8; the default is all that may be used")
      ->type_name("LIST");
  command->add_flag("--oversubscribe", options->oversubscribe, "Allow more workers than CPUs");
  command->add_flag("--report-bindings", options->report_bindings, "Say where each rank runs");
  command->add_flag("--dry-run", options->dry_run, "Say where each rank would run; start nothing");
  command
      ->add_option("--respawn", options->respawn_count,
                   "How often a rank that died is started again")
      ->check(check_whole_number, "")
      ->default_str("3");
  command->add_flag("-q,--quiet", options->quiet, "Print no progress and no summary");
  command->add_option("--trace", options->trace, "Directory to write a trace for Perfetto into");
  command->add_option("--grant-log", options->grant_log,
                      "File to log grants and acceptances into, one JSON object a line");
  command->add_option("--set", options->settings, "NAME=VALUE: one of the settings below")
      ->allow_extra_args(false);
  command->footer(
      "Settings, also as --pinion-NAME=VALUE of a program that runs alone, as variable\n"
      "PINION_NAME, or as `name = value` in the TOML file that PINION_CONFIG names:\n" +
      describe_settings() +
      "\nExit status: the program's own; 128 + signal for signals; 64 to 79 are "
      "Pinion's.");
  command->callback([options, &program, &exit_status] { exit_status = run(*options, program); });
}

}  // namespace pinion
