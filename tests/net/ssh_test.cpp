// Jobs over hosts that are reached by a real ssh: to this machine, by an sshd of the test's own.

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"
#include "mp/word_corpus.hpp"
#include "net/free_port.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kAnswer = "the sum is 2016\n";
constexpr const char* kSshd = "/usr/sbin/sshd";
// This machine, by names that are not the first's.
constexpr const char* kOtherHost = "127.0.0.2";
constexpr const char* kOtherHosts[] = {kOtherHost, "127.0.0.3", "127.0.0.4"};

class JobOverSsh : public JobTest {
 protected:
  void SetUp() override {
    if (access(kSshd, X_OK) != 0) {
      GTEST_SKIP() << kSshd << " is not here (package openssh-server)";
    }
    for (const char* const name : {"host_key", "user_key", "other_key"}) {
      const CommandResult made =
          run_command(folder_, {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path(name)});
      ASSERT_EQ(made.status, 0) << made.errors;
    }
    start_sshd();
    std::vector<std::string> tried = words_of(remote_shell());
    tried.insert(tried.end(), {kOtherHost, "true"});
    CommandResult result;
    const bool reached = eventually([&] {
      result = run_command(folder_, tried);
      return result.status == 0 || sshd_->wait_for(0s).has_value() ||
             result.errors.find("Connection refused") == std::string::npos;
    });
    if (!reached || result.status != 0) {
      GTEST_SKIP() << "no sshd of a test's own here: " << result.errors << sshd_->errors();
    }
    if (const CommandResult job = run(on_hosts({"true"})); job.status == 76) {
      GTEST_SKIP() << job.errors;
    }
  }

  void TearDown() override {
    if (sshd_) {
      kill(sshd_->pid(), SIGTERM);
      EXPECT_TRUE(sshd_->wait_for(60s).has_value());
      sshd_.reset();
    }
    JobTest::TearDown();
  }

  [[nodiscard]] std::string remote_shell(const std::string& key = "user_key") const {
    return "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=" +
           path("known_hosts") + " -o IdentitiesOnly=yes -o IdentityAgent=none -i " + path(key) +
           " -p " + std::to_string(port_);
  }

  [[nodiscard]] std::vector<std::string> on_hosts(const std::vector<std::string>& program,
                                                  std::vector<std::string> options = {}) const {
    options.insert(options.begin(), {"--host", std::string("localhost:2,") + kOtherHost + ":2",
                                     "--set", "remote-shell=" + remote_shell()});
    return on_ranks(4, program, options);
  }

  // A rank on each of four hosts, each of which starts the agent of the next.
  [[nodiscard]] std::vector<std::string> in_chain(const std::vector<std::string>& program,
                                                  std::vector<std::string> options = {}) const {
    std::string hosts = "localhost";
    for (const char* const host : kOtherHosts) {
      hosts += std::string(",") + host;
    }
    options.insert(options.begin(), {"--host", hosts, "--set", "remote-shell=" + remote_shell(),
                                     "--set", "start-width=1"});
    return on_ranks(4, program, options);
  }

  [[nodiscard]] bool all_bodies_have_begun() const {
    return eventually([&] {
      return fs::exists(path("body.0.1")) && fs::exists(path("body.1.1")) &&
             fs::exists(path("body.2.1")) && fs::exists(path("body.3.1"));
    });
  }

 private:
  static std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> words = {""};
    for (const char c : text) {
      if (c == ' ') {
        words.emplace_back();
      } else {
        words.back() += c;
      }
    }
    return words;
  }

  void start_sshd() {
    port_ = free_port();
    fs::copy_file(path("user_key.pub"), path("authorized_keys"));
    std::string known;
    std::string addresses;
    for (const std::string host : kOtherHosts) {
      known += "[" + host + "]:" + std::to_string(port_) + " " + read_file(path("host_key.pub"));
      addresses += "ListenAddress " + host + "\n";
    }
    write_file(path("known_hosts"), known);
    write_file(path("sshd_config"),
               addresses + "Port " + std::to_string(port_) + "\nHostKey " + path("host_key") +
                   "\nAuthorizedKeysFile " + path("authorized_keys") +
                   "\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
                   "KbdInteractiveAuthentication no\nPermitRootLogin yes\n");
    const std::string sshd = std::string("exec ") + kSshd + " -D -e -f " + path("sshd_config");
    // As root it wants a folder in /run, which is the machine's; this one only it sees.
    const std::vector<std::string> command =
        geteuid() == 0
            ? std::vector<std::string>{"unshare", "--mount", "sh", "-c",
                                       "mount -t tmpfs tmpfs /run && mkdir /run/sshd && " + sshd}
            : std::vector<std::string>{"sh", "-c", sshd};
    sshd_ = std::make_unique<RunningCommand>(folder_, command);
  }

  int port_ = 0;
  std::unique_ptr<RunningCommand> sshd_;
};

TEST_F(JobOverSsh, CountsWordsAsOneRankDoes) {
  const WordCorpus corpus = WordCorpus::of_seed(1);
  write_file(path("text"), corpus.text);
  const CommandResult result =
      run(on_hosts({WORD_PROGRAM, "4000", path("out"), path("text")}, grant_log_option()));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(read_file(path("out")), corpus.counts);
  EXPECT_THAT(fence_violations(grant_log()), IsEmpty());
  EXPECT_THAT(result.errors, HasSubstr("pinion: 4 ranks on 2 hosts"));
}

TEST_F(JobOverSsh, GivesRanksTheEnvironmentFolderAndArgumentsOfTheJob) {
  fs::create_directory(path("folder"));
  const CommandResult result =
      run_command(folder_,
                  on_hosts({"sh", "-c", "echo \"$GIVEN $(pwd) $1\"", "sh", "a 'b' $c"},
                           {"--wdir", path("folder")}),
                  environment({{"GIVEN", "one \"two\""}}));
  EXPECT_EQ(result.status, 0) << result.errors;
  const std::string line = "one \"two\" " + fs::canonical(path("folder")).string() + " a 'b' $c";
  EXPECT_THAT(lines_of(result.output), testing::ElementsAre(line, line, line, line));
}

TEST_F(JobOverSsh, HasTheExitStatusOfARankOfTheOtherHost) {
  const CommandResult result =
      run(on_hosts({"sh", "-c", "if [ $PINION_RANK = 3 ]; then exit 5; fi; sleep 600"}));
  EXPECT_EQ(result.status, 5) << result.errors;
  EXPECT_FALSE(something_runs());
}

TEST_F(JobOverSsh, EndsOnASignalOnBothHosts) {
  RunningCommand running(folder_, on_hosts({GATED_PROGRAM, path("")}, grant_log_option()),
                         environment());
  ASSERT_TRUE(eventually([&] { return fs::exists(path("body.3.1")); })) << running.errors();
  kill(running.pid(), SIGTERM);
  EXPECT_EQ(running.wait_for(60s), 143) << running.errors();
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

// Once an agent is there, it needs the way no more by which it was started.
TEST_F(JobOverSsh, GoesOnWithTheHostWhenTheConnectionIsCut) {
  RunningCommand running(folder_, on_hosts({GATED_PROGRAM, path("")}, grant_log_option()),
                         environment());
  ASSERT_TRUE(eventually([&] { return fs::exists(path("body.3.1")); })) << running.errors();
  const pid_t agent = parent_of(pid_of(grant_log(), 3, 1));
  const pid_t session = parent_of(agent);  // What sshd has made of this connection.
  kill(session, SIGKILL);
  ASSERT_TRUE(eventually([&] { return parent_of(agent) != session; }));
  write_file(path("gate"), "open");
  EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
  EXPECT_EQ(running.output(), kAnswer);
  EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
  EXPECT_THAT(running.errors(), testing::Not(HasSubstr("is lost")));
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_F(JobOverSsh, GoesOnWithoutAHostThatHasStartedOthers) {
  for (const std::uint64_t host : {1u, 2u}) {
    RunningCommand running(folder_, in_chain({GATED_PROGRAM, path("")}, grant_log_option()),
                           environment());
    ASSERT_TRUE(all_bodies_have_begun()) << running.errors();
    kill(parent_of(pid_of(grant_log(), host, 1)), SIGKILL);
    const std::string lost = "host " + std::to_string(host) + " is lost: ";
    ASSERT_TRUE(eventually([&] { return running.errors().find(lost) != std::string::npos; }))
        << running.errors();
    write_file(path("gate"), "open");
    EXPECT_EQ(running.wait_for(60s), 0) << running.errors();
    EXPECT_EQ(running.output(), kAnswer);
    EXPECT_EQ(accepted_shards(grant_log(), 1), each_once(64));
    EXPECT_EQ(count_of(" is lost: ", running.errors()), 1u) << running.errors();
    EXPECT_TRUE(eventually([&] { return !something_runs(); }));
    for (const char* const file :
         {"body.0.1", "body.1.1", "body.2.1", "body.3.1", "gate", "grants"}) {
      fs::remove(path(file));
    }
  }
}

TEST_F(JobOverSsh, LeavesNothingInAChainWhenTheHeadIsKilled) {
  RunningCommand running(folder_, in_chain({GATED_PROGRAM, path("")}, grant_log_option()),
                         environment());
  ASSERT_TRUE(all_bodies_have_begun()) << running.errors();
  kill(parent_of(pid_of(grant_log(), 0, 1)), SIGKILL);
  EXPECT_EQ(running.wait_for(60s), 137) << running.errors();
  EXPECT_THAT(running.errors(), HasSubstr("the agent of this job was killed by signal 9"));
  EXPECT_TRUE(eventually([&] { return !something_runs(); }));
}

TEST_F(JobOverSsh, SaysWhatSshSaysWhenItIsRefused) {
  const CommandResult result =
      run(on_hosts({"true"}, {"--set", "remote-shell=" + remote_shell("other_key")}));
  EXPECT_EQ(result.status, 69);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("Permission denied"),
                    HasSubstr("its remote shell ended with exit status 255"),
                    HasSubstr(std::string("the job does not begin without ") + kOtherHost)));
}

}  // namespace
}  // namespace pinion
