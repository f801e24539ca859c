#include <pinion/core/metrics.hpp>

#include <algorithm>
#include <string_view>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/memory_gauges.hpp>

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

TEST(MemoryGauges, AreWhatTheLedgerAndThePoolSay) {
  const MemoryLedger ledger({.budget_bytes = 100'000});
  PagePool pool(ledger, {.spare_bytes_max = 100'000});
  Metrics metrics(1);
  const MemoryGauges gauges(metrics);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(pool.take(MemoryUse::kState, 4096, Place{}));
  }
  gauges.set(ledger.usage(), pool.usage());
  const std::vector<MetricValue> all = metrics.snapshot();
  const auto value_of = [&](std::string_view name) {
    return std::ranges::find(all, name, &MetricValue::name)->value;
  };
  EXPECT_EQ(value_of("memory peak bytes"), 4096u);
  EXPECT_EQ(value_of("state peak bytes"), 4096u);
  EXPECT_EQ(value_of("blobs peak bytes"), 0u);
  EXPECT_EQ(value_of("pages fresh"), 1u);
  EXPECT_EQ(value_of("pages reused"), 2u);
  EXPECT_EQ(value_of("pages spare bytes"), 4096u);
}

}  // namespace
}  // namespace pinion
