// Jobs over several hosts, all of which are this machine: that they do what a job on one host does.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/word_corpus.hpp"
#include "net/job_on_hosts.hpp"
#include "net/pulled_blobs.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::ContainsRegex;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::StartsWith;

constexpr const char* kAnswer = "the sum is 2016\n";

std::vector<std::string> sorted(std::vector<std::string> lines) {
  std::sort(lines.begin(), lines.end());
  return lines;
}

TEST_F(JobOnHosts, CountsWordsAsOneRankDoes) {
  const WordCorpus corpus = WordCorpus::of_seed(1);
  write_file(path("text"), corpus.text);
  for (const std::vector<int>& ranks : {std::vector{1, 1}, {2, 2}, {1, 2, 1}}) {
    fs::remove(path("grants"));
    const CommandResult result =
        run(on_hosts(ranks, {WORD_PROGRAM, "4000", path("out"), path("text")}, grant_log_option()));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(read_file(path("out")), corpus.counts);
    EXPECT_THAT(fence_violations(grant_log()), testing::IsEmpty());
    EXPECT_THAT(result.errors, HasSubstr("on " + std::to_string(ranks.size()) + " hosts"));
    EXPECT_THAT(result.errors, HasSubstr("pinion: localhost and b, by tcp"));
    fs::remove(path("out"));
  }
}

TEST_F(JobOnHosts, CountsManyWordsWhosePartitionsCrossAlone) {
  const WordCorpus corpus = WordCorpus::of_many_words(1);
  write_file(path("text"), corpus.text);
  for (const std::vector<int>& ranks : {std::vector{1, 1}, {2, 2}, {1, 2, 1}}) {
    const CommandResult result =
        run(on_hosts(ranks, {WORD_PROGRAM, "30000", path("out"), path("text")}));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(read_file(path("out")), corpus.counts);
    fs::remove(path("out"));
  }
}

TEST_F(JobOnHosts, TellsEachRankWhoItIs) {
  const CommandResult result =
      run(on_hosts({1, 2}, {"sh", "-c",
                            "echo $PINION_RANK $PINION_SIZE $PINION_LOCAL_RANK $PINION_LOCAL_SIZE "
                            "$PINION_HOST_ID $PINION_INCARNATION"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(sorted(lines_of(result.output)),
              ElementsAre("0 3 0 1 0 1", "1 3 0 2 1 1", "2 3 1 2 1 1"));
  EXPECT_EQ(result.errors, "");
}

TEST_F(JobOnHosts, GivesRanksTheEnvironmentAndTheFolderOfTheJob) {
  fs::create_directory(path("folder"));
  const CommandResult result =
      run_command(folder_,
                  on_hosts({1, 1}, {"sh", "-c", "echo $GIVEN $ADDED $(pwd)"},
                           {"-x", "ADDED=two", "--wdir", path("folder")}),
                  environment({{"GIVEN", "one"}}));
  EXPECT_EQ(result.status, 0) << result.errors;
  const std::string line = "one two " + fs::canonical(path("folder")).string();
  EXPECT_THAT(lines_of(result.output), ElementsAre(line, line));
}

TEST_F(JobOnHosts, TagsLinesWithTheRank) {
  const CommandResult result =
      run(on_hosts({1, 1}, {"sh", "-c", "echo out; echo error >&2"}, {"--tag-output"}));
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(sorted(lines_of(result.output)), ElementsAre("[0] out", "[1] out"));
  EXPECT_THAT(sorted(lines_of(result.errors)), ElementsAre("[0,err] error", "[1,err] error"));
}

TEST_F(JobOnHosts, LeavesStandardInputToRank0) {
  const CommandResult result =
      run(on_hosts({1, 1}, {"sh", "-c", "echo $PINION_RANK $(cat)"}), "what was given");
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(sorted(lines_of(result.output)), ElementsAre("0 what was given", "1"));
}

TEST_F(JobOnHosts, SaysWhereEachRankRuns) {
  const CommandResult result = run(on_hosts({1, 1}, {"true"}, {"--report-bindings"}));
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("pinion: localhost, rank 0: 1 worker"),
                                   HasSubstr("pinion: b, rank 1: 1 worker")));
  EXPECT_EQ(count_of("MiB lay in huge pages\n", result.errors), 2u);
}

TEST_F(JobOnHosts, BindsTheRanksOfEachHost) {
  const std::vector<std::string> program = {
      "sh", "-c", "echo $PINION_RANK $(grep Cpus_allowed_list /proc/self/status)"};
  const CommandResult bound =
      run(on_hosts({1, 1}, program, {"--bind-to", "core", "--report-bindings"}));
  EXPECT_EQ(bound.status, 0) << bound.errors;
  const std::vector<std::string> lines = sorted(lines_of(bound.output));
  const char* const hosts[] = {"localhost, rank 0", "b, rank 1"};
  ASSERT_EQ(lines.size(), std::size(hosts)) << bound.output;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string before = std::to_string(i) + " Cpus_allowed_list: ";
    ASSERT_THAT(lines[i], StartsWith(before));
    const std::string cpu = lines[i].substr(before.size());
    EXPECT_THAT(cpu, MatchesRegex("[0-9,-]+"));
    EXPECT_THAT(bound.errors, ContainsRegex(std::string(hosts[i]) +
                                            ": 1 worker on NUMA node [0-9]+, CPUs " + cpu + "\n"));
  }
  const CommandResult free =
      run(on_hosts({1, 1}, program, {"--bind-to", "none", "--report-bindings"}));
  EXPECT_EQ(free.status, 0) << free.errors;
  for (const std::string host : hosts) {
    EXPECT_THAT(free.errors, ContainsRegex(host + ": 1 worker on NUMA node [0-9]+, not bound\n"));
  }
}

TEST_F(JobOnHosts, SaysOnceOfEachHostWhyItHasNoGpu) {
  write_file(path("letters"), std::string(64 << 10, 'a'));
  const CommandResult result =
      run(on_hosts({2, 1}, {DEVICE_PROGRAM, path(""), "0"}, {"-x", "CUDA_VISIBLE_DEVICES="}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, "65536 letters\n") << result.errors;
  for (const std::string host : {"localhost", "b"}) {
    EXPECT_EQ(count_of("pinion: " + host + ": this ", result.errors), 1u) << result.errors;
  }
  EXPECT_EQ(count_of("no GPU", result.errors), 2u) << result.errors;
}

// Each partial, and the answer, have 1.6 MB.
TEST_F(JobOnHosts, SaysHowQuicklyLargeBlobsCame) {
  const CommandResult result = run(on_hosts({1, 1}, {VECTOR_PROGRAM, "8", "200000"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  const auto pulled = pulled_blobs(result.errors);
  ASSERT_TRUE(pulled) << result.errors;
  EXPECT_GE((*pulled)[0].bytes + (*pulled)[1].bytes, 1.5e6) << result.errors;
  EXPECT_TRUE((*pulled)[0].has_rate || (*pulled)[1].has_rate) << result.errors;
}

// 20 blobs of 8 MiB by each rank.
TEST_F(JobOnHosts, SaysOfEachHostHowMuchItHadInLargeBlobs) {
  const CommandResult result = run(on_hosts(
      {1, 1}, {BLOB_PROGRAM, "turns"},
      {"--report-bindings", "--set", "memory-bytes=67108864", "--set", "spill-bytes-max=0"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(count_of("pinion: of 160 MiB of large blobs ", result.errors), 2u) << result.errors;
}

TEST_F(JobOnHosts, OpensBlobsOfAnySizeThatOnlyARankOfAnotherHostHas) {
  const CommandResult result = run(on_hosts({1, 1}, {EXCHANGE_PROGRAM, path("")}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(sorted(lines_of(result.output)),
              ElementsAre("rank 0 opened all", "rank 1 opened all"));
}

TEST_F(JobOnHosts, HasTheExitStatusOfARankThatFails) {
  const CommandResult result =
      run(on_hosts({1, 2}, {"sh", "-c", "if [ $PINION_RANK = 2 ]; then exit 3; fi; sleep 600"}));
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.errors, HasSubstr("pinion: rank 2 ended with exit status 3; the job ends"));
  EXPECT_FALSE(something_runs());
}

TEST_F(JobOnHosts, EndsWithAProgramThatIsNotThere) {
  const CommandResult result = run(on_hosts({1, 1}, {path("nothing")}));
  EXPECT_EQ(result.status, 66);
  EXPECT_THAT(result.errors, HasSubstr("cannot start " + path("nothing")));
}

TEST_F(JobOnHosts, GoesOnWithoutARankWhereThatIsWanted) {
  const CommandResult result =
      run(on_hosts({1, 1}, {"sh", "-c", "if [ $PINION_RANK = 1 ]; then exit 3; fi; echo done"},
                   {"--on-failure", "continue"}));
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(result.output, "done\n");
}

// Steps are printed by whichever rank takes them; what they print is in the order of the steps.
TEST_F(JobOnHosts, PrintsStepByStep) {
  const CommandResult result = run(on_hosts({1, 1, 1}, {TELLING_PROGRAM, "40"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  std::string expected;
  for (int step = 0; step < 40; ++step) {
    expected += "step " + std::to_string(step) + "\n";
  }
  EXPECT_EQ(result.output, expected);
}

// Which rank comes first, and which one merges what, is not known. Of the first step, ranks that
// need more than two seconds to come are left out.
TEST_F(JobOnHosts, PlansForThePlacesOfAllHostsAndLeavesPartitionsWhereTheyLie) {
  for (const char* const folder : {"two", "three"}) {
    ASSERT_TRUE(fs::create_directory(path(folder)));
  }
  const CommandResult two = run(on_hosts({1, 1}, {PLACED_PROGRAM, path("two")}));
  EXPECT_EQ(two.status, 0) << two.errors;
  EXPECT_THAT(two.output, EndsWith("\nhosts 0 1, 0 away\n"));
  const CommandResult three = run(on_hosts({1, 2, 1}, {PLACED_PROGRAM, path("three")}));
  EXPECT_EQ(three.status, 0) << three.errors;
  EXPECT_THAT(three.output, EndsWith("\nhosts 0 1 2, 0 away\n"));
}

TEST_F(JobOnHosts, ComesToItsEndWhenTheTimeIsUp) {
  const CommandResult result = run(on_hosts({1, 1}, {"sleep", "600"}, {"--timeout", "0.5"}));
  EXPECT_EQ(result.status, 75);
  EXPECT_FALSE(something_runs());
}

class WorkingJobOnHosts : public JobOnHosts {
 protected:
  [[nodiscard]] std::vector<std::string> command(std::vector<std::string> options = {}) {
    const std::vector<std::string> log = grant_log_option();
    options.insert(options.end(), log.begin(), log.end());
    return on_hosts({1, 1}, {GATED_PROGRAM, path("")}, options);
  }
  void open_gate() const { write_file(path("gate"), "open"); }
};

TEST_F(WorkingJobOnHosts, EndsOnASignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    RunningCommand running(folder_, command(), environment());
    ASSERT_TRUE(bodies_have_begun()) << running.errors();
    kill(running.pid(), signal);
    EXPECT_EQ(running.wait_for(60s), 128 + signal) << running.errors();
    EXPECT_FALSE(something_runs());
    for (const char* const file : {"body.0.1", "body.1.1", "grants"}) {
      fs::remove(path(file));
    }
  }
}

TEST_F(WorkingJobOnHosts, PassesSigusr1OnToTheRanks) {
  RunningCommand running(folder_, command(), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(running.pid(), SIGUSR1);
  for (const char* const file : {"usr1.0", "usr1.1"}) {
    EXPECT_TRUE(eventually([&] { return fs::exists(path(file)); })) << file;
  }
  open_gate();
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(running.output(), kAnswer);
}

TEST_F(WorkingJobOnHosts, StartsAKilledRankOfAnotherHostAgain) {
  RunningCommand running(folder_, command(), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(pid_of(grant_log(), 1, 1), SIGKILL);
  ASSERT_TRUE(eventually([&] { return pid_of(grant_log(), 1, 2) != 0; })) << running.errors();
  open_gate();
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(running.output(), kAnswer);
  EXPECT_THAT(running.errors(), HasSubstr("pinion: rank 1 was killed by signal 9 (Killed); "
                                          "starting it again (1 of 3)"));
  EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
}

TEST_F(WorkingJobOnHosts, GoesOnWithoutAHostThatHadNothingOfTheJob) {
  RunningCommand running(folder_, command(), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(agent_of_rank(1), SIGKILL);
  ASSERT_TRUE(eventually([&] {
    return running.errors().find("host 1 is lost: b: ") != std::string::npos;
  })) << running.errors();
  open_gate();
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(running.output(), kAnswer);
  EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
}

TEST_F(WorkingJobOnHosts, EndsWithAHostWhereNothingIsToBeLost) {
  RunningCommand running(folder_, command({"--on-failure", "abort"}), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(agent_of_rank(1), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 69) << running.errors();
  EXPECT_THAT(running.errors(), HasSubstr("host 1 is lost: b: "));
  EXPECT_FALSE(something_runs());
}

TEST_F(WorkingJobOnHosts, LeavesNothingWhenTheHeadIsKilled) {
  RunningCommand running(folder_, command(), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(agent_of_rank(0), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137) << running.errors();
  EXPECT_THAT(running.errors(), HasSubstr("the agent of this job was killed by signal 9"));
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_F(WorkingJobOnHosts, LeavesNothingWhenPinionRunIsKilled) {
  RunningCommand running(folder_, command(), environment());
  ASSERT_TRUE(bodies_have_begun()) << running.errors();
  kill(running.pid(), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137);
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

class HostThatCannotBeUsed : public JobOnHosts {};

TEST_F(HostThatCannotBeUsed, IsNamedWithTheWordsOfItsRemoteShell) {
  write_file(shell(), "#!/bin/sh\necho \"shell: no way to $1\" >&2\nexit 255\n");
  const CommandResult result = run(on_hosts({1, 1}, {"true"}));
  EXPECT_EQ(result.status, 69);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("shell: no way to b\n"),
                    HasSubstr("host 1 is lost: b: its remote shell ended with exit status 255"),
                    HasSubstr("the job does not begin without b")));
}

TEST_F(HostThatCannotBeUsed, HasNoRemoteShell) {
  fs::remove(shell());
  const CommandResult result = run(on_hosts({1, 1}, {"true"}));
  EXPECT_EQ(result.status, 66);
  EXPECT_THAT(result.errors, HasSubstr("cannot start the remote shell " + shell()));
}

TEST_F(HostThatCannotBeUsed, HasNoAgent) {
  write_file(shell(), "#!/bin/sh\necho nothing to run\nexit 127\n");
  const CommandResult result = run(on_hosts({1, 1}, {"true"}));
  EXPECT_EQ(result.status, 69);
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(result.errors, HasSubstr("nothing to run\n"));
}

TEST_F(HostThatCannotBeUsed, HasAnAgentOfAnotherVersion) {
  // As long as ours, so that the description is whole.
  write_file(shell(),
             "#!/bin/sh\nshift\n"
             "head -c 24 > $0.head; size=$(tail -c 10 $0.head | sed 's/^0*//'); cat $0.head > "
             "$0.all; head -c $size | LC_ALL=C sed 's/" PINION_TEST_VERSION
             "/8.8.8/' >> $0.all\n"
             "exec \"$@\" < $0.all\n");
  const CommandResult result = run(on_hosts({1, 1}, {"true"}));
  EXPECT_EQ(result.status, 78);
  EXPECT_THAT(result.errors, HasSubstr("pinion run is of version 8.8.8, its agent of "));
}

TEST_F(HostThatCannotBeUsed, LacksTheFolderOfTheJob) {
  fs::create_directory(path("folder"));
  write_file(shell(),
             "#!/bin/sh\nshift\nmv " + path("folder") + " " + path("moved") + "\nexec \"$@\"\n");
  const CommandResult result = run(on_hosts({1, 1}, {"true"}, {"--wdir", path("folder")}));
  EXPECT_EQ(result.status, 66);
  EXPECT_THAT(result.errors, HasSubstr("b: cannot enter"));
}

TEST_F(HostThatCannotBeUsed, IsWaitedForNoLongerWhenTheJobIsEnded) {
  write_file(shell(), "#!/bin/sh\ntouch $0.begun\nexec sleep 600\n");
  RunningCommand running(folder_, on_hosts({1, 1}, {"true"}), environment());
  ASSERT_TRUE(eventually([&] { return fs::exists(shell() + ".begun"); }));
  kill(running.pid(), SIGTERM);
  EXPECT_EQ(running.wait_for(60s), 143) << running.errors();
  EXPECT_FALSE(something_runs());
}

TEST_F(HostThatCannotBeUsed, IsRefusedInWords) {
  const auto refused = [&](const std::vector<std::string>& options) {
    std::vector<std::string> command = {PINION_COMMAND, "run"};
    command.insert(command.end(), options.begin(), options.end());
    command.push_back("true");
    return run(command);
  };
  struct Case {
    std::vector<std::string> options;
    int status;
    const char* words;
  };
  for (const Case& it : std::vector<Case>{
           {{"--host", "elsewhere.invalid:2,b:1"}, 64, "the first host is elsewhere.invalid"},
           {{"--host", "localhost:2,"}, 64, "names no host"},
           {{"--host", "localhost:x"}, 64, "the ranks of a host must be 1 to 65536"},
           {{"--host", "localhost:0"}, 64, "the ranks of a host must be 1 to 65536"},
           {{"--host", "localhost:1,-b:1"}, 64, "cannot be the name of a host"},
           {{"-n", "4", "--host", "localhost:1,b:2"}, 71, "room for 3"},
           {{"--hostfile", path("absent")}, 66, "absent"},
           {{"--map-by", "ppr:0:node"}, 64, "ppr:N:node"},
           {{"--host", "localhost,b", "--debug-rank", "1"}, 76, "--debug-rank 1"},
           {{"--host", "localhost,b", "--dry-run", "--topology", "x"}, 64, "--topology"}}) {
    const CommandResult result = refused(it.options);
    EXPECT_EQ(result.status, it.status) << result.errors;
    EXPECT_THAT(result.errors, HasSubstr(it.words));
  }
}

TEST_F(JobOnHosts, AreReadFromAFile) {
  write_file(path("hosts"), "# all of them\nlocalhost slots=1\n\nb:1  # once\nb\n");
  const auto count_with = [&](const std::vector<std::string>& options) {
    std::vector<std::string> command = {PINION_COMMAND,           "run", "--oversubscribe",
                                        "--workers-per-rank",     "1",   "--set",
                                        "remote-shell=" + shell()};
    command.insert(command.end(), options.begin(), options.end());
    command.insert(command.end(), {"sh", "-c", "echo $PINION_HOST_ID"});
    const CommandResult result = run(command);
    EXPECT_EQ(result.status, 0) << result.errors;
    return sorted(lines_of(result.output));
  };
  EXPECT_THAT(count_with({"--hostfile", path("hosts")}), ElementsAre("0", "1", "1"));
  EXPECT_THAT(count_with({"--hostfile", path("hosts"), "-n", "2"}), ElementsAre("0", "1"));
  EXPECT_THAT(count_with({"--host", "localhost,b", "--map-by", "ppr:2:node"}),
              ElementsAre("0", "0", "1", "1"));
  EXPECT_THAT(count_with({"--host", "localhost:2"}), ElementsAre("0", "0"));
  EXPECT_THAT(count_with({"--map-by", "ppr:2:node"}), ElementsAre("0", "0"));
}

}  // namespace
}  // namespace pinion
