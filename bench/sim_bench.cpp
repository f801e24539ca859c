// How fast jobs are simulated: the queue of events alone, and whole jobs of ranks and coordinator.

#include <cstdint>

#include <benchmark/benchmark.h>

#include "sim/sim_heap.hpp"
#include "sim/sim_world.hpp"

namespace pinion::sim {
namespace {

using namespace std::chrono_literals;

/// Takes an event and adds another, as a simulation does, with `pending` that wait: most for some
/// milliseconds, as the ends of bodies do, some for seconds, as timers do.
void take_and_add(benchmark::State& state) {
  EventQueue queue;
  Random random(1);
  const auto delay = [&random] {
    return random.chance(0.9) ? random.between(Duration(20us), Duration(15ms))
                              : random.between(Duration(1s), Duration(3s));
  };
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    queue.at(queue.now() + delay(), {});
  }
  SimEvent event;
  for (auto _ : state) {
    queue.take(event);
    queue.at(event.when + delay(), event);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(take_and_add)->RangeMultiplier(10)->Range(100, 1'000'000);

SimOptions job(std::uint64_t ranks, std::uint64_t shards) {
  SimOptions options;
  options.seed = 1;
  options.rank_count = ranks;
  options.shard_count = shards;
  options.partition_count = 16;
  options.worker_count = 4;
  options.lease_count_max = 64;
  options.batch_shard_max = 16;
  options.lease_duration = 6s;
  options.heartbeat = 2s;
  options.plan_patience = 2s;
  options.latency_max = 300us;
  options.wire_period = 1024;
  return options;
}

void run(benchmark::State& state, const SimOptions& options) {
  std::uint64_t events = 0;
  for (auto _ : state) {
    World world(options);
    if (const std::string violation = world.run(); !violation.empty()) {
      state.SkipWithError(violation.c_str());
      break;
    }
    events += world.figures().events;
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(events));
  state.counters["events"] = static_cast<double>(events) / static_cast<double>(state.iterations());
}

void whole_job(benchmark::State& state) {
  run(state,
      job(static_cast<std::uint64_t>(state.range(0)), static_cast<std::uint64_t>(state.range(1))));
}
BENCHMARK(whole_job)
    ->Args({10, 100'000})
    ->Args({100, 100'000})
    ->Args({1000, 100'000})
    ->Args({10'000, 1'000'000})
    ->Unit(benchmark::kMillisecond);

void whole_job_with_faults(benchmark::State& state) {
  SimOptions options =
      job(static_cast<std::uint64_t>(state.range(0)), static_cast<std::uint64_t>(state.range(1)));
  options.chaos_end = 10s;
  options.faults.set(Fault::kCrash, 0.05);
  options.faults.set(Fault::kPause, 0.05);
  options.faults.set(Fault::kDuplicate, 0.01);
  options.faults.set(Fault::kBodyFails, 0.001);
  run(state, options);
}
BENCHMARK(whole_job_with_faults)
    ->Args({100, 100'000})
    ->Args({1000, 100'000})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pinion::sim

int main(int argc, char** argv) {
  pinion::sim::use_huge_heap();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
