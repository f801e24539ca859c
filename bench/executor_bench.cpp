// What an executor costs: submission from outside, loops, waking a worker.
//
// Expected before measuring, on a core of a few GHz: a submission is one compare-exchange and one
// store to a line that a worker has read last (10 to 20 ns), so 1e6 of them take 10 to 20 ns each
// at any number of workers; a loop of 1e6 indices of 20 ns takes 10 ms on two workers, and calling
// two that sleep 0.1 ms, 1 %; a worker that polls sees a task after one transfer of a cache line,
// 0.1 to 0.2 us.
//
// The contenders run by turns in this program: repetitions are shuffled. Each iteration is one
// sample; the counters are quantiles over the samples of a repetition, in nanoseconds an item. On a
// machine that others use, p10 is what the program takes and p50 what is left of it.

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#if __has_include(<taskflow/taskflow.hpp>)
#include <taskflow/taskflow.hpp>
#define PINION_HAS_TASKFLOW 1
#endif

#include <pinion/core/executor.hpp>

namespace pinion {
namespace {

constexpr std::size_t kTaskCount = 100'000;
constexpr std::size_t kIndexCount = 1'000'000;

std::unique_ptr<Executor> make_executor(std::size_t worker_count, IdlePolicy policy) {
  WorkerGroup group{.worker_count = worker_count};
  for (unsigned cpu = 0; cpu < std::thread::hardware_concurrency(); ++cpu) {
    group.cpus.push_back(cpu);
  }
  // From the last CPU, as the program's own thread tends to be on the first.
  std::reverse(group.cpus.begin(), group.cpus.end());
  return Executor::create({.groups = {group}, .idle_policy = policy}).value();
}

void require_ok(const Status& status) {
  if (!status.ok()) {
    exit_with(status);
  }
}

// How long each iteration took, an item.
class Samples {
 public:
  explicit Samples(std::size_t item_count) : item_count_(static_cast<double>(item_count)) {}

  void begin() noexcept { begin_ = clock_.now(); }
  void end() { add(clock_.now() - begin_); }
  void add(Duration time) {
    nanoseconds_.push_back(static_cast<double>(time.count()) / item_count_);
  }

  void report(benchmark::State& state) {
    std::sort(nanoseconds_.begin(), nanoseconds_.end());
    for (const std::size_t percent : {10u, 50u, 99u}) {
      state.counters["p" + std::to_string(percent)] =
          nanoseconds_[nanoseconds_.size() * percent / 100];
    }
  }

 private:
  const SystemClock clock_;
  const double item_count_;
  Instant begin_{};
  std::vector<double> nanoseconds_;
};

// Counts what the workers did, each in a line of its own, so that counting costs them nothing.
class Tally {
 public:
  explicit Tally(std::size_t worker_count) : lines_(worker_count) {}

  void add_one(std::size_t worker) noexcept {
    std::atomic<std::uint64_t>& count = lines_[worker].count;
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  [[nodiscard]] std::uint64_t total() const noexcept {
    std::uint64_t total = 0;
    for (const Line& line : lines_) {
      total += line.count.load(std::memory_order_acquire);
    }
    return total;
  }
  void wait_for(std::uint64_t total_count) const noexcept {
    while (total() < total_count) {
      std::this_thread::yield();
    }
  }

 private:
  struct alignas(64) Line {
    std::atomic<std::uint64_t> count = 0;
  };
  std::vector<Line> lines_;
};

// A callable of `kSize` bytes.
template <std::size_t kSize>
struct Payload {
  Tally* tally;
  const Executor* executor;
  std::byte rest[kSize - 2 * sizeof(void*)];
  void operator()() const noexcept { tally->add_one(executor->current_worker()); }
};
static_assert(sizeof(Payload<48>) == 48);

template <std::size_t kSize>
void submit_pinion(benchmark::State& state) {
  const auto worker_count = static_cast<std::size_t>(state.range(0));
  const std::unique_ptr<Executor> executor = make_executor(worker_count, IdlePolicy::kSpinThenPark);
  Samples samples(kTaskCount);
  for (auto _ : state) {
    samples.begin();
    Tally tally(worker_count);
    for (std::size_t i = 0; i < kTaskCount; ++i) {
      require_ok(executor->submit({}, Payload<kSize>{&tally, executor.get(), {}}));
    }
    tally.wait_for(kTaskCount);
    samples.end();
  }
  samples.report(state);
}

void submit_tbb_enqueue(benchmark::State& state) {
  const auto worker_count = static_cast<std::size_t>(state.range(0));
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, worker_count + 1);
  tbb::task_arena arena(static_cast<int>(worker_count), /*reserved_for_masters=*/0);
  Samples samples(kTaskCount);
  for (auto _ : state) {
    samples.begin();
    Tally tally(worker_count + 1);
    for (std::size_t i = 0; i < kTaskCount; ++i) {
      arena.enqueue([&tally] {
        tally.add_one(static_cast<std::size_t>(tbb::this_task_arena::current_thread_index()));
      });
    }
    tally.wait_for(kTaskCount);
    samples.end();
  }
  samples.report(state);
}

#ifdef PINION_HAS_TASKFLOW
void submit_taskflow(benchmark::State& state) {
  tf::Executor executor(static_cast<std::size_t>(state.range(0)));
  Samples samples(kTaskCount);
  for (auto _ : state) {
    samples.begin();
    Tally tally(executor.num_workers());
    for (std::size_t i = 0; i < kTaskCount; ++i) {
      executor.silent_async(
          [&] { tally.add_one(static_cast<std::size_t>(executor.this_worker_id())); });
    }
    executor.wait_for_all();
    samples.end();
  }
  samples.report(state);
}
#endif

// About 20 ns, of which little overlaps with the next index.
std::uint64_t body(std::uint64_t seed) noexcept {
  for (int i = 0; i < 64; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
  }
  return seed;
}

void run_indices(std::vector<std::uint64_t>& out, std::size_t begin, std::size_t end) noexcept {
  for (std::size_t i = begin; i < end; ++i) {
    out[i] = body(i);
  }
}

void bulk_pinion(benchmark::State& state) {
  const std::unique_ptr<Executor> executor =
      make_executor(static_cast<std::size_t>(state.range(0)), IdlePolicy::kSpinThenPark);
  std::vector<std::uint64_t> out(kIndexCount);
  Samples samples(kIndexCount);
  for (auto _ : state) {
    samples.begin();
    require_ok(executor->parallel_for({0, kIndexCount}, [&](std::size_t i) { out[i] = body(i); }));
    samples.end();
  }
  samples.report(state);
}

void bind_to_cpu(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (::sched_setaffinity(0, sizeof(set), &set) != 0) {
    require_ok(
        Status::from_errno(errno, "cannot bind a plain thread to CPU " + std::to_string(cpu)));
  }
}

void bulk_plain_threads(benchmark::State& state) {
  const auto thread_count = static_cast<std::size_t>(state.range(0));
  std::vector<std::uint64_t> out(kIndexCount);
  Samples samples(kIndexCount);
  for (auto _ : state) {
    samples.begin();
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < thread_count; ++i) {
      threads.emplace_back([&out, i, thread_count] {
        // As a careful author would: the system may leave both on one CPU for milliseconds.
        bind_to_cpu(static_cast<unsigned>(i) % std::thread::hardware_concurrency());
        run_indices(out, kIndexCount / thread_count * i, kIndexCount / thread_count * (i + 1));
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    samples.end();
  }
  samples.report(state);
}

// The loop on one worker, quiet or while another thread submits as quickly as it can.
void bulk_beside_submissions(benchmark::State& state) {
  const bool flood = state.range(0) != 0;
  const std::unique_ptr<Executor> executor = make_executor(1, IdlePolicy::kSpinThenPark);
  std::vector<std::uint64_t> out(kIndexCount);
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> submitted = 0;
  std::thread producer;
  if (flood) {
    producer = std::thread([&] {
      Tally tally(1);
      std::uint64_t count = 0;
      while (!stop.load(std::memory_order_relaxed)) {
        require_ok(executor->submit({}, [&tally] { tally.add_one(0); }));
        submitted.store(++count, std::memory_order_relaxed);
      }
      tally.wait_for(count);
    });
    while (submitted.load(std::memory_order_relaxed) == 0) {
      std::this_thread::yield();
    }
  }
  Samples samples(kIndexCount);
  for (auto _ : state) {
    samples.begin();
    require_ok(executor->parallel_for({0, kIndexCount}, [&](std::size_t i) { out[i] = body(i); }));
    samples.end();
  }
  stop = true;
  if (flood) {
    producer.join();
  }
  samples.report(state);
}

// From submit() to the first instruction of the task, after a pause of range(0) microseconds in
// which the submitter spins.
void wake_up(benchmark::State& state, IdlePolicy policy) {
  const SystemClock clock;
  const std::unique_ptr<Executor> executor = make_executor(1, policy);
  const Duration pause = std::chrono::microseconds(state.range(0));
  Samples samples(1);
  for (auto _ : state) {
    for (const Instant until = clock.now() + pause; clock.now() < until;) {
    }
    std::atomic<bool> started = false;
    Instant begin{};
    Instant end{};
    begin = clock.now();
    require_ok(executor->submit({}, [&] {
      end = clock.now();
      started.store(true, std::memory_order_release);
    }));
    while (!started.load(std::memory_order_acquire)) {
    }
    samples.add(end - begin);
  }
  samples.report(state);
}

void register_all() {
  const auto add = [](const std::string& name, auto function, std::vector<std::int64_t> arguments) {
    for (const std::int64_t argument : arguments) {
      benchmark::RegisterBenchmark(name.c_str(), function)
          ->Arg(argument)
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  };
  add("submit/pinion_24_bytes", submit_pinion<24>, {1, 2});
  add("submit/pinion_48_bytes", submit_pinion<48>, {1, 2});
  add("submit/tbb_enqueue", submit_tbb_enqueue, {1, 2});
#ifdef PINION_HAS_TASKFLOW
  add("submit/taskflow", submit_taskflow, {1, 2});
#endif
  add("bulk/pinion", bulk_pinion, {1, 2});
  add("bulk/plain_threads", bulk_plain_threads, {1, 2});
  add("bulk_1_worker/flood", bulk_beside_submissions, {0, 1});
  for (const auto& [name, policy] : {std::pair("wake_up/spin_then_park", IdlePolicy::kSpinThenPark),
                                     std::pair("wake_up/spin", IdlePolicy::kSpin)}) {
    benchmark::RegisterBenchmark(name, wake_up, policy)
        ->Arg(10)
        ->Arg(1000)
        ->UseRealTime()
        ->Iterations(1000);
  }
}

}  // namespace
}  // namespace pinion

int main(int argc, char** argv) {
  std::vector<std::string> defaults = {
      argv[0], "--benchmark_enable_random_interleaving=true", "--benchmark_repetitions=9",
      "--benchmark_report_aggregates_only=true", "--benchmark_min_time=0.05"};
  std::vector<char*> arguments;
  for (std::string& argument : defaults) {
    arguments.push_back(argument.data());
  }
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  int count = static_cast<int>(arguments.size());
  pinion::register_all();
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
