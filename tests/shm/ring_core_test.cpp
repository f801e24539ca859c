// The core of a ring on plain threads and plain memory, so that it can be run under the thread
// sanitizer: two mappings of one segment are two memories to it.

#include "ring_core.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

using Memory = RingMemory;

constexpr std::size_t kCapacity = 8;

// A message names a slot of ordinary memory, which the producer fills before and the consumer reads
// after: the sanitizer sees whether the ring orders the two.
struct Scene {
  std::vector<RingCell<Memory>> cells = std::vector<RingCell<Memory>>(kCapacity);
  RingLines<Memory> producer_lines;
  RingLines<Memory> consumer_lines;
  std::array<std::uint64_t, kCapacity> slots = {};
};

void produce(Scene& scene, std::uint64_t message_count, std::size_t batch_max) {
  RingProducer<Memory> producer(scene.cells, scene.consumer_lines.taken);
  std::uint64_t sent = 0;
  while (sent < message_count) {
    // Only what fits is written: the slots that are still being read are not touched.
    const std::uint64_t free =
        kCapacity - (sent - scene.consumer_lines.taken.load(std::memory_order_acquire));
    const std::size_t batch =
        std::min<std::uint64_t>({1 + sent % batch_max, message_count - sent, free});
    for (std::size_t i = 0; i < batch; ++i) {
      scene.slots[(sent + i) % kCapacity] = sent + i;
    }
    const std::size_t pushed = producer.push(batch, [sent](std::size_t i) {
      return RingWords<Memory>{(sent + i) % kCapacity, sent + i};
    });
    ASSERT_EQ(pushed, batch);
    if (batch == 0) {
      std::this_thread::yield();
    }
    sent += batch;
  }
}

void consume(Scene& scene, std::uint64_t message_count, std::size_t batch_max) {
  RingConsumer<Memory> consumer(scene.cells, scene.consumer_lines.taken);
  std::uint64_t taken = 0;
  while (taken < message_count) {
    const std::size_t count =
        consumer.pop(1 + taken % batch_max, [&](std::size_t i, const RingWords<Memory>& words) {
          return words[1] == taken + i && scene.slots[words[0]] == taken + i;
        });
    ASSERT_FALSE(consumer.is_broken()) << "message " << taken + count;
    if (count == 0) {
      std::this_thread::yield();
    }
    taken += count;
  }
}

TEST(RingCore, HandsMemoryOverBetweenThreads) {
  constexpr std::uint64_t kMessageCount = 20'000;
  for (const std::size_t batch_max : {1u, 3u, 8u}) {
    Scene scene;
    std::thread producing([&] { produce(scene, kMessageCount, batch_max); });
    consume(scene, kMessageCount, batch_max + 1);
    producing.join();
  }
}

// As consume(), but sleeps where nothing is there, in the way of a loop that sleeps on more.
void consume_asleep(Scene& scene, std::uint64_t message_count, int wake_up) {
  RingConsumer<Memory> consumer(scene.cells, scene.consumer_lines.taken);
  RingParking<Memory> parking(scene.consumer_lines.awaits_message);
  std::uint64_t taken = 0;
  while (taken < message_count) {
    const std::size_t count =
        consumer.pop(kCapacity, [&](std::size_t i, const RingWords<Memory>& words) {
          return words[1] == taken + i && scene.slots[words[0]] == taken + i;
        });
    ASSERT_FALSE(consumer.is_broken()) << "message " << taken + count;
    taken += count;
    if (count == 0) {
      pollfd watched = {.fd = wake_up, .events = POLLIN, .revents = 0};
      if (!parking.park([&] { return consumer.is_ready(); })) {
        ::poll(&watched, 1, -1);
      }
      std::uint64_t wake_up_count = 0;
      static_cast<void>(::read(wake_up, &wake_up_count, sizeof(wake_up_count)));
      parking.unpark();
    }
  }
}

// One message at a time, each of which the sleeper may be waiting for.
void produce_awake(Scene& scene, std::uint64_t message_count, int wake_up) {
  RingProducer<Memory> producer(scene.cells, scene.consumer_lines.taken);
  RingWaker<Memory> waker(scene.consumer_lines.awaits_message);
  for (std::uint64_t sent = 0; sent < message_count; ++sent) {
    while (!producer.is_ready()) {
      std::this_thread::yield();
    }
    scene.slots[sent % kCapacity] = sent;
    ASSERT_EQ(producer.push(1,
                            [sent](std::size_t) {
                              return RingWords<Memory>{sent % kCapacity, sent};
                            }),
              1u);
    if (waker.must_wake()) {
      const std::uint64_t one = 1;
      ASSERT_EQ(::write(wake_up, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
    }
  }
}

TEST(RingCore, HandsMemoryOverToAThreadThatSleepsInParts) {
  constexpr std::uint64_t kMessageCount = 20'000;
  Scene scene;
  const int wake_up = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  ASSERT_GE(wake_up, 0);
  std::thread producing([&] { produce_awake(scene, kMessageCount, wake_up); });
  consume_asleep(scene, kMessageCount, wake_up);
  producing.join();
  ::close(wake_up);
}

TEST(RingCore, PublishesABatchByItsFirstTurn) {
  Scene scene;
  RingProducer<Memory> producer(scene.cells, scene.consumer_lines.taken);
  EXPECT_EQ(producer.push(3, [](std::size_t i) { return RingWords<Memory>{i}; }), 3u);
  // As if the process had died before the last of its stores.
  scene.cells[0].turn.store(0);
  RingConsumer<Memory> consumer(scene.cells, scene.consumer_lines.taken);
  EXPECT_EQ(consumer.pop(3, [](std::size_t, const auto&) { return true; }), 0u);
  EXPECT_FALSE(consumer.is_broken());
}

}  // namespace
}  // namespace pinion
