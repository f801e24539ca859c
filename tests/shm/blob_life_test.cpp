#include "blob_life.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

using Life = BlobLife<>;

constexpr std::size_t kReaderCount = 3;

// Memory that is used again and again. The payload is plain memory: only the life, the counters and
// the pin order its uses.
struct UsedMemory {
  UsedMemory() { payload.fill(1); }

  void look(std::uint64_t generation) {
    for (const std::uint64_t word : payload) {
      wrong_count.fetch_add(word == generation ? 0 : 1, std::memory_order_relaxed);
    }
  }

  // A reader takes whatever generation is sealed.
  void read_on(Life::Counter& counter) {
    while (!over.load(std::memory_order_relaxed)) {
      const std::uint64_t generation = generation_of(life.load(std::memory_order_relaxed));
      if (Life::take(counter, life, generation)) {
        look(generation);
        read_count.fetch_add(1, std::memory_order_relaxed);
        Life::drop(counter);
      }
      std::this_thread::yield();
    }
  }

  // So does the agent, for other hosts.
  void copy_on() {
    while (!over.load(std::memory_order_relaxed)) {
      const std::uint64_t generation = generation_of(life.load(std::memory_order_relaxed));
      if (Life::pin(pinned, life, generation)) {
        look(generation);
        copy_count.fetch_add(1, std::memory_order_relaxed);
        Life::unpin(pinned);
      }
      std::this_thread::yield();
    }
  }

  // The writer makes the next one, if it may.
  bool write_after(std::uint64_t generation) {
    const bool is_free = Life::retire(life, generation, [&] {
      return pinned.load(std::memory_order_seq_cst) == generation ||
             std::ranges::any_of(lines, [](const Line& line) {
               return line.counter.load(std::memory_order_seq_cst) != 0;
             });
    });
    if (is_free) {
      life.store(life_of(generation + 1, BlobPhase::kWriting), std::memory_order_release);
      payload.fill(generation + 1);
      life.store(life_of(generation + 1, BlobPhase::kSealed), std::memory_order_release);
    }
    return is_free;
  }

  struct alignas(64) Line {
    Life::Counter counter = 0;
  };

  Life::Word life = life_of(1, BlobPhase::kSealed);
  std::array<std::uint64_t, 8> payload = {};
  std::array<Line, kReaderCount> lines = {};
  alignas(64) Life::Word pinned = 0;
  std::atomic<bool> over = false;
  std::atomic<std::uint64_t> wrong_count = 0;
  std::atomic<std::uint64_t> read_count = 0;
  std::atomic<std::uint64_t> copy_count = 0;
};

TEST(BlobLife, OrdersTheUsesOfMemory) {
  UsedMemory memory;
  std::vector<std::thread> others;
  for (UsedMemory::Line& line : memory.lines) {
    others.emplace_back([&] { memory.read_on(line.counter); });
  }
  others.emplace_back([&] { memory.copy_on(); });
  std::uint64_t generation = 1;
  while (generation < 1000 || memory.read_count.load(std::memory_order_relaxed) < 1000 ||
         memory.copy_count.load(std::memory_order_relaxed) < 100) {
    // Mostly as when the job lets go of it: then no reader can hold it up for long.
    if (generation % 16 != 0) {
      Life::close(memory.life, generation);
    }
    generation += memory.write_after(generation) ? 1 : 0;
    std::this_thread::yield();
  }
  memory.over = true;
  for (std::thread& other : others) {
    other.join();
  }
  EXPECT_EQ(memory.wrong_count.load(), 0u);
}

TEST(BlobLife, KeepsPhaseAndGenerationApart) {
  for (const std::uint64_t generation : {std::uint64_t{1}, std::uint64_t{12345}, kGenerationMax}) {
    for (const BlobPhase phase :
         {BlobPhase::kFree, BlobPhase::kWriting, BlobPhase::kSealed, BlobPhase::kRetired}) {
      EXPECT_EQ(generation_of(life_of(generation, phase)), generation);
      EXPECT_EQ(phase_of(life_of(generation, phase)), phase);
    }
  }
}

TEST(BlobLife, PinsOnlyTheGenerationThatIsSealed) {
  Life::Word life = life_of(5, BlobPhase::kSealed);
  Life::Word pinned = 0;
  EXPECT_FALSE(Life::pin(pinned, life, 4));
  EXPECT_EQ(pinned.load(), 0u);
  EXPECT_TRUE(Life::pin(pinned, life, 5));
  EXPECT_FALSE(Life::pin(pinned, life, 4));
  EXPECT_EQ(pinned.load(), 5u) << "a stale handle must not undo what the job keeps";
}

}  // namespace
}  // namespace pinion
