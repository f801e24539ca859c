#include "topo_command.hpp"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "recorded_machines.hpp"
#include "temporary_folder.hpp"
#include "topology_view.hpp"

namespace pinion {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Outcome {
  int exit_status = -1;
  std::string output;
  std::string errors;
};

Outcome run(std::vector<std::string> arguments, GpuSources sources = {}) {
  Outcome outcome;
  CLI::App app("pinion");
  add_topo_command(app, outcome.exit_status, std::move(sources));
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
  EXPECT_THAT(outcome.output, AllOf(StartsWith("this machine\n"), HasSubstr("memory: at most ")));
  EXPECT_EQ(outcome.errors, "");
}

// The driver of the test shows three GPUs with two slices, and one of them is somebody else's.
TEST(TopoCommand, ShowsTheGpusOfTheDriver) {
  const GpuSources all = {.nvml_library = PINION_FAKE_NVML};
  const Outcome tree = run({"topo"}, all);
  EXPECT_EQ(tree.exit_status, 0);
  EXPECT_THAT(tree.output, AllOf(HasSubstr("GPUs that the driver shows to this process\n"),
                                 HasSubstr("0000:3b:00.0  NVIDIA H200 "), HasSubstr("MIG-3d"),
                                 HasSubstr("GPU 2 of the driver: this process may not use it")));
  const Outcome table = run({"topo", "--table"}, all);
  EXPECT_THAT(table.output, AllOf(HasSubstr("MIG-2c"), HasSubstr("139.7 GiB")));
  const Outcome json = run({"topo", "--json"}, all);
  EXPECT_THAT(json.output,
              AllOf(HasSubstr("\"uuid\": \"GPU-0a\""), HasSubstr("\"part_of_uuid\": \"GPU-1b\""),
                    HasSubstr("\"memory_bytes\": 150000000000")));
}

TEST(TopoCommand, ShowsTheGpusThatTheVariablesLeave) {
  const Outcome outcome = run({"topo", "--json"}, {.variables = {.cuda_visible_devices = "MIG-3d"},
                                                   .nvml_library = PINION_FAKE_NVML});
  EXPECT_THAT(outcome.output, HasSubstr("\"uuid\": \"MIG-3d\""));
  EXPECT_THAT(outcome.output, Not(HasSubstr("\"uuid\": \"GPU-0a\"")));
}

TEST(TopoCommand, SaysWhatIsWrongWithTheDriver) {
  const Outcome outcome = run({"topo"}, {.nvml_library = PINION_FAKE_NVML_UNLOADED});
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_THAT(outcome.output, HasSubstr("no NVIDIA driver loaded"));
}

TEST(TopoCommand, ShowsARecordedMachineAsATree) {
  const Outcome outcome = run({"topo", testing::path_of("power8-4xP100.xml")});
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_EQ(outcome.output, draw_tree({.topology = testing::load("power8-4xP100.xml")}));
}

TEST(TopoCommand, ShowsARecordedMachineAsJson) {
  const Outcome outcome = run({"topo", "--json", testing::path_of("power8-4xP100.xml")});
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_EQ(outcome.output, write_json({.topology = testing::load("power8-4xP100.xml")}));
}

TEST(TopoCommand, ShowsARecordedMachineAsTablesOrAsAPicture) {
  const std::string file = testing::path_of("power8-4xP100.xml");
  const Topology topology = testing::load("power8-4xP100.xml");
  EXPECT_EQ(run({"topo", "--table", file}).output, draw_table({.topology = topology}));
  EXPECT_EQ(run({"topo", file, "--svg"}).output, draw_svg({.topology = topology}));
}

TEST(TopoCommand, ShowsOneFormOnly) {
  EXPECT_THROW((void)run({"topo", "--json", "--svg"}), CLI::ParseError);
  ::testing::internal::GetCapturedStdout();
  ::testing::internal::GetCapturedStderr();
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
