// What it takes to hand a 40-byte handle to another process of the host, beside what the machine
// needs at least.
//
// Expected before measuring: a message is one line of the cache, so a receiver that spins has it
// after one transfer of a line, and handling it costs both sides some twenty nanoseconds: the floor
// and a little. A receiver that sleeps has it after an eventfd's wake-up and one more system call.
//
// Two processes on two CPUs send a message to and fro; half of the way to and fro is the latency of
// one. The contenders run by turns, round after round, in the same two processes, because the
// floor itself changes from one second to the next where CPUs are virtual: ratios are those of one
// round.
//
//   ring_bench [ROUNDS]

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#if __has_include(<boost/interprocess/ipc/message_queue.hpp>)
#include <boost/interprocess/ipc/message_queue.hpp>
#define PINION_HAS_BOOST_INTERPROCESS 1
#endif
#if PINION_HAS_ZMQ
#include <zmq.h>
#endif

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/shm/ring.hpp>

#include "ring_contender.hpp"
#if PINION_HAS_ICEORYX
#include "ring_iceoryx.hpp"
#endif
#include "two_processes.hpp"

namespace pinion {
namespace {

constexpr std::size_t kBurst = 64;

std::byte* share_memory(std::size_t size_bytes) {
  void* const memory = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  require(memory != MAP_FAILED, "mmap");
  return static_cast<std::byte*>(memory);
}

// The floor: each process writes a line of its own and watches the other's.
Contender line_of_the_cache() {
  using Line = std::atomic<std::uint64_t>;
  auto* const memory = share_memory(4096);
  auto* const question = new (memory) Line(0);
  auto* const answer = new (memory + 1024) Line(0);
  return {.name = "floor: a line of the cache",
          .beside = "floor: a line of the cache",
          .open = [=](bool asks) -> Trip {
            Line& mine = asks ? *question : *answer;
            Line& theirs = asks ? *answer : *question;
            return [&mine, &theirs, asks, count = std::uint64_t{0}]() mutable {
              ++count;
              if (asks) {
                mine.store(count, std::memory_order_release);
              }
              while (theirs.load(std::memory_order_acquire) != count) {
              }
              if (!asks) {
                mine.store(count, std::memory_order_release);
              }
            };
          }};
}

// The same on eventfds: what waking a process that sleeps costs.
Contender bare_eventfd() {
  const int question = ::eventfd(0, EFD_CLOEXEC);
  const int answer = ::eventfd(0, EFD_CLOEXEC);
  require(question >= 0 && answer >= 0, "eventfd");
  return {.name = "floor: an eventfd",
          .beside = "floor: an eventfd",
          .trips_per_sample = 1,
          .samples_per_round = 300,
          .open = [=](bool asks) -> Trip {
            return [=] {
              std::uint64_t count = 1;
              if (asks) {
                require(::write(question, &count, sizeof(count)) > 0, "write");
              }
              require(::read(asks ? answer : question, &count, sizeof(count)) > 0, "read");
              count = 1;
              if (!asks) {
                require(::write(answer, &count, sizeof(count)) > 0, "write");
              }
            };
          }};
}

struct Ends {
  std::array<RingTicket, 2> tickets;
  std::array<UniqueFd, 2> watches;

  RingEnd attach(bool asks, Duration spin) {
    const std::size_t side = asks ? 0 : 1;
    watches[1 - side].reset();
    return std::move(
        *RingEnd::attach(std::move(tickets[side]), std::move(watches[side]), {.spin = spin}));
  }
};

std::shared_ptr<Ends> make_ends() {
  auto [first, second] = *make_ring(1, 1, 256);
  std::array<int, 2> sockets = {};
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) == 0, "socketpair");
  return std::make_shared<Ends>(
      Ends{{std::move(first), std::move(second)}, {UniqueFd(sockets[0]), UniqueFd(sockets[1])}});
}

RingMessage message_of(const BlobHandle& handle) {
  RingMessage message{.kind = 1, .length_bytes = sizeof(handle)};
  std::memcpy(message.payload.data(), &handle, sizeof(handle));
  return message;
}

void send(RingEnd& end, const RingMessage& message) {
  while (!end.try_push(message)) {
    require(end.wait_for_space(Instant::max()).ok(), "the other process is gone");
  }
}

void receive(RingEnd& end, RingMessage& message) {
  while (!end.try_pop(message)) {
    require(end.wait_for_message(Instant::max()).ok(), "the other process is gone");
  }
}

// `await` takes the next message of the other process.
template <class Await>
Trip to_and_fro(const std::shared_ptr<RingEnd>& end, bool asks, const Await& await) {
  return [end, asks, await, message = message_of({.job = 1, .generation = 1})]() mutable {
    if (asks) {
      send(*end, message);
    }
    await(*end, message);
    if (!asks) {
      send(*end, message);
    }
  };
}

Contender ring(std::string name, Duration spin) {
  const bool sleeps = spin == Duration::zero();
  return {.name = std::move(name),
          .beside = sleeps ? "floor: an eventfd" : "floor: a line of the cache",
          .trips_per_sample = sleeps ? 1u : 10u,
          .samples_per_round = 300,
          .open = [ends = make_ends(), spin](bool asks) -> Trip {
            return to_and_fro(std::make_shared<RingEnd>(ends->attach(asks, spin)), asks, receive);
          }};
}

Contender polled_ring() {
  return {.name = "ring, try_pop() in a loop",
          .beside = "floor: a line of the cache",
          .open = [ends = make_ends()](bool asks) -> Trip {
            return to_and_fro(std::make_shared<RingEnd>(ends->attach(asks, {})), asks,
                              [](RingEnd& end, RingMessage& message) {
                                while (!end.try_pop(message)) {
                                }
                              });
          }};
}

// The receiver finds the blob in memory that it has mapped, and reads its first line, which the
// sender has just written.
Contender blob_by_handle() {
  constexpr std::size_t kBlobBytes = std::size_t{1} << 16;
  constexpr std::size_t kBlobCount = 512;
  std::byte* const slab = share_memory(kBlobBytes * kBlobCount);
  return {.name = "ring, and the first line of the blob",
          .beside = "floor: a line of the cache",
          .open = [=, ends = make_ends()](bool asks) -> Trip {
            const auto end = std::make_shared<RingEnd>(ends->attach(asks, std::chrono::seconds(1)));
            return [=, number = std::uint64_t{0}]() mutable {
              RingMessage message;
              BlobHandle handle = {.job = 1, .generation = ++number, .length_bytes = kBlobBytes};
              for (const bool sends : {asks, !asks}) {
                if (sends) {
                  // Two halves, so that a blob's line is written by one process and read by one.
                  handle.index = static_cast<std::uint32_t>(number % (kBlobCount / 2) +
                                                            (asks ? kBlobCount / 2 : 0));
                  std::memcpy(slab + handle.index * kBlobBytes, &number, sizeof(number));
                  send(*end, message_of(handle));
                } else {
                  receive(*end, message);
                  std::memcpy(&handle, message.payload.data(), sizeof(handle));
                  std::uint64_t first_word = 0;
                  std::memcpy(&first_word, slab + handle.index * kBlobBytes, sizeof(first_word));
                  require(first_word == handle.generation, "the blob is another one");
                }
              }
            };
          }};
}

// Many messages and one answer.
Contender burst(std::string name, std::size_t batch) {
  return {.name = std::move(name),
          .beside = "floor: a line of the cache",
          .trips_per_sample = 1,
          .samples_per_round = 300,
          .open = [ends = make_ends(), batch](bool asks) -> Trip {
            const auto end = std::make_shared<RingEnd>(ends->attach(asks, std::chrono::seconds(1)));
            return [end, asks, batch, messages = std::vector<RingMessage>(kBurst)]() mutable {
              if (asks) {
                for (std::size_t sent = 0; sent < kBurst;) {
                  const std::size_t count = std::min(batch, kBurst - sent);
                  sent += end->try_push(std::span(messages).subspan(sent, count));
                }
                receive(*end, messages[0]);
                return;
              }
              for (std::size_t taken = 0; taken < kBurst;) {
                require(end->wait_for_message(Instant::max()).ok(), "the other process is gone");
                taken += end->try_pop(std::span(messages).first(batch));
              }
              send(*end, messages[0]);
            };
          }};
}

#if PINION_HAS_BOOST_INTERPROCESS
Contender boost_queue() {
  namespace ipc = boost::interprocess;
  const std::string name = "pinion-ring-bench-" + std::to_string(::getpid());
  const auto make = [](const std::string& of) {
    return std::make_shared<ipc::message_queue>(ipc::create_only, of.c_str(), 256,
                                                sizeof(BlobHandle));
  };
  // Both processes use the mappings of the one that forks.
  const auto question = make(name + "-question");
  const auto answer = make(name + "-answer");
  ipc::message_queue::remove((name + "-question").c_str());
  ipc::message_queue::remove((name + "-answer").c_str());
  return {.name = "Boost.Interprocess message_queue",
          .beside = "floor: a line of the cache",
          .samples_per_round = 100,
          .open = [=](bool asks) -> Trip {
            ipc::message_queue* const out = (asks ? question : answer).get();
            ipc::message_queue* const in = (asks ? answer : question).get();
            return [=, keep = std::pair(question, answer)] {
              BlobHandle handle = {.job = 1};
              ipc::message_queue::size_type size = 0;
              unsigned priority = 0;
              if (asks) {
                out->send(&handle, sizeof(handle), 0);
              }
              while (!in->try_receive(&handle, sizeof(handle), size, priority)) {
              }
              if (!asks) {
                out->send(&handle, sizeof(handle), 0);
              }
            };
          }};
}
#endif

#if PINION_HAS_ZMQ
Contender zero_mq() {
  const std::string address = "ipc:///tmp/pinion-ring-bench-" + std::to_string(::getpid());
  return {.name = "ZeroMQ PAIR, ipc",
          .beside = "floor: a line of the cache",
          .trips_per_sample = 1,
          .samples_per_round = 100,
          .open = [=](bool asks) -> Trip {
            void* const socket = ::zmq_socket(::zmq_ctx_new(), ZMQ_PAIR);
            require((asks ? ::zmq_bind : ::zmq_connect)(socket, address.c_str()) == 0, "zmq");
            return [=] {
              BlobHandle handle = {.job = 1};
              if (asks) {
                ::zmq_send(socket, &handle, sizeof(handle), 0);
              }
              while (::zmq_recv(socket, &handle, sizeof(handle), ZMQ_DONTWAIT) < 0) {
              }
              if (!asks) {
                ::zmq_send(socket, &handle, sizeof(handle), 0);
              }
            };
          }};
}
#endif

std::vector<Contender> make_contenders() {
  using std::chrono::seconds;
  std::vector<Contender> contenders;
#if PINION_HAS_ICEORYX
  // The first one: its daemon, a third process, shall have no descriptor of the others.
  const std::optional<Contender> iceoryx = iceoryx_publisher();
#endif
  contenders.push_back(line_of_the_cache());
  contenders.push_back(ring("ring, the receiver spins", seconds(1)));
  contenders.push_back(polled_ring());
  contenders.push_back(blob_by_handle());
  contenders.push_back(burst("ring, 64 messages one by one", 1));
  contenders.push_back(burst("ring, 64 messages in batches of 16", 16));
#if PINION_HAS_BOOST_INTERPROCESS
  contenders.push_back(boost_queue());
#endif
#if PINION_HAS_ZMQ
  contenders.push_back(zero_mq());
#endif
#if PINION_HAS_ICEORYX
  if (iceoryx) {
    contenders.push_back(*iceoryx);
  }
#endif
  contenders.push_back(bare_eventfd());
  contenders.push_back(ring("ring, the receiver sleeps", Duration::zero()));
  return contenders;
}

// The median of one round, in nanoseconds for one way.
double measure(const Contender& contender, const Trip& trip) {
  const SystemClock clock;
  std::vector<double> samples;
  for (std::size_t i = 0; i < contender.samples_per_round; ++i) {
    const Instant begin = clock.now();
    for (std::size_t j = 0; j < contender.trips_per_sample; ++j) {
      trip();
    }
    const auto nanoseconds = static_cast<double>((clock.now() - begin).count());
    samples.push_back(nanoseconds / static_cast<double>(contender.trips_per_sample) / 2);
  }
  return median_of(std::move(samples));
}

// Both processes make the same trips in the same order.
void answer_all(const std::vector<Contender>& contenders, std::size_t round_count) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  bind_to_cpu(1);
  std::vector<Trip> trips;
  for (const Contender& contender : contenders) {
    trips.push_back(contender.open(false));
  }
  for (std::size_t round = 0; round < round_count; ++round) {
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      for (std::size_t trip = 0;
           trip < contenders[i].samples_per_round * contenders[i].trips_per_sample; ++trip) {
        trips[i]();
      }
    }
  }
}

void print_table(const std::vector<Contender>& contenders,
                 const std::vector<std::vector<double>>& rounds) {
  std::printf("%-38s %10s %22s %8s\n", "one way, nanoseconds", "median", "lowest .. highest",
              "x floor");
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    const auto floor = static_cast<std::size_t>(
        std::find_if(contenders.begin(), contenders.end(),
                     [&](const Contender& other) { return other.name == contenders[i].beside; }) -
        contenders.begin());
    std::vector<double> ratios;
    for (std::size_t round = 0; round < rounds[i].size(); ++round) {
      ratios.push_back(rounds[i][round] / rounds[floor][round]);
    }
    const auto [lowest, highest] = std::minmax_element(rounds[i].begin(), rounds[i].end());
    std::printf("%-38s %10.0f %10.0f .. %8.0f %8.2f\n", contenders[i].name.c_str(),
                median_of(rounds[i]), *lowest, *highest, median_of(std::move(ratios)));
  }
#if !PINION_HAS_BOOST_INTERPROCESS
  std::printf("Boost.Interprocess is not installed\n");
#endif
#if !PINION_HAS_ZMQ
  std::printf("ZeroMQ is not installed\n");
#endif
#if !PINION_HAS_ICEORYX
  std::printf("iceoryx (libiceoryx-posh-dev and libacl1-dev) is not installed\n");
#endif
}

int run(std::size_t round_count) {
  const std::vector<Contender> contenders = make_contenders();
  const pid_t child = ::fork();
  require(child >= 0, "fork");
  if (child == 0) {
    answer_all(contenders, round_count);
    std::_Exit(0);
  }
  ::alarm(600);  // Should the other process fail, nobody would answer any more.
  bind_to_cpu(0);
  std::vector<Trip> trips;
  for (const Contender& contender : contenders) {
    trips.push_back(contender.open(true));
  }
  std::vector<std::vector<double>> rounds(contenders.size());
  for (std::size_t round = 0; round < round_count; ++round) {
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      rounds[i].push_back(measure(contenders[i], trips[i]));
    }
  }
  int status = 0;
  require(::waitpid(child, &status, 0) == child && status == 0, "the answering process failed");
  print_table(contenders, rounds);
  return 0;
}

}  // namespace
}  // namespace pinion

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 31;
  if (rounds < 1) {
    std::fputs("usage: ring_bench [ROUNDS]\n", stderr);
    return 64;
  }
  const int status = pinion::run(static_cast<std::size_t>(rounds));
  std::fflush(stdout);
  std::_Exit(status);  // Nothing of iceoryx may outlive its daemon, which has ended.
}
