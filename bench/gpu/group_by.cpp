#include "group_by.hpp"

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <thread>

#include <pinion/gpu/device_policy.hpp>
#include <pinion/gpu/kernels.hpp>

namespace pinion::bench {
namespace {

constexpr std::uint32_t kKeyCount = 1000;
constexpr std::size_t kWorkersMax = 16;
constexpr std::size_t kWaitingEach = 64;  // Shards that wait for each runner, as in a step.

// Sums by key, in one piece of memory that the few keys of this work fill to a quarter.
class SumTable {
 public:
  void add(std::uint32_t key, double value) {
    std::size_t slot = (key * 2'654'435'769u) >> (32 - kBits);
    while (rows_[slot].is_used && rows_[slot].key != key) {
      slot = (slot + 1) % rows_.size();
    }
    rows_[slot].is_used = true;
    rows_[slot].key = key;
    rows_[slot].sum += value;
  }

  void add_all(const SumTable& other) {
    for (const Row& row : other.rows_) {
      if (row.is_used) {
        add(row.key, row.sum);
      }
    }
  }

  [[nodiscard]] std::map<std::uint32_t, double> sums() const {
    std::map<std::uint32_t, double> sums;
    for (const Row& row : rows_) {
      if (row.is_used) {
        sums[row.key] = row.sum;
      }
    }
    return sums;
  }

 private:
  static constexpr unsigned kBits = 12;
  struct Row {
    std::uint32_t key = 0;
    bool is_used = false;
    double sum = 0.0;
  };
  std::vector<Row> rows_ = std::vector<Row>(std::size_t{1} << kBits);
};

// What a device wrote for a shard.
void add_output(std::span<const std::byte> output, SumTable& table) {
  KeyedSumHead head;
  std::memcpy(&head, output.data(), sizeof(head));
  for (std::uint64_t i = 0; i < head.key_count; ++i) {
    KeyedF64 record;
    std::memcpy(&record, output.data() + sizeof(head) + i * sizeof(record), sizeof(record));
    table.add(record.key, record.value);
  }
}

// One run over the records by some runners.
class Run {
 public:
  Run(Bed& bed, std::span<const KeyedF64> records, std::size_t shard_records, bool has_device,
      std::size_t worker_count)
      : bed_(bed),
        records_(records),
        shard_records_(shard_records),
        has_device_(has_device),
        worker_count_(worker_count),
        shard_count_(records.size() / shard_records),
        policy_(runners(), {.batch_bytes = 1, .batch_count_max = 1}) {}

  double seconds() {
    const Instant begin = clock_.now();
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < worker_count_; ++i) {
      threads.emplace_back([this] { work(); });
    }
    if (has_device_) {
      feed();
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    return std::chrono::duration<double>(clock_.now() - begin).count();
  }

  [[nodiscard]] std::map<std::uint32_t, double> answer() const { return answer_.sums(); }

 private:
  struct Taken {
    std::uint64_t ticket = 0;
    std::size_t shard = 0;
  };
  struct Landed {
    Taken taken = {};
    std::vector<std::byte> output = {};
  };

  [[nodiscard]] std::vector<PolicyDevice> runners() const {
    std::vector<PolicyDevice> runners;
    if (has_device_) {
      runners.push_back({.name = "device", .memory_bytes = bed_.device.usage().budget_bytes});
    }
    if (worker_count_ > 0) {
      runners.push_back({.name = "workers"});
    }
    return runners;
  }

  [[nodiscard]] std::span<const KeyedF64> records_of(std::size_t shard) const {
    return records_.subspan(shard * shard_records_, shard_records_);
  }

  // A shard for the runner; empty when all are taken. Under the lock.
  std::optional<Taken> take(std::size_t runner) {
    for (;;) {
      const std::vector<std::uint64_t> tickets = policy_.next(runner, clock_.now());
      if (!tickets.empty()) {
        const auto found = waiting_.extract(tickets.front());
        return Taken{.ticket = tickets.front(), .shard = found.mapped()};
      }
      if (next_shard_ == shard_count_ || waiting_.size() >= 2 * kWaitingEach) {
        return std::nullopt;
      }
      const std::uint64_t bytes = shard_records_ * sizeof(KeyedF64);
      const KernelSizes sizes = keyed_sum_u32_f64_sizes(bytes);
      const PolicyShard asked = {.kernel = "group-by",
                                 .input_bytes = bytes,
                                 .other_bytes = sizes.output_bytes + sizes.scratch_bytes};
      const PolicyChoice choice = policy_.place(std::span(&asked, 1), clock_.now()).front();
      waiting_.emplace(choice.ticket, next_shard_++);
    }
  }

  // One that waits for another runner may still be ours, when more is known.
  [[nodiscard]] bool is_over() const { return next_shard_ == shard_count_ && waiting_.empty(); }

  void work() {
    const std::size_t host = has_device_ ? 1 : 0;
    SumTable table;
    std::unique_lock lock(mutex_);
    while (!is_over()) {
      const std::optional<Taken> taken = take(host);
      if (!taken) {
        changed_.wait(lock);
        continue;
      }
      lock.unlock();
      const Instant begin = clock_.now();
      for (const KeyedF64& record : records_of(taken->shard)) {
        table.add(record.key, record.value);
      }
      const Duration time = (clock_.now() - begin) / static_cast<std::int64_t>(worker_count_);
      lock.lock();
      policy_.ended(taken->ticket, std::max(time, Duration(1)));
      changed_.notify_all();
    }
    answer_.add_all(table);
  }

  void feed() {
    auto pipeline = required(
        Pipeline::create(*bed_.staging, bed_.kernels, bed_.timer, {.depth = kDepth}), "a pipeline");
    SumTable table;
    std::size_t flying = 0;
    Instant last_end = clock_.now();
    std::unique_lock lock(mutex_);
    while (!is_over() || flying > 0) {
      if (flying < kDepth) {
        if (const std::optional<Taken> taken = take(0)) {
          ++flying;
          lock.unlock();
          submit(*pipeline, *taken);
          lock.lock();
          continue;
        }
      }
      if (landed_.empty()) {
        changed_.wait(lock);
        continue;
      }
      const Landed landed = std::move(landed_.front());
      landed_.erase(landed_.begin());
      --flying;
      const Instant now = clock_.now();
      policy_.ended(landed.taken.ticket, std::max(now - last_end, Duration(1)));
      last_end = now;
      changed_.notify_all();
      lock.unlock();
      add_output(landed.output, table);
      lock.lock();
    }
    answer_.add_all(table);
  }

  void submit(Pipeline& pipeline, const Taken& taken) {
    const std::span<const std::byte> input = std::as_bytes(records_of(taken.shard));
    const KernelSizes sizes = keyed_sum_u32_f64_sizes(input.size());
    require(pipeline.submit({.kernel = std::string(kKeyedSumU32F64),
                             .input = input,
                             .output_bytes = sizes.output_bytes,
                             .scratch_bytes = sizes.scratch_bytes,
                             .on_done =
                                 [this, taken](const WorkOutcome& outcome) {
                                   require(outcome.status, "a shard on the device");
                                   KeyedSumHead head;
                                   std::memcpy(&head, outcome.result.data(), sizeof(head));
                                   const auto used = outcome.result.first(
                                       sizeof(head) + head.key_count * sizeof(KeyedF64));
                                   const std::lock_guard lock(mutex_);
                                   landed_.push_back({taken, {used.begin(), used.end()}});
                                   changed_.notify_all();
                                 }}),
            "submit()");
  }

  Bed& bed_;
  const std::span<const KeyedF64> records_;
  const std::size_t shard_records_;
  const bool has_device_;
  const std::size_t worker_count_;
  const std::size_t shard_count_;
  const SystemClock clock_ = {};

  std::mutex mutex_;
  std::condition_variable changed_;
  DevicePolicy policy_;
  std::map<std::uint64_t, std::size_t> waiting_;  // Shards by ticket.
  std::size_t next_shard_ = 0;
  std::vector<Landed> landed_;
  SumTable answer_;
};

}  // namespace

void group_by_rows(Bed& bed, const Options& options) {
  const std::size_t workers =
      std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, kWorkersMax);
  const std::string title = "group-by, the device and " + std::to_string(workers) + " workers";
  const std::size_t shard_records = (options.quick ? 64 * kKiB : 4 * kMiB) / sizeof(KeyedF64);
  // Whole numbers, so that every order of adding them gives the same.
  std::vector<KeyedF64> records(shard_records * (options.quick ? 64 : 256));
  std::vector<double> expected(kKeyCount);
  for (std::size_t i = 0; i < records.size(); ++i) {
    const auto key = static_cast<std::uint32_t>(i * 2'654'435'761u % kKeyCount);
    records[i] = {.key = key, .value = static_cast<double>(i % 100)};
    expected[key] += records[i].value;
  }
  const HostRegistration registration =
      required(bed.device.register_host(std::as_writable_bytes(std::span(records))),
               "registering the records");
  struct Contender {
    const char* name;
    bool has_device;
    std::size_t worker_count;
    std::vector<double> times = {};
  };
  Contender contenders[] = {
      {"the device", true, 0}, {"the workers", false, workers}, {"both", true, workers}};
  for (int repetition = 0; repetition < (options.quick ? 1 : 7); ++repetition) {
    for (Contender& contender : contenders) {
      Run run(bed, records, shard_records, contender.has_device, contender.worker_count);
      contender.times.push_back(run.seconds());
      bool equal = true;
      for (const auto& [key, sum] : run.answer()) {
        equal = equal && sum == expected[key];
      }
      require_equal(equal && run.answer().size() == kKeyCount, "group-by by " + title);
    }
  }
  const double bytes = static_cast<double>(records.size() * sizeof(KeyedF64));
  const double device = median(contenders[0].times);
  const double host = median(contenders[1].times);
  const double both = median(contenders[2].times);
  print_row("group-by, each alone: the device, the workers",
            text("%.1f GB/s, %.1f GB/s", bytes / device / 1e9, bytes / host / 1e9), {}, 0.0);
  print_row(title, text("%.1f GB/s", bytes / both / 1e9), std::min(device, host) / both,
            options.quick || !options.emulated.empty() ? 0.0 : 1.0);
}

}  // namespace pinion::bench
