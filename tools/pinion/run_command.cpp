#include "run_command.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>

#include "run_options.hpp"

namespace pinion {
namespace {

constexpr const char* kRunCommand = "run";

int fail(const Status& error) {
  fmt::print(stderr, "pinion: {}\n", error.to_string());
  return error_info(error.code()).exit_status;
}

// Without a program, all of how the job was started is in its journal.
Result<LaunchSpec> spec_of_journal(const CLI::App& app, const RunOptions& options) {
  if (const std::string option = option_beside_resume(app); !option.empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  option +
                      " needs the program as well: --resume without one starts the job as it "
                      "was started");
  }
  Result<LaunchSpec> spec = spec_to_resume(options.resume);
  if (spec && options.quiet) {
    spec->settings.emplace_back("quiet", "1");
  }
  return spec;
}

int run_dry(LaunchSpec spec, const std::string& topology) {
  if (spec.hosts.size() > 1 && topology.empty()) {
    spec.dry_run = true;
    spec.input_reader = InputReader::kNone;
    spec.journal_directory.clear();
    spec.resumes = false;
    const Result<int> status = launch(spec);
    return status ? *status : fail(status.error());
  }
  const Result<std::string> placement = describe_placement(spec, topology);
  if (!placement) {
    return fail(placement.error());
  }
  fmt::print("{}", *placement);
  return 0;
}

int run(const CLI::App& app, const RunOptions& options, std::vector<std::string> command) {
  const bool as_before = command.empty() && !options.resume.empty();
  const Result<LaunchSpec> spec =
      as_before ? spec_of_journal(app, options) : spec_of(options, std::move(command));
  if (!spec) {
    return fail(spec.error());
  }
  if (options.dry_run) {
    return run_dry(*spec, options.topology);
  }
  const Result<int> status = launch(*spec);
  return status ? *status : fail(status.error());
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
  add_run_options(*command, *options);
  command->footer(
      "Settings, also as --pinion-NAME=VALUE of a program that runs alone, as variable\n"
      "PINION_NAME, or as `name = value` in the TOML file that PINION_CONFIG names:\n" +
      describe_settings() +
      "\nExit status: the program's own; 128 + signal for signals; 64 to 79 are "
      "Pinion's.");
  command->callback([command, options, &program, &exit_status] {
    exit_status = run(*command, *options, program);
  });
}

}  // namespace pinion
