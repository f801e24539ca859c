#include "topo_command.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "recorded_machines.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Outcome {
  int exit_status = -1;
  std::string output;
  std::string errors;
};

Outcome run(std::vector<std::string> arguments) {
  Outcome outcome;
  CLI::App app("pinion");
  add_topo_command(app, outcome.exit_status);
  // CLI11 takes them from the back.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  app.parse(reversed);
  outcome.output = ::testing::internal::GetCapturedStdout();
  outcome.errors = ::testing::internal::GetCapturedStderr();
  return outcome;
}

TEST(TopoCommand, ShowsThisMachine) {
  const Outcome outcome = run({"topo"});
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_THAT(outcome.output, StartsWith("this machine\n"));
  EXPECT_EQ(outcome.errors, "");
}

TEST(TopoCommand, ShowsARecordedMachineAsATree) {
  const Outcome outcome = run({"topo", testing::path_of("power8-4xP100.xml")});
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_EQ(outcome.output, testing::load("power8-4xP100.xml").to_tree());
}

TEST(TopoCommand, ShowsARecordedMachineAsJson) {
  const Outcome outcome = run({"topo", "--json", testing::path_of("power8-4xP100.xml")});
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_EQ(outcome.output, testing::load("power8-4xP100.xml").to_json());
}

TEST(TopoCommand, EndsWithTheStatusOfTheErrorAndSaysIt) {
  const TemporaryFolder folder;
  const Outcome missing = run({"topo", "/nowhere/machine.xml"});
  EXPECT_EQ(missing.exit_status, 66);
  EXPECT_EQ(missing.output, "");
  EXPECT_THAT(missing.errors, StartsWith("pinion: NOT_FOUND: "));

  const Outcome unfit = run({"topo", folder.write("text.xml", "text")});
  EXPECT_EQ(unfit.exit_status, 64);
  EXPECT_EQ(unfit.output, "");
  EXPECT_THAT(unfit.errors, HasSubstr("not an hwloc topology"));
}

}  // namespace
}  // namespace pinion
