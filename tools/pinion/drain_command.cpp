#include "drain_command.hpp"

#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>

#include "running_agents.hpp"

namespace pinion {
namespace {

constexpr std::uint32_t kRankMax = 1'000'000;

struct DrainOptions {
  std::int64_t process = 0;
  std::vector<std::uint32_t> ranks;
};

Status drain(const DrainOptions& options) {
  const std::vector<std::int64_t> agents = find_agents(options.process);
  if (agents.empty()) {
    return no_agent(options.process);
  }
  for (const std::uint32_t rank : options.ranks) {
    PINION_RETURN_IF_ERROR(ask_to_drain(agents.front(), rank));
  }
  return {};
}

}  // namespace

void add_drain_command(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<DrainOptions>();
  CLI::App* command = app.add_subcommand(
      "drain",
      "Let ranks of a running job finish what they hold and give them nothing "
      "more; the job goes on with the others, and says so on its standard error");
  command->add_option("process", options->process, "The pinion run of the job, or its agent")
      ->type_name("PID")
      ->check(CLI::PositiveNumber)
      ->required();
  command->add_option("ranks", options->ranks, "Which ranks, on whichever hosts they are")
      ->type_name("RANK")
      ->check(CLI::Range(std::uint32_t{0}, kRankMax))
      ->required();
  command->callback([options, &exit_status] {
    const Status status = drain(*options);
    exit_status = error_info(status.code()).exit_status;
    if (!status.ok()) {
      std::fprintf(stderr, "pinion: %s\n", status.to_string().c_str());
    }
  });
}

}  // namespace pinion
