// The command line of `pinion` and `pinion-agent`: help, versions, what they refuse and how.

#include <signal.h>

#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/numa/cpu_list.hpp>
#include <pinion/numa/topology.hpp>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ContainsRegex;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class CommandLine : public JobTest {
 protected:
  [[nodiscard]] CommandResult pinion(std::vector<std::string> arguments,
                                     RunningCommand::Environment additions = {}) const {
    return run_pinion(folder_, std::move(arguments), environment(std::move(additions)));
  }

  void expect_refused(const CommandResult& result, int status,
                      const testing::Matcher<std::string>& words) const {
    EXPECT_EQ(result.status, status) << result.errors;
    EXPECT_EQ(result.output, "");
    EXPECT_THAT(result.errors, AllOf(StartsWith("pinion: "), words));
  }

  // Whether the program that the arguments name was started although it must not be.
  const std::vector<std::string> witness_ = {"touch", path("started")};
  [[nodiscard]] bool witness_was_started() const { return fs::exists(path("started")); }
  [[nodiscard]] CommandResult run_witness(std::vector<std::string> options,
                                          RunningCommand::Environment additions = {}) const {
    options.insert(options.begin(), "run");
    options.insert(options.end(), witness_.begin(), witness_.end());
    return pinion(std::move(options), std::move(additions));
  }
};

TEST_F(CommandLine, HelpsWithEveryCommand) {
  const CommandResult top = pinion({"--help"});
  EXPECT_EQ(top.status, 0);
  EXPECT_THAT(top.output, AllOf(HasSubstr("run"), HasSubstr("topo"),
                                HasSubstr("66  What was named "
                                          "does not exist."),
                                ContainsRegex("  0   Done.\n  64  .*\n  65  ")));
  const CommandResult run_help = pinion({"run", "--help"});
  EXPECT_EQ(run_help.status, 0);
  EXPECT_THAT(run_help.output, AllOf(HasSubstr("--oversubscribe"), HasSubstr("batch-shards"),
                                     HasSubstr("Exit status: the program's own"),
                                     HasSubstr("Usage: pinion run [OPTIONS] [--] PROGRAM [ARG")));
  const CommandResult topo_help = pinion({"topo", "--help"});
  EXPECT_EQ(topo_help.status, 0);
  EXPECT_THAT(topo_help.output, HasSubstr("--json"));
  const CommandResult agent_help = run({PINION_AGENT_PROGRAM, "--help"});
  EXPECT_EQ(agent_help.status, 0);
  EXPECT_THAT(agent_help.output, HasSubstr("started by `pinion run`"));
}

TEST_F(CommandLine, SaysItsVersionEverywhere) {
  const std::string version = PINION_TEST_VERSION;
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--version"}, {"run", "--version"}, {"topo", "--version"}}) {
    const CommandResult result = pinion(arguments);
    EXPECT_EQ(result.status, 0) << testing::PrintToString(arguments) << result.errors;
    EXPECT_EQ(result.output, "pinion " + version + "\n") << testing::PrintToString(arguments);
  }
  const CommandResult agent = run({PINION_AGENT_PROGRAM, "--version"});
  EXPECT_EQ(agent.status, 0);
  EXPECT_EQ(agent.output, "pinion-agent " + version + "\n");
}

TEST_F(CommandLine, GivesOptionsBehindTheProgramToTheProgram) {
  const CommandResult result =
      pinion({"run", "-n", "1", "echo", "--help", "-n", "--version", "--", "--quiet"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.output, "--help -n --version -- --quiet\n");
}

TEST_F(CommandLine, TakesTwoDashesBeforeTheProgram) {
  const CommandResult result = pinion({"run", "-n", "1", "--", "echo", "-n", "--", "words"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.output, "-- words");
}

TEST_F(CommandLine, RefusesToDoNothing) {
  expect_refused(
      pinion({}), 64,
      HasSubstr("a command, drain, run, shm, sim or topo, is required; try pinion --help"));
  expect_refused(pinion({"run"}), 64, HasSubstr("no program is named; try: pinion run -n 2"));
  expect_refused(pinion({"walk"}), 64, HasSubstr("walk"));
}

TEST_F(CommandLine, RefusesNumbersOfRanksThatCannotBe) {
  for (const char* const count : {"0", "-1", "65537"}) {
    expect_refused(run_witness({"-n", count}), 64,
                   HasSubstr(std::string("-n is ") + count + "; it must be 1 to 65536"));
  }
  for (const char* const count : {"x", "2x", "", "99999999999999999999"}) {
    expect_refused(run_witness({"-n", count}), 64, HasSubstr("it must be a whole number"));
  }
  EXPECT_FALSE(witness_was_started());
}

TEST_F(CommandLine, RefusesOptionsItDoesNotHave) {
  expect_refused(run_witness({"--nonsense"}), 64, HasSubstr("--nonsense"));
  expect_refused(run_witness({"-n", "2", "--nonsense=1"}), 64, HasSubstr("--nonsense"));
  expect_refused(run_witness({"-z"}), 64, HasSubstr("-z"));
  expect_refused(run_witness({"--map-by", "moon"}), 64, HasSubstr("moon"));
  expect_refused(run_witness({"--workers-per-rank", "-1"}), 64, HasSubstr("it must be 0 to 65536"));
  expect_refused(run_witness({"--respawn", "1"}), 64, HasSubstr("--respawn"));
  expect_refused(pinion({"topo", "--nonsense"}), 64, HasSubstr("--nonsense"));
  EXPECT_FALSE(witness_was_started());
}

TEST_F(CommandLine, RefusesWordsThatAreNoChoiceAndSaysWhichAre) {
  const std::vector<std::vector<std::string>> wrongs = {
      {"--map-by", "moon", "--map-by is 'moon'; it must be core, numa, socket or gpu"},
      {"--bind-to", "moon", "--bind-to is 'moon'; it must be none, core, numa, socket or cpulist"},
      {"--stdin", "1", "--stdin is '1'; it must be 0, all or none"},
      {"--on-failure", "moon", "--on-failure is 'moon'; it must be abort, continue, respawn or"},
      {"--on-failure", "respawn:", "respawn:MAX with MAX from 0 to 1000"},
      {"--on-failure", "respawn:-1", "respawn:MAX with MAX from 0 to 1000"},
      {"--on-failure", "respawn:1001", "respawn:MAX with MAX from 0 to 1000"},
      {"--on-failure", "abort:1", "it must be abort, continue, respawn or"},
      {"--timeout", "0", "--timeout is '0'; it must be seconds, from 0.001 to 1000000"},
      {"--timeout", "-1", "it must be seconds"},
      {"--timeout", "soon", "it must be seconds"},
      {"--timeout", "1e9", "it must be seconds"},
      {"--timeout", "nan", "it must be seconds"},
      {"--debug-rank", "1", "--debug-rank is 1; it must be 0 to 0, the last of 1 rank"},
      {"--debug-rank", "-1", "--debug-rank is -1; it must be 0"},
      {"--debug-rank", "x", "it must be a whole number"},
      {"-x", "=value", "the variable has no name"},
      {"-x", "PINION_RANK=7", "by pinion run for each rank; choose another name"}};
  for (const std::vector<std::string>& wrong : wrongs) {
    expect_refused(run_witness({wrong[0], wrong[1]}), 64, HasSubstr(wrong[2]));
  }
  expect_refused(run_witness({"-x", "PINION_TEST_MISSING"}), 66,
                 HasSubstr("no variable PINION_TEST_MISSING is set here"));
  expect_refused(run_witness({"--wdir", path("nothing")}), 66, HasSubstr("--wdir"));
  EXPECT_FALSE(witness_was_started());
}

TEST_F(CommandLine, RefusesOptionsThatDoNotGoTogether) {
  expect_refused(run_witness({"--bind-to", "cpulist"}), 64,
                 HasSubstr("divides the CPUs of --cpus LIST, which is missing"));
  expect_refused(run_witness({"--debug-rank", "0", "--stdin", "all"}), 64,
                 HasSubstr("--stdin cannot go with --debug-rank"));
  expect_refused(run_witness({"--topology", path("machine.xml")}), 64,
                 HasSubstr("for planning only: give --dry-run too"));
  EXPECT_FALSE(witness_was_started());
}

class PlannedLaunch : public CommandLine {
 protected:
  [[nodiscard]] CommandResult plan(const std::string& machine,
                                   std::vector<std::string> options) const {
    options.insert(options.begin(), {"--dry-run", "--topology",
                                     std::string(PINION_TEST_DATA) + "/topologies/" + machine});
    return run_witness(std::move(options));
  }
  [[nodiscard]] std::vector<std::string> lines(const std::string& machine,
                                               const std::vector<std::string>& options) const {
    const CommandResult result = plan(machine, options);
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_FALSE(witness_was_started());
    return lines_of(result.output);
  }
};

TEST_F(PlannedLaunch, MapsByNodeSocketCoreAndGpu) {
  const char* const eight_gpus = "generated-8xH200-snc2-4numa.xml";
  EXPECT_THAT(lines(eight_gpus, {"-n", "4", "--workers-per-rank", "1"}),
              testing::ElementsAre(StartsWith("rank 0: 1 worker on NUMA node 0, CPUs "),
                                   StartsWith("rank 1: 1 worker on NUMA node 1, CPUs "),
                                   StartsWith("rank 2: 1 worker on NUMA node 2, CPUs "),
                                   StartsWith("rank 3: 1 worker on NUMA node 3, CPUs ")));
  EXPECT_THAT(lines(eight_gpus, {"-n", "4", "--workers-per-rank", "1", "--map-by", "socket"}),
              testing::ElementsAre(HasSubstr("NUMA node 0,"), HasSubstr("NUMA node 2,"),
                                   HasSubstr("NUMA node 1,"), HasSubstr("NUMA node 3,")));
  EXPECT_THAT(lines(eight_gpus, {"-n", "2", "--workers-per-rank", "1", "--map-by", "core"}),
              testing::ElementsAre(HasSubstr("NUMA node 0,"), HasSubstr("NUMA node 2,")));
  const std::vector<std::string> by_gpu =
      lines(eight_gpus, {"-n", "9", "--workers-per-rank", "2", "--map-by", "gpu"});
  ASSERT_EQ(by_gpu.size(), 9u);
  for (std::size_t rank = 0; rank < by_gpu.size(); ++rank) {
    EXPECT_THAT(by_gpu[rank], testing::EndsWith("; near GPU " + std::to_string(rank % 8)));
  }
}

TEST_F(PlannedLaunch, BindsTogetherWhatIsAskedFor) {
  const char* const power = "power8-4xP100.xml";  // Node 0 has CPUs 0, 1, 8, 9, 16, 17, 24, 25.
  EXPECT_THAT(
      lines(power, {"-n", "2", "--workers-per-rank", "1", "--bind-to", "numa"}),
      testing::Contains("rank 0: 1 worker on NUMA node 0; all on CPUs 0-1,8-9,16-17,24-25"));
  EXPECT_THAT(lines(power, {"-n", "2", "--workers-per-rank", "1", "--bind-to", "socket"}),
              testing::Contains(HasSubstr("; all on CPUs 0-1,8-9,16-17,24-25")));
  EXPECT_THAT(
      lines(power, {"-n", "2", "--map-by", "core", "--cpus", "0,1,8,9", "--bind-to", "cpulist"}),
      testing::ElementsAre("rank 0: 2 workers on NUMA node 0; all on CPUs 0-1",
                           "rank 1: 2 workers on NUMA node 0; all on CPUs 8-9"));
  // One rank over both nodes: its workers on each keep to the CPUs of that.
  EXPECT_THAT(lines(power, {"-n", "1", "--cpus", "0,1,8,9,80,81", "--bind-to", "numa"}),
              testing::ElementsAre(AllOf(HasSubstr("on NUMA node 0, all on CPUs 0-1,8-9; "),
                                         EndsWith("on NUMA node 1, all on CPUs 80-81"))));
  EXPECT_THAT(lines(power, {"-n", "1", "--workers-per-rank", "1", "--bind-to", "none"}),
              testing::ElementsAre("rank 0: 1 worker on NUMA node 0, not bound"));
}

TEST_F(PlannedLaunch, SaysWhatTheMachineLacks) {
  expect_refused(plan("cxlmem-dax-qemu.xml", {"--map-by", "gpu"}), 78,
                 AllOf(HasSubstr("the topology shows none"), HasSubstr("map by numa")));
  expect_refused(plan("cxlmem-dax-qemu.xml", {"-n", "5"}), 71,
                 AllOf(HasSubstr("4 are available"), HasSubstr("--oversubscribe")));
  expect_refused(plan("nothing.xml", {}), 66, HasSubstr("nothing.xml"));
}

TEST_F(CommandLine, BindsTheProcessesOfRanksTogether) {
  const std::string cpus = format_cpu_list(Topology::of_this_machine().value().usable_cpus());
  for (const char* const bind : {"socket", "cpulist"}) {
    const CommandResult result = pinion({"run", "--cpus", cpus, "--bind-to", bind, "grep",
                                         "Cpus_allowed_list", "/proc/self/status"});
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_THAT(result.output, testing::EndsWith("\t" + cpus + "\n"));
  }
}

TEST_F(CommandLine, RefusesSettingsThatDoNotFit) {
  expect_refused(run_witness({"--set", "nonsense=1"}), 64,
                 HasSubstr("'nonsense' is no setting of Pinion; see pinion run --help"));
  expect_refused(run_witness({"--set", "batch-shards"}), 64, HasSubstr("must be NAME=VALUE"));
  expect_refused(run_witness({"--set", "batch-bytes=0"}), 64,
                 HasSubstr("batch-bytes is '0'; it must be bytes, at least 1"));
  expect_refused(run_witness({}, {{"PINION_BATCH_SHARDS", "abc"}}), 64,
                 AllOf(HasSubstr("variable PINION_BATCH_SHARDS"), HasSubstr("'abc'"),
                       HasSubstr("it must be a number, 0 or more")));
  expect_refused(run_witness({}, {{"PINION_CONFIG", path("nothing.toml")}}), 66,
                 HasSubstr("nothing.toml"));
  EXPECT_FALSE(witness_was_started());
}

TEST_F(CommandLine, RefusesSettingsThatDoNotFitAloneToo) {
  const CommandResult option = run({HELLO, "--pinion-nonsense=1"});
  EXPECT_EQ(option.status, 64);
  EXPECT_THAT(option.errors, HasSubstr("'nonsense' is no setting of Pinion"));
  const CommandResult variable =
      run_command(folder_, {HELLO}, environment({{"PINION_BATCH_SHARDS", "abc"}}));
  EXPECT_EQ(variable.status, 64);
  EXPECT_THAT(variable.errors, HasSubstr("variable PINION_BATCH_SHARDS"));
}

TEST_F(CommandLine, RefusesABudgetThatIsTooSmallForItsWorkers) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{HELLO, "--pinion-memory-bytes=1000000"},
        on_ranks(2, {HELLO}, {"--set", "memory-bytes=1000000"})}) {
    const CommandResult result = run(command);
    EXPECT_EQ(result.status, 71);
    EXPECT_EQ(result.output, "");
    EXPECT_THAT(result.errors, AllOf(HasSubstr("has a memory budget of 1000000 bytes; "),
                                     HasSubstr("at least "), HasSubstr("raise memory-bytes")));
  }
}

TEST_F(CommandLine, RefusesMoreWorkersThanCpusAloneToo) {
  const CommandResult result = run({HELLO, "--pinion-workers=30000"});
  EXPECT_EQ(result.status, 71);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("1 rank with 30000 workers needs 30000 CPUs; "),
                                   HasSubstr("pinion run --oversubscribe")));
}

TEST_F(CommandLine, EndsWhenItsRanksRefuseAnOption) {
  const CommandResult result = run(on_ranks(2, {HELLO, "--pinion-nonsense=1"}));
  EXPECT_EQ(result.status, 64);
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(result.errors, HasSubstr("'nonsense' is no setting of Pinion"));
}

TEST_F(CommandLine, RefusesProgramsThatCannotBeStarted) {
  write_file(path("text"), "#!/nowhere/interpreter\n");
  expect_refused(run(on_ranks(2, {path("nothing")})), 66,
                 HasSubstr("cannot start " + path("nothing")));
  expect_refused(run(on_ranks(2, {"pinion-nonsense-program"})), 66,
                 HasSubstr("cannot start pinion-nonsense-program"));
  expect_refused(run(on_ranks(2, {path("text")})), 77, HasSubstr("cannot start " + path("text")));
  expect_refused(run(on_ranks(2, {path("")})), 77, HasSubstr("cannot start " + path("")));
  fs::permissions(path("text"), fs::perms::owner_all);
  expect_refused(run(on_ranks(2, {path("text")})), 66, HasSubstr("cannot start " + path("text")));
}

TEST_F(CommandLine, RefusesMoreRanksOrWorkersThanCpus) {
  expect_refused(run_witness({"-n", "40000"}), 71,
                 AllOf(HasSubstr("40000"), HasSubstr("--oversubscribe")));
  expect_refused(run_witness({"-n", "2", "--workers-per-rank", "30000"}), 71,
                 AllOf(HasSubstr("60000"), HasSubstr("--oversubscribe")));
  EXPECT_FALSE(witness_was_started());
}

TEST_F(CommandLine, SharesCpusOnlyWhenToldTo) {
  const CommandResult shared = run_witness(
      {"-n", "1", "--workers-per-rank", "9000", "--oversubscribe", "--dry-run", "--cpus", "0"});
  EXPECT_EQ(shared.status, 0) << shared.errors;
  EXPECT_THAT(shared.output, StartsWith("rank 0: 9000 workers on NUMA node 0, CPUs 0\n"));
  expect_refused(run_witness({"-n", "1", "--workers-per-rank", "2", "--cpus", "0"}), 71,
                 AllOf(HasSubstr("1 is available"), HasSubstr("asked for are 0"),
                       HasSubstr("--oversubscribe")));
  EXPECT_FALSE(witness_was_started());
}

TEST_F(CommandLine, RefusesCpusThatCannotBeUsed) {
  for (const char* const list : {"x", "3-1", "0,", "-1", "99999999999999999999"}) {
    expect_refused(run_witness({std::string("--cpus=") + list}), 64,
                   AllOf(HasSubstr("--cpus"), HasSubstr("such as 0-3,8")));
  }
  expect_refused(run_witness({"--cpus="}), 64, HasSubstr("--cpus"));
  expect_refused(run_witness({"--cpus", "60000"}), 64, HasSubstr("no CPU 60000; it has "));
  EXPECT_FALSE(witness_was_started());
}

TEST_F(CommandLine, RefusesCpusThatTheAffinityMaskForbids) {
  const Topology machine = Topology::of_this_machine().value();
  const std::vector<unsigned> cpus = machine.usable_cpus();
  if (cpus.size() < 2) {
    GTEST_SKIP() << "this process has one CPU only, so none can be taken from it";
  }
  const std::string ours = std::to_string(cpus.front());
  const std::string other = std::to_string(cpus.back());
  const CommandResult result = run({"taskset", "--cpu-list", ours, PINION_COMMAND, "run", "--cpus",
                                    other, "touch", path("started")});
  expect_refused(result, 77,
                 HasSubstr("CPU " + other +
                           " may not be used; affinity mask and "
                           "cpuset allow " +
                           ours));
  EXPECT_FALSE(witness_was_started());
}

TEST_F(CommandLine, KeepsRanksToTheCpusThatAreAskedFor) {
  const std::vector<unsigned> cpus = Topology::of_this_machine().value().usable_cpus();
  const std::string last = std::to_string(cpus.back());
  for (const char* const bind : {"core", "none"}) {
    const CommandResult result = pinion({"run", "--cpus", last, "--bind-to", bind, "grep",
                                         "Cpus_allowed_list", "/proc/self/status"});
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_THAT(result.output, testing::EndsWith("\t" + last + "\n"));
  }
}

TEST_F(CommandLine, SaysWhatCannotBeTheAgent) {
  expect_refused(run_witness({}, {{"PINION_AGENT", path("nothing")}}), 66,
                 HasSubstr("PINION_AGENT names " + path("nothing")));
  const CommandResult by_hand = run({PINION_AGENT_PROGRAM});
  EXPECT_EQ(by_hand.status, 64);
  EXPECT_THAT(by_hand.errors, HasSubstr("not by hand"));
  const CommandResult wrong = run({PINION_AGENT_PROGRAM, "--spec-fd=77"});
  EXPECT_NE(wrong.status, 0);
  EXPECT_THAT(wrong.errors, HasSubstr("cannot read the launch description"));
}

TEST_F(CommandLine, SaysWhereRanksWouldRunAndStartsNothing) {
  const CommandResult result =
      run_witness({"-n", "2", "--oversubscribe", "--workers-per-rank", "1", "--dry-run"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(lines_of(result.output),
              testing::ElementsAre(StartsWith("rank 0: 1 worker on NUMA node "),
                                   StartsWith("rank 1: 1 worker on NUMA node ")));
  EXPECT_FALSE(witness_was_started());
}

TEST_F(CommandLine, ShowsTheMachineAsJson) {
  const CommandResult result = pinion({"topo", "--json"});
  EXPECT_EQ(result.status, 0);
  const nlohmann::json machine = nlohmann::json::parse(result.output, nullptr, false);
  ASSERT_FALSE(machine.is_discarded()) << result.output;
  EXPECT_GE(machine.at("nodes").size(), 1u);
}

TEST_F(CommandLine, ShowsTheMachineAsTablesAndAsAPicture) {
  const CommandResult table = pinion({"topo", "--table"});
  EXPECT_EQ(table.status, 0);
  EXPECT_THAT(table.output, StartsWith("machine      this machine\n"));
  const CommandResult picture = pinion({"topo", "--svg"});
  EXPECT_EQ(picture.status, 0);
  EXPECT_THAT(picture.output, AllOf(HasSubstr("<svg "), testing::EndsWith("</svg>\n")));
  expect_refused(pinion({"topo", "--svg", "--json"}), 64, HasSubstr("--svg"));
}

TEST_F(CommandLine, RefusesFilesThatRecordNoMachine) {
  const auto file = [this](const std::string& name, const std::string& text) {
    write_file(path(name), text);
    return path(name);
  };
  expect_refused(pinion({"topo", path("nothing.xml")}), 66, HasSubstr("nothing.xml"));
  expect_refused(pinion({"topo", file("empty.xml", "")}), 64, HasSubstr("no <topology> element"));
  expect_refused(pinion({"topo", file("text.xml", "some words\n")}), 64,
                 HasSubstr("no <topology> element"));
  expect_refused(pinion({"topo", file("other.xml", "<?xml version=\"1.0\"?><html></html>\n")}), 64,
                 HasSubstr("not an hwloc topology"));
  expect_refused(pinion({"topo", file("cut.xml", "<topology version=\"2.0\"><object type=")}), 64,
                 HasSubstr("cut short"));
  expect_refused(pinion({"topo", file("bare.xml", "<topology version=\"2.0\"></topology>\n")}), 64,
                 HasSubstr("bare.xml"));
  expect_refused(pinion({"topo", file("young.xml", "<topology version=\"3.0\"></topology>\n")}), 76,
                 HasSubstr("hwloc 3.0"));
  expect_refused(pinion({"topo", path("")}), 64, HasSubstr("reading the topology file"));
}

TEST_F(CommandLine, ShowsTheMachineAsATree) {
  const CommandResult result = pinion({"topo"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.output, AllOf(StartsWith("this machine\n"), ContainsRegex("node 0")));
  expect_refused(pinion({"topo", path("nothing.xml")}), 66, HasSubstr("nothing.xml"));
}

}  // namespace
}  // namespace pinion
