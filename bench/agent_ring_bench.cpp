// What it costs a rank to tell its agent something, through their ring and over their socket: a
// message that is not answered, of which the sender's time counts, and a question.
//
// Expected before measuring: to an agent that sleeps, both ways are a system call that wakes it, a
// few microseconds; behind that the ring costs a line of the cache, and the socket a system call
// for each. A question takes two wake-ups. Over the socket there is one more, as the thread that
// asks is not the one that reads; through the ring the asker may see the answer before it sleeps.
//
// Two processes on two CPUs; the second one is a loop that sleeps in poll() on both, as an agent.
// The ways go by turns, round after round.
//
//   agent_ring_bench [ROUNDS]

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/shm/channel.hpp>
#include <pinion/shm/ring.hpp>

#include "two_processes.hpp"

namespace pinion {
namespace {

constexpr std::uint32_t kTold = 1;
constexpr std::uint32_t kAsked = 2;
constexpr std::size_t kBurst = 64;
constexpr std::size_t kSamplesPerRound = 200;

UniqueFd watch_of(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

[[noreturn]] void be_agent(Channel channel, RingEnd ring) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  bind_to_cpu(1);
  std::array<pollfd, 2> watched = {
      {{channel.descriptor(), POLLIN, 0}, {ring.message_descriptor(), POLLIN, 0}}};
  while (true) {
    const bool sleeps = ring.begin_sleep();
    ::poll(watched.data(), watched.size(), sleeps ? -1 : 0);
    ring.end_sleep(watched[1].revents != 0);
    RingMessage message;
    while (ring.try_pop(message)) {
      if (message.kind == kAsked) {
        require(ring.try_push(message), "the ring is full");
      }
    }
    for (Result<std::optional<Frame>> frame = channel.try_receive(); frame && frame->has_value();
         frame = channel.try_receive()) {
      if ((*frame)->kind == kAsked) {
        require(channel.enqueue(kAsked, (*frame)->request, (*frame)->payload).ok(), "enqueue");
      }
    }
  }
}

// As a rank has it: a thread that reads the socket, and one that asks and waits for it.
class Rank {
 public:
  Rank(Channel channel, RingEnd ring)
      : channel_(std::move(channel)), ring_(std::move(ring)), reader_([this] { read(); }) {}
  ~Rank() {
    channel_.shutdown();
    reader_.join();
  }
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  void tell_by_ring(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      push({.kind = kTold, .length_bytes = sizeof(BlobHandle)});
    }
  }
  void tell_by_socket(std::size_t count) {
    const std::array<std::byte, 48> reference = {};
    for (std::size_t i = 0; i < count; ++i) {
      require(channel_.send(kTold, 0, reference).ok(), "send");
    }
  }
  void ask_by_ring() {
    push({.kind = kAsked});
    RingMessage answer;
    while (!ring_.try_pop(answer)) {
      require(ring_.wait_for_message(Instant::max()).ok(), "the agent is gone");
    }
  }
  void ask_by_socket() {
    require(channel_.send(kAsked, ++asked_, {}).ok(), "send");
    MutexLock lock(mutex_);
    while (answered_ != asked_) {
      arrived_.wait(mutex_);
    }
  }

 private:
  void push(const RingMessage& message) {
    while (!ring_.try_push(message)) {
      require(ring_.wait_for_space(Instant::max()).ok(), "the agent is gone");
    }
  }
  void read() {
    while (true) {
      Result<std::optional<Frame>> frame = channel_.receive();
      if (!frame || !frame->has_value()) {
        return;
      }
      {
        MutexLock lock(mutex_);
        answered_ = (*frame)->request;
      }
      arrived_.notify_all();
    }
  }

  Channel channel_;
  RingEnd ring_;
  Mutex mutex_;
  std::condition_variable_any arrived_;
  std::uint64_t asked_ = 0;
  std::uint64_t answered_ PINION_GUARDED_BY(mutex_) = 0;
  std::thread reader_;
};

// The median time of one call, in nanoseconds. The agent sleeps before each.
double measure(const std::function<void()>& call) {
  const SystemClock clock;
  std::vector<double> samples;
  for (std::size_t i = 0; i < kSamplesPerRound; ++i) {
    for (const Instant begin = clock.now(); clock.now() - begin < std::chrono::microseconds(100);) {
    }
    const Instant begin = clock.now();
    call();
    samples.push_back(static_cast<double>((clock.now() - begin).count()));
  }
  return median_of(std::move(samples));
}

struct Way {
  const char* what;
  std::function<void()> ring;
  std::function<void()> socket;
  std::vector<double> ring_rounds = {};
  std::vector<double> socket_rounds = {};
};

int run(std::size_t round_count) {
  auto [rank_channel, agent_channel] = *Channel::create_pair();
  auto [rank_ticket, agent_ticket] = *make_ring(1, 1, 256);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  require(child >= 0, "fork");
  if (child == 0) {
    be_agent(std::move(agent_channel), *RingEnd::attach(std::move(agent_ticket), watch_of(parent)));
  }
  bind_to_cpu(0);
  Rank rank(std::move(rank_channel), *RingEnd::attach(std::move(rank_ticket), watch_of(child)));
  std::array<Way, 3> ways = {
      {{"a message", [&] { rank.tell_by_ring(1); }, [&] { rank.tell_by_socket(1); }},
       {"64 messages", [&] { rank.tell_by_ring(kBurst); }, [&] { rank.tell_by_socket(kBurst); }},
       {"a question", [&] { rank.ask_by_ring(); }, [&] { rank.ask_by_socket(); }}}};
  for (std::size_t round = 0; round < round_count; ++round) {
    for (Way& way : ways) {
      way.ring_rounds.push_back(measure(way.ring));
      way.socket_rounds.push_back(measure(way.socket));
    }
  }
  std::printf("%-14s %12s %12s %10s\n", "nanoseconds", "ring", "socket", "ring/socket");
  for (const Way& way : ways) {
    std::vector<double> ratios;
    for (std::size_t round = 0; round < round_count; ++round) {
      ratios.push_back(way.ring_rounds[round] / way.socket_rounds[round]);
    }
    std::printf("%-14s %12.0f %12.0f %10.2f\n", way.what, median_of(way.ring_rounds),
                median_of(way.socket_rounds), median_of(std::move(ratios)));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  return 0;
}

}  // namespace
}  // namespace pinion

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 31;
  if (rounds < 1) {
    std::fputs("usage: agent_ring_bench [ROUNDS]\n", stderr);
    return 64;
  }
  return pinion::run(static_cast<std::size_t>(rounds));
}
