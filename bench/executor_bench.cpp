// What an executor costs: submission from outside, loops, waking a worker.
//
// Expected before measuring, on a core of a few GHz: a submission is one compare-exchange and one
// store to a line that a worker has read last (10 to 20 ns), so 1e6 of them take 10 to 20 ns each
// at any number of workers; a loop of 1e6 indices of 20 ns takes 10 ms on two workers, and calling
// two that sleep 0.1 ms, 1 %; a worker that polls sees a task after one transfer of a cache line,
// 0.1 to 0.2 us.
//
// The contenders run by turns in this program: repetitions are shuffled. Each iteration is one
// sample. Without arguments, the program prints a table of what is asked of the executor: medians
// over the repetitions of the median of each, and the lowest and highest repetition. Repetitions in
// which other programs had more than 6 % of the CPUs are left out. Submissions stand in lines of
// their own where the two CPUs were far from each other: each task is a line of the cache or two
// that goes from one to the other, and what that costs changes on a virtual machine. With
// --benchmark_out=FILE the quantiles of each repetition, in nanoseconds an item, are in the file.

#include <sched.h>
#include <sys/times.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#if __has_include(<taskflow/taskflow.hpp>)
#include <taskflow/taskflow.hpp>
#define PINION_HAS_TASKFLOW 1
#endif

#include <pinion/core/executor.hpp>

#include "line_round_trip.hpp"

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

// The CPU time of the machine and of this process, in ticks of 10 ms.
struct CpuTimes {
  double all = 0;
  double busy = 0;
  double own = 0;

  static CpuTimes now() {
    std::ifstream stat("/proc/stat");
    std::string cpu;
    stat >> cpu;
    CpuTimes times;
    // user, nice, system, idle, iowait, irq, softirq, steal
    for (int field = 0; field < 8; ++field) {
      double ticks = 0;
      stat >> ticks;
      times.all += ticks;
      times.busy += field == 3 || field == 4 ? 0 : ticks;
    }
    tms own{};
    ::times(&own);
    times.own = static_cast<double>(own.tms_utime + own.tms_stime);
    return times;
  }
};

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
    const CpuTimes now = CpuTimes::now();
    state.counters["others"] = ((now.busy - before_.busy) - (now.own - before_.own)) /
                               std::max(now.all - before_.all, 1.0);
  }

 private:
  const SystemClock clock_;
  const double item_count_;
  const CpuTimes before_ = CpuTimes::now();
  Instant begin_{};
  std::vector<double> nanoseconds_;
};

// How far the first two CPUs are from each other, at the worst of before and after what is
// measured.
class LineWatch {
 public:
  void report(benchmark::State& state) const { state.counters["line"] = std::max(before_, trip()); }

 private:
  static double trip() { return bench::line_round_trip_nanoseconds(0, 1); }

  const double before_ = trip();
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
  const LineWatch line;
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
  line.report(state);
}

void submit_tbb_enqueue(benchmark::State& state) {
  const auto worker_count = static_cast<std::size_t>(state.range(0));
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, worker_count + 1);
  tbb::task_arena arena(static_cast<int>(worker_count), /*reserved_for_masters=*/0);
  const LineWatch line;
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
  line.report(state);
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
  line.report(state);
}
#endif

// About 20 ns, of which little overlaps with the next index.
std::uint64_t body(std::uint64_t seed) noexcept {
  for (int i = 0; i < 25; ++i) {
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

// From submit() to the first instruction of the task, after a pause of range(0) microseconds and a
// little, in which the submitter spins. The little differs, so as not to keep step with the looks
// of the worker.
void wake_up(benchmark::State& state, IdlePolicy policy) {
  const SystemClock clock;
  const std::unique_ptr<Executor> executor = make_executor(1, policy);
  const Duration pause = std::chrono::microseconds(state.range(0));
  Samples samples(1);
  Duration little{};
  for (auto _ : state) {
    little = (little + std::chrono::nanoseconds(787)) % std::chrono::microseconds(2);
    for (const Instant until = clock.now() + pause + little; clock.now() < until;) {
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
    for (const std::int64_t microseconds : {10, 1000}) {
      benchmark::RegisterBenchmark(name, wake_up, policy)
          ->Arg(microseconds)
          ->UseRealTime()
          ->Iterations(microseconds == 10 ? 10'000 : 100);
    }
  }
}

// One line of the table: a median of ours, in nanoseconds, and what it is compared with.
struct TableLine {
  const char* words;
  const char* subject;
  const char* contender;  // Null: the median itself is what is asked for.
  const char* asked;
};
constexpr TableLine kTable[] = {
    {"submit 24 bytes, 1 worker", "submit/pinion_24_bytes/1", "submit/tbb_enqueue/1", "<= 30 ns"},
    {"submit 24 bytes, 2 workers", "submit/pinion_24_bytes/2", "submit/tbb_enqueue/2", "<= 30 ns"},
    {"submit 48 bytes, 1 worker", "submit/pinion_48_bytes/1", "submit/tbb_enqueue/1", "<= 30 ns"},
    {"submit 48 bytes, 2 workers", "submit/pinion_48_bytes/2", "submit/tbb_enqueue/2", "<= 30 ns"},
    {"the same, 1 worker, CPUs far", "submit/pinion_48_bytes/1/far", "submit/tbb_enqueue/1/far",
     "-"},
    {"the same, 2 workers, CPUs far", "submit/pinion_48_bytes/2/far", "submit/tbb_enqueue/2/far",
     "-"},
    {"loop, 1 worker: plain thread", "bulk/pinion/1", "bulk/plain_threads/1", "ratio <= 1.03"},
    {"loop, 2 workers: plain threads", "bulk/pinion/2", "bulk/plain_threads/2", "ratio <= 1.03"},
    {"loop beside a flood: quiet", "bulk_1_worker/flood/1", "bulk_1_worker/flood/0",
     "ratio <= 1.05"},
    {"wake-up, idle for 10 us", "wake_up/spin_then_park/10", nullptr, "<= 300 ns"},
    {"wake-up, idle for 10 us, kSpin", "wake_up/spin/10", nullptr, "<= 300 ns"},
    {"wake-up, idle for 1 ms", "wake_up/spin_then_park/1000", nullptr, "-"},
    {"wake-up, idle for 1 ms, kSpin", "wake_up/spin/1000", nullptr, "<= 1000 ns"},
};

// Prints the table when all has run; nothing for lines that were filtered out or always disturbed.
class TableReporter final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& /*context*/) override { return true; }

  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration) {
        continue;
      }
      ++run_count_;
      if (run.counters.at("others").value > kOthersMax) {
        ++disturbed_count_;
      } else {
        const auto line = run.counters.find("line");
        const bool far =
            line != run.counters.end() && line->second.value > bench::kLineIsFarNanoseconds;
        medians_[run.run_name.function_name + "/" + run.run_name.args + (far ? "/far" : "")]
            .push_back(run.counters.at("p50").value);
      }
    }
  }

  void Finalize() override {
    std::printf("%-31s %10s %22s %11s %7s  %s\n", "nanoseconds an item", "median",
                "lowest .. highest", "beside it", "ratio", "asked for");
    for (const TableLine& line : kTable) {
      const std::vector<double> subject = sorted(line.subject);
      if (subject.empty()) {
        continue;
      }
      std::printf("%-31s %10.2f %10.2f .. %8.2f", line.words, median(subject), subject.front(),
                  subject.back());
      const std::vector<double> contender = sorted(line.contender);
      if (contender.empty()) {
        std::printf(" %11s %7s", "", "");
      } else {
        std::printf(" %11.2f %7.3f", median(contender), median(subject) / median(contender));
      }
      std::printf("  %s\n", line.asked);
    }
    std::printf(
        "%d of %d repetitions are left out: others had more than %.0f %% of the CPUs\n"
        "far: a line of the cache took more than %.0f ns from the first CPU to the second and "
        "back\n",
        disturbed_count_, run_count_, 100 * kOthersMax, bench::kLineIsFarNanoseconds);
  }

 private:
  [[nodiscard]] std::vector<double> sorted(const char* name) const {
    const auto found = medians_.find(name == nullptr ? "" : name);
    std::vector<double> values = found == medians_.end() ? std::vector<double>() : found->second;
    std::sort(values.begin(), values.end());
    return values;
  }
  static double median(const std::vector<double>& sorted_values) {
    return sorted_values[sorted_values.size() / 2];
  }

  static constexpr double kOthersMax = 0.06;

  std::map<std::string, std::vector<double>> medians_;
  int run_count_ = 0;
  int disturbed_count_ = 0;
};

}  // namespace
}  // namespace pinion

int main(int argc, char** argv) {
  std::vector<std::string> defaults = {argv[0], "--benchmark_enable_random_interleaving=true",
                                       "--benchmark_repetitions=11", "--benchmark_min_time=0.2"};
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
  pinion::TableReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  benchmark::Shutdown();
  return 0;
}
