#include "fault.hpp"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <latch>
#include <new>
#include <span>

#include <pinion/gpu/devices.hpp>
#include <pinion/gpu/emulated_devices.hpp>
#include <pinion/gpu/kernels.hpp>

namespace pinion::bench {
namespace {

constexpr std::size_t kBatchCount = 8;
constexpr std::size_t kBatchShards = 16;
constexpr std::size_t kBadBatch = 4;
constexpr int kNoDevice = 77;
constexpr int kDeviceFailed = 74;  // As a rank of a job ends.

// What outlives a process.
struct Accepted {
  std::size_t batch_count = 0;
  double sum = 0.0;
  std::int64_t first_submit_ns = 0;  // Of the life that ran last.
  std::int64_t work_ns = 0;          // What the batches of that one took.
};

std::int64_t now_ns() {
  return SystemClock().now().time_since_epoch().count();
}

void* shared_memory(std::size_t size_bytes) {
  void* const memory =
      mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    exit_with(Status::from_errno(errno, "shared memory for the benchmark of a fault"));
  }
  return memory;
}

// One life of the process that has the device.
class Life {
 public:
  Life(const Options& options, std::span<std::byte> input, Accepted& accepted, bool is_to_fail)
      : options_(options), input_(input), accepted_(accepted), is_to_fail_(is_to_fail) {
    require(add_pinion_kernels(kernels_), "the kernels");
  }

  // Never returns.
  [[noreturn]] void live() {
    if (options_.emulated.empty()) {
      live_on_gpu();
    }
    live_on_emulation();
  }

 private:
  [[noreturn]] void live_on_gpu() {
    const auto devices = open_devices({.registered_bytes_max = std::uint64_t{16} << 30});
    if (!devices) {
      std::_Exit(kNoDevice);
    }
    const auto timer = required(SystemTimer::create(), "a timer");
    work(*(*devices)[0], *timer);
  }

  [[noreturn]] void live_on_emulation() {
    EmulationSpec spec = required(parse_emulation_spec(options_.emulated), "--emulated");
    spec.time = EmulatedTime::kReal;
    if (is_to_fail_) {
      spec.devices[0].faults.sticky_at = 3 * kBadBatch * kBatchShards + 5;
    }
    const auto devices = required(EmulatedDevices::create(spec, kernels_), "--emulated");
    work(*devices->devices()[0], devices->timer());
  }

  [[noreturn]] void work(IDevice& device, ITimer& timer) {
    MemoryLedger ledger({.budget_bytes = std::uint64_t{4} << 30});
    PagePool pages(ledger, {});
    const auto staging =
        required(StagingPool::create(device, pages, device.info().near_memory, kMiB), "staging");
    const HostRegistration registration =
        required(device.register_host(input_), "registering the input");
    const auto pipeline =
        required(Pipeline::create(*staging, kernels_, timer, {.depth = kDepth}), "a pipeline");
    accepted_.first_submit_ns = now_ns();
    while (accepted_.batch_count < kBatchCount) {
      double sum = 0.0;
      if (!add_batch(device, *pipeline, sum)) {
        std::_Exit(kDeviceFailed);  // Nothing is let go: the driver does that for a dead process.
      }
      accepted_.sum += sum;
      ++accepted_.batch_count;
      accepted_.work_ns = now_ns() - accepted_.first_submit_ns;
    }
    std::_Exit(0);
  }

  // False when the device has failed.
  bool add_batch(IDevice& device, Pipeline& pipeline, double& sum) {
    const std::size_t shard_bytes = input_.size() / (kBatchCount * kBatchShards);
    const KernelSizes sizes = reduce_sum_f64_sizes(shard_bytes);
    std::latch over(kBatchShards);
    std::atomic<bool> failed = false;
    for (std::size_t i = 0; i < kBatchShards; ++i) {
      const std::size_t shard = accepted_.batch_count * kBatchShards + i;
      require(pipeline.submit({.kernel = std::string(kReduceSumF64),
                               .input = input_.subspan(shard * shard_bytes, shard_bytes),
                               .output_bytes = sizes.output_bytes,
                               .scratch_bytes = sizes.scratch_bytes,
                               .on_done =
                                   [&](const WorkOutcome& outcome) {
                                     if (outcome.status.ok()) {
                                       double value = 0.0;
                                       std::memcpy(&value, outcome.result.data(), sizeof(value));
                                       sum += value;  // Outcomes come one after the other.
                                     }
                                     failed = failed || !outcome.status.ok();
                                     over.count_down();
                                   }}),
              "submit()");
    }
    if (is_to_fail_ && options_.emulated.empty() && accepted_.batch_count == kBadBatch) {
      plant_fault(device);
    }
    over.wait();
    return !failed;
  }

  // Beside the copies of the batch.
  static void plant_fault(IDevice& device) {
    const auto stream = device.create_stream();
    if (stream) {
      static_cast<void>((*stream)->launch("bench.fault", {}, {}));
    }
  }

  const Options& options_;
  const std::span<std::byte> input_;
  Accepted& accepted_;
  const bool is_to_fail_;
  KernelRegistry kernels_;
};

struct Lives {
  double seconds = 0.0;
  double restart = 0.0;
  double work = 0.0;
};

// Until all is summed up. Empty where there is no device.
std::optional<Lives> live(const Options& options, std::span<std::byte> input, Accepted& accepted,
                          bool is_to_fail) {
  accepted = {};
  Lives lives;
  const std::int64_t begin = now_ns();
  for (;;) {
    const std::int64_t begun = now_ns();
    const pid_t child = fork();
    if (child == 0) {
      Life(options, input, accepted, std::exchange(is_to_fail, false)).live();
    }
    int state = 0;
    if (child < 0 || waitpid(child, &state, 0) != child || !WIFEXITED(state)) {
      exit_with(Status(ErrorCode::kInternal, "a process of the benchmark of a fault was lost"));
    }
    if (WEXITSTATUS(state) == kNoDevice) {
      return std::nullopt;
    }
    if (WEXITSTATUS(state) == 0) {
      lives.seconds = static_cast<double>(now_ns() - begin) * 1e-9;
      lives.restart = static_cast<double>(accepted.first_submit_ns - begun) * 1e-9;
      lives.work = static_cast<double>(accepted.work_ns) * 1e-9;
      return lives;
    }
    if (WEXITSTATUS(state) != kDeviceFailed || !std::exchange(is_to_fail, false)) {
      exit_with(Status(ErrorCode::kInternal,
                       "a process ended with exit status " + std::to_string(WEXITSTATUS(state))));
    }
  }
}

}  // namespace

std::optional<FaultCost> measure_fault(const Options& options) {
  const std::size_t shard_bytes = options.quick ? 64 * kKiB : 4 * kMiB;
  const std::size_t size_bytes = kBatchCount * kBatchShards * shard_bytes;
  const std::span input(static_cast<std::byte*>(shared_memory(size_bytes)), size_bytes);
  auto& accepted = *new (shared_memory(sizeof(Accepted))) Accepted;
  double expected = 0.0;
  for (std::size_t i = 0; i < size_bytes / sizeof(double); ++i) {
    const double value = static_cast<double>(i % 1000) - 400.0;
    std::memcpy(input.data() + i * sizeof(double), &value, sizeof(value));
    expected += value;
  }
  std::vector<double> lost;
  std::vector<double> batch;
  std::vector<double> restart;
  for (int repetition = 0; repetition < (options.quick ? 1 : 5); ++repetition) {
    const std::optional<Lives> well = live(options, input, accepted, false);
    if (!well) {
      return std::nullopt;
    }
    require_equal(accepted.sum == expected, "the sum without a fault");
    const std::optional<Lives> failed = live(options, input, accepted, true);
    require_equal(accepted.sum == expected, "the sum after a fault");
    lost.push_back(failed->seconds - well->seconds);
    batch.push_back(well->work / kBatchCount);
    restart.push_back(failed->restart);
  }
  return FaultCost{.lost = median(lost), .batch = median(batch), .restart = median(restart)};
}

void fault_row(const std::optional<FaultCost>& cost, const Options& options) {
  const double allowed = cost ? cost->batch + cost->restart : 0.0;
  const bool counts = !options.quick && options.emulated.empty();
  print_row("a fault's loss, against a batch and a restart",
            cost ? text("%.1f ms, %.1f", cost->lost * 1e3, allowed * 1e3) : "",
            cost ? ratio_of(cost->lost, allowed) : std::nullopt, counts || !cost ? 1.0 : 0.0, true);
}

}  // namespace pinion::bench
