// What loops and groups of tasks wait by, on plain threads.

#include "count_down.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <semaphore>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/detail/piece_cursor.hpp>

namespace pinion {
namespace {

TEST(CountDown, IsOverAtOnceWithoutAnythingToWaitFor) {
  CountDown count;
  for (int i = 0; i < 3; ++i) {
    count.wait();
  }
}

// Who waits reads what the pieces wrote, without an atomic of their own.
TEST(CountDown, HandsOnWhatAllPiecesOfALoopDid) {
  constexpr std::size_t kRounds = 2000;
  constexpr std::size_t kThreads = 3;
  struct Loop {
    std::array<detail::PieceCursor<>, 2> parts = {};
    std::array<std::array<std::size_t, 8>, 2> runs = {};
    CountDown pieces;
  };
  std::vector<Loop> loops(kRounds);
  std::atomic<std::size_t> begun_count = 0;
  const auto work = [](Loop& loop, std::size_t home) {
    for (const std::size_t part : {home % 2, (home + 1) % 2}) {
      while (const std::optional<std::size_t> piece = loop.parts[part].take()) {
        ++loop.runs[part].at(*piece);
        loop.pieces.drop();
      }
    }
  };
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < kRounds; ++i) {
        for (std::size_t begun = begun_count; begun <= i; begun = begun_count) {
          begun_count.wait(begun);
        }
        work(loops[i], t);
      }
    });
  }
  for (std::size_t i = 0; i < kRounds; ++i) {
    Loop& loop = loops[i];
    for (detail::PieceCursor<>& part : loop.parts) {
      part.reset(loop.runs.front().size());
      loop.pieces.add(part.count());
    }
    ++begun_count;
    begun_count.notify_all();
    loop.pieces.wait();
    for (const auto& runs : loop.runs) {
      for (const std::size_t count : runs) {
        EXPECT_EQ(count, 1u);
      }
    }
  }
}

TEST(CountDown, MayBeDestroyedAsSoonAsTheWaitIsOver) {
  constexpr int kRounds = 5000;
  constexpr std::ptrdiff_t kThreads = 2;
  std::counting_semaphore<> begin(0);
  std::counting_semaphore<> ended(0);
  CountDown* shared = nullptr;
  std::vector<std::jthread> threads;
  for (std::ptrdiff_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        begin.acquire();
        shared->drop();
        ended.release();
      }
    });
  }
  for (int i = 0; i < kRounds; ++i) {
    auto count = std::make_unique<CountDown>();
    count->add(kThreads);
    shared = count.get();
    begin.release(kThreads);
    count->wait();
    count.reset();
    for (std::ptrdiff_t t = 0; t < kThreads; ++t) {
      ended.acquire();
    }
  }
}

}  // namespace
}  // namespace pinion
