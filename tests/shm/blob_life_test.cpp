#include "blob_life.hpp"

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

// Readers take whatever generation is sealed; the writer uses the memory again whenever it may. The
// payload is plain memory: only the life and the counters order its uses.
TEST(BlobLife, OrdersTheUsesOfMemory) {
  Life::Word life = life_of(1, BlobPhase::kSealed);
  std::array<std::uint64_t, 8> payload = {};
  payload.fill(1);
  struct alignas(64) Line {
    Life::Counter counter = 0;
  };
  std::array<Line, kReaderCount> lines;
  std::atomic<bool> over = false;
  std::atomic<std::uint64_t> wrong_count = 0;
  std::atomic<std::uint64_t> read_count = 0;

  std::vector<std::thread> readers;
  for (std::size_t reader = 0; reader < kReaderCount; ++reader) {
    readers.emplace_back([&, reader] {
      while (!over.load(std::memory_order_relaxed)) {
        const std::uint64_t generation = generation_of(life.load(std::memory_order_relaxed));
        if (!Life::take(lines[reader].counter, life, generation)) {
          std::this_thread::yield();
          continue;
        }
        for (const std::uint64_t word : payload) {
          wrong_count.fetch_add(word == generation ? 0 : 1, std::memory_order_relaxed);
        }
        read_count.fetch_add(1, std::memory_order_relaxed);
        Life::drop(lines[reader].counter);
        std::this_thread::yield();
      }
    });
  }
  std::uint64_t generation = 1;
  while (generation < 1000 || read_count.load(std::memory_order_relaxed) < 1000) {
    // Mostly as when the job lets go of it: then no reader can hold it up for long.
    if (generation % 16 != 0) {
      Life::close(life, generation);
    }
    const bool is_free = Life::retire(life, generation, [&] {
      for (const Line& line : lines) {
        if (line.counter.load(std::memory_order_seq_cst) != 0) {
          return true;
        }
      }
      return false;
    });
    if (is_free) {
      ++generation;
      life.store(life_of(generation, BlobPhase::kWriting), std::memory_order_release);
      payload.fill(generation);
      life.store(life_of(generation, BlobPhase::kSealed), std::memory_order_release);
    }
    std::this_thread::yield();
  }
  over = true;
  for (std::thread& reader : readers) {
    reader.join();
  }
  EXPECT_EQ(wrong_count.load(), 0u);
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
