// Real processes at the two ends of a ring, one of which is killed: at each named store, and at
// random instructions. PINION_RING_KILLS says how many random ones there are of each kind.

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include <pinion/core/clock.hpp>
#include <pinion/core/detail/pause_cpu.hpp>

#include "ring_connection.hpp"
#include "shm/doomed_memory.hpp"
#include "shm/ring_ends.hpp"
#include "shm_host.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kCapacity = 8;
constexpr std::size_t kBatchMax = 5;
constexpr Duration kPatience = 30s;  // A waiter that needs it is stuck.
constexpr RingOptions kSleepAtOnce = {.spin = Duration::zero()};

using DoomedEnd = RingConnection<DoomedMemory>;

// What a child has done so far, in memory that outlives it.
class Progress {
 public:
  Progress()
      : count_(static_cast<std::atomic<std::uint64_t>*>(
            ::mmap(nullptr, sizeof(std::atomic<std::uint64_t>), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~Progress() { ::munmap(count_, sizeof(*count_)); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void set(std::uint64_t count) { count_->store(count); }
  [[nodiscard]] std::uint64_t get() const { return count_->load(); }

 private:
  std::atomic<std::uint64_t>* count_;
};

// Sends numbered messages without end.
void produce(DoomedEnd& end, Progress& progress) {
  std::array<RingMessage, kBatchMax> batch;
  for (std::uint64_t sent = 0;;) {
    const std::size_t count = 1 + sent % kBatchMax;
    for (std::size_t i = 0; i < count; ++i) {
      batch[i] = numbered(sent + i);
    }
    const std::size_t pushed = end.push({batch.data(), count});
    sent += pushed;
    progress.set(sent);
    if (pushed == 0 && !end.wait_for_space(Instant::max()).ok()) {
      ::_exit(2);
    }
  }
}

// Takes numbered messages without end.
void consume(DoomedEnd& end, Progress& progress) {
  std::array<RingMessage, kBatchMax> batch;
  for (std::uint64_t taken = 0;;) {
    const std::size_t popped = end.pop({batch.data(), 1 + taken % kBatchMax});
    for (std::size_t i = 0; i < popped; ++i) {
      if (batch[i] != numbered(taken + i)) {
        ::_exit(3);
      }
    }
    taken += popped;
    progress.set(taken);
    if (popped == 0 && !end.wait_for_message(Instant::max()).ok()) {
      ::_exit(2);
    }
  }
}

UniqueFd pidfd_of(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

// A process at one end of a ring; this one has the other.
class Child {
 public:
  using Body = void (*)(DoomedEnd&, Progress&);

  Child(Body body, const Doom& its_doom) {
    auto [ours, theirs] = *make_ring(1, 2, kCapacity);
    pid_ = ::fork();
    if (pid_ == 0) {
      doom = its_doom;
      Result<RingParts> parts = open_ring_parts(std::move(theirs), pidfd_of(::getppid()));
      DoomedEnd end(std::move(*parts), kSleepAtOnce);
      body(end, progress_);
    }
    EXPECT_GT(pid_, 0);
    watch_ = pidfd_of(pid_);
    end_.emplace(*RingEnd::attach(std::move(ours), pidfd_of(pid_), kSleepAtOnce));
  }
  ~Child() {
    kill();
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "2: its wait failed, 3: it read a wrong message; status " << WEXITSTATUS(status);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void kill() const { EXPECT_EQ(::kill(pid_, SIGKILL), 0); }

  RingEnd& end() { return *end_; }
  [[nodiscard]] std::uint64_t progress() const { return progress_.get(); }
  [[nodiscard]] int watch() const { return watch_.get(); }

 private:
  Progress progress_;
  pid_t pid_ = -1;
  UniqueFd watch_;
  std::optional<RingEnd> end_;
};

Instant at_the_latest() {
  return SystemClock().now() + kPatience;
}

// Kills the child after so many messages and so many pauses; it may have died before.
struct Execution {
  std::uint64_t after_messages = UINT64_MAX;
  unsigned pauses = 0;

  void maybe(const Child& child, std::uint64_t messages) {
    if (messages < after_messages) {
      return;
    }
    after_messages = UINT64_MAX;
    for (unsigned i = 0; i < pauses; ++i) {
      pause_cpu();
    }
    child.kill();
  }
};

// How a reader waits for a message. Errors: kUnavailable.
using Wait = Status (*)(Child&);

Status wait_on_the_ring(Child& child) {
  return child.end().wait_for_message(at_the_latest());
}

// As a loop does that has more to sleep on. It has to see the death by itself.
Status wait_in_parts(Child& child) {
  std::array<pollfd, 2> watched = {
      {{.fd = child.end().message_descriptor(), .events = POLLIN, .revents = 0},
       {.fd = child.watch(), .events = POLLIN, .revents = 0}}};
  const bool sleeps = child.end().begin_sleep();
  const int patience = static_cast<int>(kPatience / 1ms);
  const int count = ::poll(watched.data(), watched.size(), sleeps ? patience : 0);
  child.end().end_sleep(watched[0].revents != 0);
  if (sleeps && count == 0) {
    return Status(ErrorCode::kDeadlineExceeded, "nothing woke the reader");
  }
  if (watched[0].revents != 0 || !sleeps) {
    return {};
  }
  // It is dead. What it had sent counts all the same.
  return child.end().wait_for_message(Instant());
}

// What a reader gets of a producer that dies is what the producer had sent, in order, and no more;
// then it is told.
template <Wait wait>
void outlive_a_producer(const Doom& its_doom, Execution execution) {
  Child child(&produce, its_doom);
  std::array<RingMessage, 3> batch;
  std::uint64_t taken = 0;
  while (true) {
    execution.maybe(child, taken);
    const std::size_t popped = child.end().try_pop(batch);
    for (std::size_t i = 0; i < popped; ++i) {
      ASSERT_EQ(batch[i], numbered(taken + i)) << "message " << taken + i;
    }
    taken += popped;
    if (popped > 0) {
      continue;
    }
    if (const Status waited = wait(child); !waited.ok()) {
      ASSERT_EQ(waited.code(), ErrorCode::kUnavailable) << waited.to_string();
      break;
    }
  }
  EXPECT_GE(taken, child.progress()) << "a message is lost that had been sent";
  EXPECT_LE(taken, child.progress() + kBatchMax);
}

// A writer whose consumer dies is told, asleep or not, once the ring is full.
void outlive_a_consumer(const Doom& its_doom, Execution execution) {
  Child child(&consume, its_doom);
  std::uint64_t sent = 0;
  while (true) {
    execution.maybe(child, sent);
    if (child.end().try_push(numbered(sent))) {
      ++sent;
      continue;
    }
    if (const Status waited = child.end().wait_for_space(at_the_latest()); !waited.ok()) {
      ASSERT_EQ(waited.code(), ErrorCode::kUnavailable) << waited.to_string();
      break;
    }
  }
  EXPECT_LE(child.progress(), sent);
  EXPECT_GE(child.progress() + kBatchMax + kCapacity, sent);
}

template <class Outlive>
void die_at_each(std::initializer_list<RingStore> stores, const Outlive& outlive) {
  const std::ptrdiff_t descriptors = open_descriptor_count();
  for (const RingStore store : stores) {
    for (const bool is_before : {true, false}) {
      for (const int occurrence : {1, 2, 3, 7, 8, 9, 40}) {
        SCOPED_TRACE(testing::Message() << (is_before ? "before" : "after") << " store "
                                        << static_cast<int>(store) << ", time " << occurrence);
        outlive({store, is_before, occurrence}, {});
        ASSERT_FALSE(testing::Test::HasFailure());  // One stuck waiter is enough to wait for.
      }
    }
  }
  EXPECT_EQ(open_descriptor_count(), descriptors);
}

TEST(RingKill, OfAProducerAtEachStoreLeavesWhatItSent) {
  die_at_each(
      {RingStore::kWord, RingStore::kTurn, RingStore::kPark, RingStore::kUnpark, RingStore::kWake},
      outlive_a_producer<wait_on_the_ring>);
}

TEST(RingKill, OfAProducerAtEachStoreIsSeenByALoopThatSleepsOnMore) {
  die_at_each(
      {RingStore::kWord, RingStore::kTurn, RingStore::kPark, RingStore::kUnpark, RingStore::kWake},
      outlive_a_producer<wait_in_parts>);
}

TEST(RingKill, OfAConsumerAtEachStoreIsToldToTheProducer) {
  die_at_each({RingStore::kTaken, RingStore::kPark, RingStore::kUnpark, RingStore::kWake},
              outlive_a_consumer);
}

int kill_count() {
  const char* const count = std::getenv("PINION_RING_KILLS");
  return count == nullptr ? 1500 : std::atoi(count);
}

template <class Outlive>
void die_at_random(unsigned seed, const Outlive& outlive) {
  const std::ptrdiff_t descriptors = open_descriptor_count();
  std::mt19937_64 random(seed);
  for (int trial = 0; trial < kill_count() && !testing::Test::HasFailure(); ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    const Execution execution = {.after_messages = random() % 200,
                                 .pauses = static_cast<unsigned>(random() % 500)};
    outlive({}, execution);
  }
  EXPECT_EQ(open_descriptor_count(), descriptors);
}

TEST(RingKill, OfAProducerAnywhereLeavesWhatItSent) {
  die_at_random(1, outlive_a_producer<wait_on_the_ring>);
}

TEST(RingKill, OfAProducerAnywhereIsSeenByALoopThatSleepsOnMore) {
  die_at_random(3, outlive_a_producer<wait_in_parts>);
}

TEST(RingKill, OfAConsumerAnywhereIsToldToTheProducer) {
  die_at_random(2, outlive_a_consumer);
}

}  // namespace
}  // namespace pinion
