#include "agent/rank_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "temporary_folder.hpp"

namespace pinion {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int kPatienceMs = 30'000;  // Of a test whose process does not end as it should.

// A rank that is ended and reaped whatever the test does.
class RunningRank {
 public:
  explicit RunningRank(const RankStart& start) : process_(*start_rank(start)) {}
  ~RunningRank() {
    if (process_.pid > 0) {
      ::kill(process_.pid, SIGKILL);
      ::waitpid(process_.pid, nullptr, 0);
    }
  }
  RunningRank(const RunningRank&) = delete;
  RunningRank& operator=(const RunningRank&) = delete;

  RankProcess& process() { return process_; }
  pid_t pid() const { return process_.pid; }

  // Waits on the pidfd as the agent does, then reaps.
  int wait_status() {
    pollfd watched = {.fd = process_.watch.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&watched, 1, kPatienceMs), 1);
    EXPECT_TRUE(has_ended(process_));
    int status = -1;
    EXPECT_EQ(::waitpid(process_.pid, &status, WNOHANG), process_.pid);
    process_.pid = -1;
    return status;
  }

  // Until the process has stopped itself: nothing in it moves while the test looks.
  void wait_until_stopped() {
    int status = 0;
    ASSERT_EQ(::waitpid(process_.pid, &status, WUNTRACED), process_.pid);
    ASSERT_TRUE(WIFSTOPPED(status)) << status;
  }

 private:
  RankProcess process_;
};

RankStart shell(const std::string& script) {
  return {.command = {"/bin/sh", "-c", script}};
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();  // An iterator would throw when the process behind a file of /proc ends.
  return text.str();
}

// The lines of a /proc/PID/status.
std::map<std::string, std::string> status_fields(const std::string& text) {
  std::map<std::string, std::string> fields;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(":\t");
    if (colon != std::string::npos) {
      fields[line.substr(0, colon)] = line.substr(colon + 2);
    }
  }
  return fields;
}

std::map<int, std::string> open_descriptors(pid_t pid) {
  std::map<int, std::string> found;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry, gone);
    if (!gone) {
      found[std::stoi(entry.path().filename())] = target;
    }
  }
  return found;
}

std::set<std::string> environment_of(pid_t pid) {
  std::set<std::string> variables;
  std::istringstream entries(text_of("/proc/" + std::to_string(pid) + "/environ"));
  for (std::string entry; std::getline(entries, entry, '\0');) {
    variables.insert(entry);
  }
  return variables;
}

TEST(RankProcess, EndsWithTheStatusOfItsProgram) {
  EXPECT_EQ(RunningRank({.command = {"/bin/true"}}).wait_status(), W_EXITCODE(0, 0));
  EXPECT_EQ(RunningRank({.command = {"/bin/false"}}).wait_status(), W_EXITCODE(1, 0));
  EXPECT_EQ(RunningRank(shell("exit 42")).wait_status(), W_EXITCODE(42, 0));
}

TEST(RankProcess, FindsItsProgramOnThePath) {
  EXPECT_EQ(RunningRank({.command = {"true"}}).wait_status(), W_EXITCODE(0, 0));
}

TEST(RankProcess, EndsByTheSignalThatKilledIt) {
  const int status = RunningRank(shell("kill -9 $$")).wait_status();
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST(RankProcess, HasNotEndedWhileItRuns) {
  RunningRank rank(shell("kill -STOP $$"));
  rank.wait_until_stopped();
  EXPECT_FALSE(has_ended(rank.process()));
  ::kill(rank.pid(), SIGCONT);
  EXPECT_EQ(rank.wait_status(), W_EXITCODE(0, 0));
}

TEST(RankProcess, IsNotStartedWhereTheProgramDoesNotExist) {
  const TemporaryFolder folder;
  for (const std::string& program : {(folder / "missing"), std::string("pinion-no-such-program")}) {
    const Result<RankProcess> started = start_rank({.command = {program, "argument"}});
    ASSERT_FALSE(started.has_value());
    EXPECT_EQ(started.error().code(), ErrorCode::kNotFound);
    EXPECT_THAT(std::string(started.error().message()), HasSubstr(program));
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

// For an ordinary user the search fails in the closed folder; that says nothing of the program.
TEST(RankProcess, IsNotFoundWhereAFolderOfThePathIsClosed) {
  const TemporaryFolder folder;
  const std::string closed = (folder / "closed");
  ASSERT_EQ(::mkdir(closed.c_str(), 0), 0);
  folder.write("data", "no program");
  const std::string before = ::getenv("PATH");
  ::setenv("PATH", (closed + ":" + (folder / "")).c_str(), 1);
  const Result<RankProcess> missing = start_rank({.command = {"missing"}});
  const Result<RankProcess> data = start_rank({.command = {"data"}});
  ::setenv("PATH", before.c_str(), 1);
  ASSERT_EQ(::rmdir(closed.c_str()), 0);
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  ASSERT_FALSE(data.has_value());
  EXPECT_EQ(data.error().code(), ErrorCode::kPermissionDenied);
}

TEST(RankProcess, IsNotStartedWhereTheFileCannotBeRun) {
  const TemporaryFolder folder;
  for (const std::string& program : {folder.write("data", "no program"), (folder / "")}) {
    const Result<RankProcess> started = start_rank({.command = {program}});
    ASSERT_FALSE(started.has_value());
    EXPECT_EQ(started.error().code(), ErrorCode::kPermissionDenied);
    EXPECT_THAT(std::string(started.error().message()), HasSubstr(program));
  }
}

TEST(RankProcess, LeavesNoDescriptorBehind) {
  const auto before = open_descriptors(::getpid()).size();
  {
    RunningRank rank({.command = {"/bin/true"}});
    EXPECT_EQ(open_descriptors(::getpid()).size(), before + 2) << "a socket and a pidfd";
    rank.wait_status();
  }
  static_cast<void>(start_rank({.command = {"/no/such/program"}}).has_value());
  EXPECT_EQ(open_descriptors(::getpid()).size(), before);
}

TEST(RankProcess, HasOurEnvironmentAndItsOwn) {
  ASSERT_EQ(::setenv("PINION_TEST_KEPT", "from us", 1), 0);
  ASSERT_EQ(::setenv("PINION_TEST_CHANGED", "from us", 1), 0);
  RankStart start = shell("kill -STOP $$");
  start.environment = {{"PINION_TEST_CHANGED", "for the rank"}, {"PINION_TEST_ADDED", "a = b"}};
  RunningRank rank(start);
  rank.wait_until_stopped();
  const std::set<std::string> variables = environment_of(rank.pid());
  EXPECT_EQ(variables.count("PINION_TEST_KEPT=from us"), 1u);
  EXPECT_EQ(variables.count("PINION_TEST_CHANGED=from us"), 0u);
  EXPECT_EQ(variables.count("PINION_TEST_CHANGED=for the rank"), 1u);
  EXPECT_EQ(variables.count("PINION_TEST_ADDED=a = b"), 1u);
  EXPECT_STREQ(::getenv("PINION_TEST_CHANGED"), "from us");
  ::unsetenv("PINION_TEST_KEPT");
  ::unsetenv("PINION_TEST_CHANGED");
}

// Descriptors of the agent (another rank's socket and pidfd among them) are not the rank's.
TEST(RankProcess, HasNoDescriptorButTheStandardOnesAndItsSocket) {
  std::set<int> expected = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
  for (const auto& [descriptor, target] : open_descriptors(::getpid())) {
    const int flags = ::fcntl(descriptor, F_GETFD);
    if (flags != -1 && (flags & FD_CLOEXEC) == 0) {
      expected.insert(descriptor);  // Whoever started the test left it to all of its children.
    }
  }
  RunningRank other(shell("kill -STOP $$"));
  other.wait_until_stopped();
  RunningRank rank(shell("kill -STOP $$"));
  rank.wait_until_stopped();

  int socket = -1;
  for (const std::string& variable : environment_of(rank.pid())) {
    constexpr std::string_view kName = "PINION_AGENT_FD=";
    if (variable.starts_with(kName)) {
      socket = std::stoi(variable.substr(kName.size()));
    }
  }
  const std::map<int, std::string> found = open_descriptors(rank.pid());
  ASSERT_EQ(found.count(socket), 1u) << socket;
  EXPECT_THAT(found.at(socket), StartsWith("socket:"));
  expected.insert(socket);
  std::set<int> numbers;
  for (const auto& [descriptor, target] : found) {
    numbers.insert(descriptor);
    EXPECT_EQ(expected.count(descriptor), 1u) << descriptor << " is " << target;
  }
  EXPECT_EQ(numbers, expected);
}

TEST(RankProcess, SharesItsSocketWithUs) {
  RunningRank rank(shell("kill -STOP $$; exit 0"));
  rank.wait_until_stopped();
  const Result<std::optional<Frame>> nothing = rank.process().channel.try_receive();
  ASSERT_TRUE(nothing.has_value()) << "the rank's end is open";
  EXPECT_FALSE(nothing->has_value());
  ::kill(rank.pid(), SIGCONT);
  const Result<std::optional<Frame>> end = rank.process().channel.receive();
  ASSERT_TRUE(end.has_value()) << end.error().to_string();
  EXPECT_FALSE(end->has_value()) << "the rank's end went with it";
}

// Standard input of this process, replaced by a file while the object lives.
class StandardInput {
 public:
  explicit StandardInput(const std::string& path) : saved_(::dup(STDIN_FILENO)) {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(::dup2(file.get(), STDIN_FILENO), STDIN_FILENO);
  }
  ~StandardInput() {
    if (saved_.valid()) {
      ::dup2(saved_.get(), STDIN_FILENO);
    } else {
      ::close(STDIN_FILENO);
    }
  }
  StandardInput(const StandardInput&) = delete;
  StandardInput& operator=(const StandardInput&) = delete;

 private:
  UniqueFd saved_;
};

TEST(RankProcess, ReadsFromNowhereUnlessAskedOtherwise) {
  const TemporaryFolder folder;
  const StandardInput input(folder.write("input", "some words"));
  const std::string seen = (folder / "seen");
  RankStart start = shell("cat > '" + seen + "'; readlink /proc/self/fd/0 >> '" + seen + "'");
  EXPECT_EQ(RunningRank(start).wait_status(), 0);
  EXPECT_EQ(text_of(seen), "/dev/null\n");

  start.input = STDIN_FILENO;
  EXPECT_EQ(RunningRank(start).wait_status(), 0);
  EXPECT_EQ(text_of(seen), "some words" + (folder / "input") + "\n");
}

TEST(RankProcess, WritesToWhatItIsGiven) {
  const TemporaryFolder folder;
  const UniqueFd output(::open((folder / "out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const UniqueFd errors(::open((folder / "err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  RankStart start = shell("echo words; echo more >&2");
  start.output = output.get();
  start.errors = errors.get();
  EXPECT_EQ(RunningRank(start).wait_status(), 0);
  EXPECT_EQ(text_of(folder / "out"), "words\n");
  EXPECT_EQ(text_of(folder / "err"), "more\n");
}

TEST(RankProcess, IsNotHandedVariablesThatAreToBeAbsent) {
  ASSERT_EQ(::setenv("PINION_TEST_ABSENT", "from us", 1), 0);
  RankStart start = shell("kill -STOP $$");
  start.absent_variables = {"PINION_TEST_ABSENT"};
  RunningRank rank(start);
  rank.wait_until_stopped();
  EXPECT_EQ(environment_of(rank.pid()).count("PINION_TEST_ABSENT=from us"), 0u);
  ::unsetenv("PINION_TEST_ABSENT");
}

TEST(RankProcess, IsBoundToTheCpusThatItIsGiven) {
  cpu_set_t ours;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(ours), &ours), 0);
  unsigned last = 0;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    last = CPU_ISSET(cpu, &ours) ? cpu : last;
  }
  RankStart start = shell("kill -STOP $$");
  const std::string unbound = status_fields(text_of("/proc/self/status"))["Cpus_allowed_list"];
  for (const bool is_bound : {true, false}) {
    start.cpus = is_bound ? std::vector{last} : std::vector<unsigned>();
    RunningRank rank(start);
    rank.wait_until_stopped();
    const std::string path = "/proc/" + std::to_string(rank.pid()) + "/status";
    EXPECT_EQ(status_fields(text_of(path))["Cpus_allowed_list"],
              is_bound ? std::to_string(last) : unbound);
  }
}

// The soft limit of open files, from a /proc/PID/limits.
std::string open_file_limit_of(pid_t pid) {
  std::istringstream limits(text_of("/proc/" + std::to_string(pid) + "/limits"));
  for (std::string line; std::getline(limits, line);) {
    if (line.starts_with("Max open files")) {
      std::istringstream words(line.substr(std::string_view("Max open files").size()));
      std::string soft;
      words >> soft;
      return soft;
    }
  }
  return "?";
}

TEST(RankProcess, HasTheLimitOfOpenFilesThatItIsGiven) {
  rlimit ours = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &ours), 0);
  RankStart start = shell("kill -STOP $$");
  start.open_file_limit = 64;
  RunningRank few(start);
  few.wait_until_stopped();
  EXPECT_EQ(open_file_limit_of(few.pid()), "64");
  start.open_file_limit = RLIM_INFINITY;
  RunningRank most(start);
  most.wait_until_stopped();
  EXPECT_EQ(open_file_limit_of(most.pid()),
            ours.rlim_max == RLIM_INFINITY ? "unlimited" : std::to_string(ours.rlim_max));
}

// What the agent does with its own signals is no matter of the program's.
TEST(RankProcess, BeginsWithSignalsAsAProgramExpectsThem) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGUSR1);
  ASSERT_EQ(::sigprocmask(SIG_BLOCK, &blocked, &before), 0);
  const auto pipe_before = ::signal(SIGPIPE, SIG_IGN);
  RunningRank rank(shell("kill -STOP $$"));
  ::signal(SIGPIPE, pipe_before);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  rank.wait_until_stopped();
  auto fields = status_fields(text_of("/proc/" + std::to_string(rank.pid()) + "/status"));
  EXPECT_EQ(std::stoull(fields.at("SigBlk"), nullptr, 16), 0u);
  EXPECT_EQ(std::stoull(fields.at("SigIgn"), nullptr, 16) >> (SIGPIPE - 1) & 1, 0u);
}

TEST(RankProcess, HasAProcessGroupOfItsOwnOrTheOneThatItIsGiven) {
  RankStart start = shell("kill -STOP $$");
  RunningRank alone(start);
  EXPECT_EQ(::getpgid(alone.pid()), alone.pid());
  start.process_group = ::getpgrp();
  RunningRank together(start);
  EXPECT_EQ(::getpgid(together.pid()), ::getpgrp());
}

// The process between us and the rank: starts the rank, tells us its number, waits to be killed.
[[noreturn]] void run_agent_process(int report) {
  Result<RankProcess> rank = start_rank({.command = {"sleep", "600"}});
  const pid_t pid = rank ? rank->pid : -1;
  if (::write(report, &pid, sizeof(pid)) != sizeof(pid)) {
    ::_exit(1);
  }
  while (true) {
    ::pause();
  }
}

TEST(RankProcess, DiesWithItsAgent) {
  // The orphan becomes our child, so that how it ended can be seen.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const pid_t agent = ::fork();
  ASSERT_GE(agent, 0);
  if (agent == 0) {
    run_agent_process(writer.get());
  }
  writer.reset();
  pid_t rank = -1;
  ASSERT_EQ(::read(reader.get(), &rank, sizeof(rank)), static_cast<ssize_t>(sizeof(rank)));
  ASSERT_GT(rank, 0);
  const UniqueFd watch(static_cast<int>(::syscall(SYS_pidfd_open, rank, 0)));
  ASSERT_TRUE(watch.valid());
  pollfd watched = {.fd = watch.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&watched, 1, 0), 0) << "the rank runs";

  ASSERT_EQ(::kill(agent, SIGKILL), 0);
  ASSERT_EQ(::waitpid(agent, nullptr, 0), agent);
  EXPECT_EQ(::poll(&watched, 1, kPatienceMs), 1) << "the rank runs on";
  ::kill(rank, SIGTERM);  // Says so below, and leaves nothing behind.
  int status = 0;
  ASSERT_EQ(::waitpid(rank, &status, 0), rank);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(WaitStatus, IsDescribedInWords) {
  EXPECT_EQ(describe_wait_status(W_EXITCODE(0, 0)), "exit status 0");
  EXPECT_EQ(describe_wait_status(W_EXITCODE(3, 0)), "exit status 3");
  EXPECT_EQ(describe_wait_status(W_EXITCODE(255, 0)), "exit status 255");
  EXPECT_EQ(describe_wait_status(W_EXITCODE(0, SIGKILL)), "killed by signal 9 (Killed)");
  EXPECT_EQ(describe_wait_status(W_EXITCODE(0, SIGSEGV) | WCOREFLAG),
            "killed by signal 11 (Segmentation fault)");
}

}  // namespace
}  // namespace pinion
