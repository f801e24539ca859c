// An agent that is a process of its own is killed: at each of its stores to shared memory in turn,
// and at random moments. Its clients make, share, read and drop blobs in slabs before and after:
// the job is over then, but until they end they read no wrong byte, crash nowhere and wait for
// nobody. The test leads them, one step after the other, so that every run is the same up to the
// death.
//
//   PINION_SLAB_KILLS=2000  that many random moments instead of 100
//   PINION_KILL_SEED=123    the seed of the first of them

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/assert.hpp>
#include <pinion/core/detail/pause_cpu.hpp>
#include <pinion/shm/channel.hpp>

#include "fail_points.hpp"
#include "kill_numbers.hpp"
#include "led_slabs.hpp"
#include "shm_host.hpp"

namespace pinion {
namespace {

constexpr int kPatienceMs = 30'000;  // Who needs it is stuck.

struct Step {
  LedRole role;
  void (*run)(LedClient&);  // Null: it dies.
};

void make_all_of(LedClient& client, std::initializer_list<LedBlob> names) {
  std::ranges::for_each(names, [&](LedBlob name) { client.make(name); });
}

void open_all_of(LedClient& client, std::initializer_list<LedBlob> names) {
  std::ranges::for_each(names, [&](LedBlob name) { client.open(name); });
}

constexpr Step kScript[] = {
    {kWriter,
     [](LedClient& it) {
       make_all_of(it, {kKept, kReleased, kBusy, kLeft, kClosing});
     }},
    {kLeaver,
     [](LedClient& it) {
       make_all_of(it, {kOfLeaverKept, kOfLeaver});
     }},
    {kReader,
     [](LedClient& it) {
       open_all_of(it, {kKept, kReleased, kBusy, kClosing, kOfLeaverKept, kOfLeaver});
       it.open(kRestored);
     }},
    {kLeaver,
     [](LedClient& it) {
       open_all_of(it, {kKept, kLeft});
     }},
    {kWriter,
     [](LedClient& it) {
       open_all_of(it, {kOfLeaverKept, kOfLeaver});
     }},
    {kWriter,
     [](LedClient& it) {
       it.have_copied(kBusy);
       it.have_copied(kLeft);
     }},
    {kWriter,
     [](LedClient& it) {
       it.keep(kKept);
       it.keep(kReleased);
       it.keep(kOfLeaverKept);
       it.keep_in_vain(kKeep, kBusy, 1);
       it.keep_in_vain(kKeepTooLate, kClosing, 0);
     }},
    {kWriter,
     [](LedClient& it) {
       it.drop(kBusy);
       it.drop(kLeft);
       it.drop(kClosing);
       it.write_over();
     }},
    {kReader, [](LedClient& it) { it.look(); }},
    {kWriter,
     [](LedClient& it) {
       it.release(kReleased);
       it.drop(kReleased);
       it.write_over();
     }},
    {kReader, [](LedClient& it) { it.look(); }},
    {kLeaver, nullptr},
    {kReader, [](LedClient& it) { it.say_gone(kLeaver); }},
    {kWriter, [](LedClient& it) { it.write_over(); }},
    // With it goes the slab of the leaver, which both have mapped.
    {kReader, [](LedClient& it) { it.release(kOfLeaverKept); }},
    {kReader, [](LedClient& it) { it.make_many(); }},
    {kWriter,
     [](LedClient& it) {
       it.open_many();
       it.drop_many();
     }},
    // One of two slabs in which nothing is left goes back.
    {kReader,
     [](LedClient& it) {
       it.drop_many();
       it.make(kOfReader, kSlabBlobBytesMax);
     }},
    {kWriter, [](LedClient& it) { it.open(kOfReader); }},
    {kReader,
     [](LedClient& it) {
       it.drop(kOfReader);
       it.write_over();
     }},
    {kWriter,
     [](LedClient& it) {
       it.look();
       it.write_over();
     }},
    {kReader, [](LedClient& it) { it.drop_all(); }},
    {kWriter,
     [](LedClient& it) {
       it.drop_all();
       it.write_over();
     }},
};

// When the agent is killed; if neither, it lives until its clients have ended.
struct Doom {
  std::int64_t point = -1;                // It has passed so many.
  std::size_t step = std::size(kScript);  // While this step is under way,
  unsigned pauses = 0;                    // after so many.
};

// The processes of one run of the script. None of them outlives it.
class Round {
 public:
  Round() {
    void* const memory = ::mmap(nullptr, sizeof(LedBoard), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    PINION_ASSERT(memory != MAP_FAILED);
    board_ = new (memory) LedBoard();
    board_->handles[kRestored] = kRestoredHandle;
  }
  ~Round() {
    for (const pid_t pid : pids_) {
      if (pid > 0) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
      }
    }
    ::munmap(board_, sizeof(LedBoard));
  }
  Round(const Round&) = delete;
  Round& operator=(const Round&) = delete;

  void run(const Doom& doom) {
    start(doom);
    for (std::size_t i = 0; i < std::size(kScript) && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE(testing::Message() << "step " << i);
      take_step(i, doom);
    }
    words_ = {};
    for (const LedRole role : {kWriter, kReader}) {
      const int status = end_of(role);
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
    }
    const int status = end_of(kAgent);
    agent_lived_ = WIFEXITED(status);
    if (agent_lived_) {
      EXPECT_EQ(WEXITSTATUS(status), 0) << "something is left in its table";
      EXPECT_EQ(board_->refused_count.load(), 0u);
    } else {
      EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "status " << status;
    }
  }

  bool agent_lived() const { return agent_lived_; }

  std::vector<FailPoint> passed() const {
    EXPECT_LE(board_->passed.count.load(), FailPointLog::kCountMax);
    return board_->passed.to_vector();
  }

 private:
  static constexpr std::size_t kAgent = kRoleCount;

  // A process has nothing of the other channels, so that it sees the end of its own.
  struct Ends {
    std::optional<Channel> of_agent, of_client, of_test, of_led;
  };

  void start(const Doom& doom) {
    std::array<Ends, kRoleCount> ends;
    for (Ends& it : ends) {
      std::tie(it.of_agent, it.of_client) = *Channel::create_pair();
      std::tie(it.of_test, it.of_led) = *Channel::create_pair();
    }
    pids_[kAgent] = fork_and([&] {
      std::array<std::optional<Channel>, kRoleCount> clients;
      for (std::size_t i = 0; i < kRoleCount; ++i) {
        clients[i] = std::exchange(ends[i].of_agent, {});
      }
      ends = {};
      fail_point_plan.log = &board_->passed;
      fail_point_plan.left = doom.point;
      return LedAgent(std::move(clients)).run();
    });
    for (const LedRole role : {kWriter, kReader, kLeaver}) {
      pids_[role] = fork_and([&] {
        Channel agent = *std::exchange(ends[role].of_client, {});
        Channel words = *std::exchange(ends[role].of_led, {});
        ends = {};
        words_ = {};
        LedClient client(*board_, role, std::move(agent));
        be_led(client, words);
        return true;
      });
      words_[role] = std::exchange(ends[role].of_test, {});
    }
  }

  static pid_t fork_and(const std::function<bool()>& body) {
    const pid_t test = ::getpid();
    const pid_t pid = ::fork();
    EXPECT_GE(pid, 0);
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::_exit(::getppid() == test && body() && !testing::Test::HasFailure() ? 0 : 1);
    }
    return pid;
  }

  static void be_led(LedClient& client, Channel& words) {
    while (true) {
      const Result<std::optional<Frame>> frame = words.receive();
      if (!frame || !frame->has_value()) {
        return;
      }
      kScript[(*frame)->kind].run(client);
      const std::string complaint = client.end_step();
      static_cast<void>(words.send(0, 0, std::as_bytes(std::span(complaint))).ok());
    }
  }

  void take_step(std::size_t index, const Doom& doom) {
    const Step& step = kScript[index];
    if (step.run != nullptr) {
      ASSERT_TRUE(words_[step.role]->send(static_cast<std::uint16_t>(index), 0, {}).ok());
    } else {
      ::kill(pids_[step.role], SIGKILL);
    }
    if (index == doom.step) {
      for (unsigned i = 0; i < doom.pauses; ++i) {
        pause_cpu();
      }
      ::kill(pids_[kAgent], SIGKILL);
    }
    if (step.run != nullptr) {
      hear(*words_[step.role]);
    } else {
      words_[step.role].reset();
      const int status = end_of(step.role);
      EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "status " << status;
    }
  }

  static void hear(Channel& words) {
    pollfd said = {.fd = words.descriptor(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&said, 1, kPatienceMs), 1) << "it is stuck";
    const Result<std::optional<Frame>> frame = words.receive();
    ASSERT_TRUE(frame && frame->has_value()) << "it has crashed";
    const std::vector<std::byte>& text = (*frame)->payload;
    EXPECT_TRUE(text.empty()) << std::string(reinterpret_cast<const char*>(text.data()),
                                             text.size());
  }

  // Waits for the end of a process, which has its reason to end.
  int end_of(std::size_t process) {
    const pid_t pid = std::exchange(pids_[process], -1);
    const UniqueFd watch(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    pollfd ended = {.fd = watch.get(), .events = POLLIN, .revents = 0};
    if (::poll(&ended, 1, kPatienceMs) != 1) {
      ADD_FAILURE() << "process " << process << " is stuck";
      ::kill(pid, SIGKILL);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return status;
  }

  LedBoard* board_ = nullptr;
  std::array<std::optional<Channel>, kRoleCount> words_;
  std::array<pid_t, kRoleCount + 1> pids_ = {};
  bool agent_lived_ = false;
};

class KilledSlabAgent : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(open_descriptor_count(), descriptors_);
    EXPECT_EQ(names(), names_);
    EXPECT_TRUE(::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD) << "a child is left";
  }

 private:
  static std::set<std::string> names() {
    std::set<std::string> found;
    std::error_code is_absent;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", is_absent)) {
      // Those of other tests may lie there too.
      if (const std::string name = entry.path().filename();
          name.find("pinion") != name.npos && !name.starts_with("pinion-test-")) {
        found.insert(name);
      }
    }
    return found;
  }

  const std::ptrdiff_t descriptors_ = open_descriptor_count();
  const std::set<std::string> names_ = names();
};

// Some stores are done in loops, thousands of times: then at the first ones, the last, and some
// between.
std::vector<std::size_t> worth_dying_at(const std::vector<FailPoint>& passed) {
  constexpr std::size_t kStride = 128;
  std::map<FailPoint, std::vector<std::size_t>> by_place;
  for (std::size_t i = 0; i < passed.size(); ++i) {
    by_place[passed[i]].push_back(i);
  }
  std::vector<std::size_t> chosen;
  for (const auto& [place, times] : by_place) {
    for (std::size_t i = 0; i < times.size(); ++i) {
      if (i < 3 || i + 1 == times.size() || i % kStride == 0) {
        chosen.push_back(times[i]);
      }
    }
  }
  return chosen;
}

TEST_F(KilledSlabAgent, LeavesWhatOthersHaveAtEachOfItsStores) {
  Round of_life;
  of_life.run({});
  ASSERT_FALSE(HasFailure());
  const std::vector<FailPoint> passed = of_life.passed();
  const std::map<std::string, int> expected = {{"blob_life.hpp", 6},
                                               {"reference_row.cpp", 2},
                                               {"segment.cpp", 2},
                                               {"segment_table.cpp", 2},
                                               {"slab_table.cpp", 13}};
  EXPECT_EQ(place_counts({passed.begin(), passed.end()}), expected);
  for (const std::size_t point : worth_dying_at(passed)) {
    SCOPED_TRACE(testing::Message() << "killed at " << passed[point].file_name() << ":"
                                    << passed[point].line << ", point " << point);
    Round round;
    round.run({.point = static_cast<std::int64_t>(point)});
    ASSERT_FALSE(HasFailure());
    ASSERT_FALSE(round.agent_lived());
    ASSERT_EQ(round.passed().size(), point + 1);
    ASSERT_EQ(round.passed().back(), passed[point]);
  }
  Round of_one_point_more;
  of_one_point_more.run({.point = static_cast<std::int64_t>(passed.size())});
  EXPECT_TRUE(of_one_point_more.agent_lived());
}

// Every repetition within a process is another sequence.
TEST_F(KilledSlabAgent, LeavesWhatOthersHaveAtRandomMoments) {
  constexpr unsigned kPausesMax = 4000;
  static std::uint64_t seed = kill_seed(1);
  const std::uint64_t kill_count = slab_kill_count(100);
  for (std::uint64_t i = 0; i < kill_count && !HasFailure(); ++i, ++seed) {
    std::mt19937_64 random(seed);
    const Doom doom = {.step = random() % std::size(kScript),
                       .pauses = static_cast<unsigned>(random() % kPausesMax)};
    SCOPED_TRACE(testing::Message() << "again with PINION_KILL_SEED=" << seed << ": killed "
                                    << doom.pauses << " pauses into step " << doom.step);
    Round round;
    round.run(doom);
    EXPECT_FALSE(round.agent_lived());
  }
}

}  // namespace
}  // namespace pinion
