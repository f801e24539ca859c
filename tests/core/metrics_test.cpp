#include <pinion/core/metrics.hpp>

#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinion {
namespace {

using testing::ElementsAre;

TEST(Metrics, AddsUpWhatWorkersCount) {
  Metrics metrics(2);
  const CounterId shards = metrics.counter("shards");
  const CounterId bytes = metrics.counter("input bytes");
  metrics.add(shards, 0, 1);
  metrics.add(shards, 1, 2);
  metrics.add(shards, 2, 4);
  metrics.add(bytes, 1, 1000);
  EXPECT_EQ(metrics.total(shards), 7u);
  EXPECT_THAT(metrics.snapshot(),
              ElementsAre(MetricValue{"shards", 7}, MetricValue{"input bytes", 1000}));
}

TEST(Metrics, KeepsTheLastOrTheHighestValueOfAGauge) {
  Metrics metrics(1);
  const GaugeId last = metrics.gauge("last");
  const GaugeId peak = metrics.gauge("peak");
  for (const std::uint64_t value : {3u, 9u, 5u}) {
    metrics.set(last, value);
    metrics.raise(peak, value);
  }
  EXPECT_THAT(metrics.snapshot(), ElementsAre(MetricValue{"last", 5}, MetricValue{"peak", 9}));
}

TEST(Metrics, GivesTheSameNameTheSameNumber) {
  Metrics metrics(1);
  const CounterId first = metrics.counter("a");
  EXPECT_NE(metrics.counter("b"), first);
  EXPECT_EQ(metrics.counter("a"), first);
  EXPECT_DEATH(static_cast<void>(metrics.gauge("a")), "is_gauge");
}

TEST(Metrics, HoldsOnlySoMany) {
  Metrics metrics(0);
  for (std::size_t i = 0; i < Metrics::kCountMax; ++i) {
    static_cast<void>(metrics.counter(std::to_string(i)));
  }
  EXPECT_EQ(metrics.snapshot().size(), Metrics::kCountMax);
  EXPECT_DEATH(static_cast<void>(metrics.counter("one more")), "kCountMax");
}

TEST(Metrics, LosesNothingInSeveralThreads) {
  Metrics metrics(2);
  const CounterId counter = metrics.counter("counter");
  const GaugeId peak = metrics.gauge("peak");
  std::vector<std::thread> threads;
  for (std::uint64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::uint64_t i = 0; i < 50000; ++i) {
        // Two threads are worker 2, as all are that are no workers.
        metrics.add(counter, std::min<std::uint64_t>(thread, 2), 1);
        metrics.raise(peak, i * 4 + thread);
      }
      static_cast<void>(metrics.counter("made by " + std::to_string(thread)));
    });
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_LE(metrics.snapshot()[0].value, 200000u);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(metrics.snapshot()[0].value, 200000u);
  EXPECT_EQ(metrics.snapshot()[1].value, 49999u * 4 + 3);
  EXPECT_EQ(metrics.snapshot().size(), 6u);
}

}  // namespace
}  // namespace pinion
