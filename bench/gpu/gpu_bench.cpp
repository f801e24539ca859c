// What Pinion's pipeline and kernels reach on the first GPU beside CUDA and CUB by hand, and beside
// what the emulation of a device with the measured rates foretells. Prints one table; every result
// is compared with that of the CPU twin before its time counts.
//
// gpu_bench [--quick] [--emulated SPEC]
//   --quick          small data: does everything work and agree?
//   --emulated SPEC  on an emulated device in real time, without what is by hand: this tries the
//                    program itself
//
// Exit status: 1 when a result is wrong, 77 when this process has no GPU.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pinion/core/page_pool.hpp>
#include <pinion/core/timer.hpp>
#include <pinion/gpu/devices.hpp>
#include <pinion/gpu/emulated_devices.hpp>
#include <pinion/gpu/kernels.hpp>
#include <pinion/gpu/pipeline.hpp>

#include "bed.hpp"
#include "by_hand.hpp"
#include "fault.hpp"
#include "group_by.hpp"

namespace pinion::bench {
namespace {

constexpr int kRepetitions = 11;

template <class Value>
std::span<const std::byte> bytes_of(const std::vector<Value>& values) {
  return std::as_bytes(std::span(values));
}

// Input in shards of one size, which a kernel goes over.
struct Job {
  std::string kernel = {};
  std::vector<std::byte> arguments = {};
  std::span<const std::byte> input = {};
  std::uint64_t shard_bytes = 0;
  KernelSizes sizes = {};         // Of a shard.
  std::uint64_t shard_count = 1;  // Of more than the input has, it is gone over again.
  bool takes_batches = false;

  [[nodiscard]] std::span<const std::byte> input_of(std::uint64_t shard) const {
    return input.subspan(shard % (input.size() / shard_bytes) * shard_bytes, shard_bytes);
  }
};

// The time from the first submit() until the last result, which `take` sees with its shard.
double run_pipeline(Bed& bed, const Job& job,
                    const std::function<void(std::uint64_t, std::span<const std::byte>)>& take) {
  auto pipeline = required(
      Pipeline::create(*bed.staging, bed.kernels, bed.timer,
                       {.depth = kDepth, .waiting_max = static_cast<std::size_t>(job.shard_count)}),
      "a pipeline");
  auto last = std::make_shared<CompletionSource>();
  const Completion done = last->completion();
  auto left = std::make_shared<std::atomic<std::uint64_t>>(job.shard_count);
  const Instant begin = bed.timer.clock().now();
  for (std::uint64_t shard = 0; shard < job.shard_count; ++shard) {
    require(pipeline->submit({.kernel = job.kernel,
                              .arguments = job.arguments,
                              .input = job.input_of(shard),
                              .output_bytes = job.sizes.output_bytes,
                              .scratch_bytes = job.sizes.scratch_bytes,
                              .takes_batches = job.takes_batches,
                              .on_done =
                                  [=, &take](const WorkOutcome& outcome) {
                                    if (!outcome.status.ok() || outcome.path != WorkPath::kDevice) {
                                      exit_with(outcome.status.ok()
                                                    ? Status(ErrorCode::kInternal,
                                                             "a twin ran, no kernel")
                                                    : outcome.status);
                                    }
                                    take(shard, outcome.result);
                                    if (--*left == 0) {
                                      last->signal({});
                                    }
                                  }}),
            "submit()");
  }
  bed.wait(done);
  return std::chrono::duration<double>(bed.timer.clock().now() - begin).count();
}

double median_pipeline(Bed& bed, const Job& job) {
  std::vector<double> times;
  for (int repetition = 0; repetition <= kRepetitions; ++repetition) {
    const double time = run_pipeline(bed, job, [](std::uint64_t, std::span<const std::byte>) {});
    if (repetition > 0) {  // The first one warms up.
      times.push_back(time);
    }
  }
  return median(std::move(times));
}

Job map_job(std::span<const std::byte> input, std::uint64_t shard_bytes,
            std::uint64_t shard_count) {
  Job job = {.kernel = std::string(kMapScaleF64),
             .input = input,
             .shard_bytes = shard_bytes,
             .sizes = map_scale_f64_sizes(shard_bytes),
             .shard_count = shard_count};
  const MapScaleF64 arguments = {.factor = 2.0, .offset = 0.5};
  const auto bytes = std::as_bytes(std::span(&arguments, 1));
  job.arguments.assign(bytes.begin(), bytes.end());
  return job;
}

Job sum_job(std::span<const std::byte> input, std::uint64_t shard_bytes,
            std::uint64_t shard_count) {
  return {.kernel = std::string(kReduceSumF64),
          .arguments = {},
          .input = input,
          .shard_bytes = shard_bytes,
          .sizes = reduce_sum_f64_sizes(shard_bytes),
          .shard_count = shard_count};
}

// Whether each shard's result is that of the CPU twin, to the byte.
void check_job(Bed& bed, Job job) {
  job.shard_count = std::min<std::uint64_t>(job.shard_count, job.input.size() / job.shard_bytes);
  const KernelBody& twin = bed.kernels.find(job.kernel)->body;
  std::atomic<bool> equal = true;
  run_pipeline(bed, job, [&](std::uint64_t shard, std::span<const std::byte> result) {
    const std::span<const std::byte> source = job.input_of(shard);
    std::vector<std::byte> input(source.begin(), source.end());
    std::vector<std::byte> output(job.sizes.output_bytes);
    const std::span<std::byte> buffers[] = {input, output};
    require(twin({.arguments = job.arguments, .buffers = buffers}), "the CPU twin");
    equal = equal && std::equal(output.begin(), output.end(), result.begin(), result.end());
  });
  require_equal(equal, job.kernel + " in shards of " + size_text(job.shard_bytes));
}

// Seconds of one piece of work of many in a stream, put by `put`.
double stage_seconds(Bed& bed, const std::function<Status(IDeviceStream&)>& put) {
  constexpr int kRounds = 20;
  const auto stream = required(bed.device.create_stream(), "a stream");
  std::vector<double> times;
  for (int repetition = 0; repetition <= kRepetitions; ++repetition) {
    const Instant begin = bed.timer.clock().now();
    for (int round = 0; round < kRounds; ++round) {
      require(put(*stream), "a stage");
    }
    bed.wait(stream->reached());
    if (repetition > 0) {
      times.push_back(std::chrono::duration<double>(bed.timer.clock().now() - begin).count() /
                      kRounds);
    }
  }
  return median(std::move(times));
}

struct Stages {
  double in = 0.0;
  double kernel = 0.0;
  double out = 0.0;

  [[nodiscard]] double longest() const { return std::max({in, kernel, out}); }
};

Stages measure_stages(Bed& bed, const Job& job) {
  const auto take = [&](std::uint64_t bytes) {
    return required(bed.device.allocate(std::max<std::uint64_t>(bytes, 256)), "device memory");
  };
  const DeviceBuffer in = take(job.shard_bytes);
  const DeviceBuffer out = take(job.sizes.output_bytes);
  const DeviceBuffer scratch = take(job.sizes.scratch_bytes);
  const std::span<const std::byte> source = job.input.first(job.shard_bytes);
  StagingSlab slab = required(bed.staging->take(job.sizes.output_bytes), "a slab");
  const std::span<std::byte> target = slab.bytes().first(job.sizes.output_bytes);
  const DeviceSpan buffers[] = {in.span().part(0, job.shard_bytes),
                                out.span().part(0, job.sizes.output_bytes),
                                scratch.span().part(0, job.sizes.scratch_bytes)};
  Stages stages;
  stages.in =
      stage_seconds(bed, [&](IDeviceStream& stream) { return stream.copy_in(buffers[0], source); });
  stages.kernel = stage_seconds(bed, [&](IDeviceStream& stream) {
    return stream.launch(job.kernel, job.arguments, buffers);
  });
  stages.out = stage_seconds(
      bed, [&](IDeviceStream& stream) { return stream.copy_out(target, buffers[1]); });
  return stages;
}

// The time that an emulated device takes which has these stages.
double foretold(const Stages& stages, const Job& job, const IDevice& device) {
  const auto rate = [](std::uint64_t bytes, double seconds) {
    return static_cast<std::uint64_t>(static_cast<double>(bytes) / std::max(seconds, 1e-9));
  };
  EmulationSpec spec =
      required(parse_emulation_spec("emu:1,effects=none,mem=32g,pinned=32g"), "an emulated device");
  spec.devices[0].info.copy_engine_count = device.info().copy_engine_count;
  spec.devices[0].copy_in_rate = rate(job.shard_bytes, stages.in);
  spec.devices[0].copy_out_rate = rate(job.sizes.output_bytes, stages.out);
  KernelRegistry kernels;
  const KernelCost cost = {.launch = std::chrono::nanoseconds(std::llround(stages.kernel * 1e9)),
                           .bytes_per_second = 0};
  require(
      kernels.add(job.kernel, {.body = [](const KernelCall&) { return Status(); }, .cost = cost}),
      "a kernel");
  const auto devices = required(EmulatedDevices::create(spec, kernels), "an emulated device");
  Bed bed(
      *devices->devices()[0], devices->timer(),
      [&](const Completion& completion) { devices->wait(completion); }, kernels,
      2 * kDepth * (job.shard_bytes + job.sizes.output_bytes) + kMiB);
  // What is emulated reads no byte of it, but must find it registered.
  const std::span<std::byte> input(const_cast<std::byte*>(job.input.data()), job.input.size());
  const HostRegistration registration =
      required(bed.device.register_host(input), "registering the input");
  return run_pipeline(bed, job, [](std::uint64_t, std::span<const std::byte>) {});
}

// Rows of the pipeline: against one big copy, against the stages, against the emulation.
void pipeline_rows(Bed& bed, std::span<const std::byte> input, const Options& options,
                   const by_hand::CopyRates& rates) {
  std::vector<std::uint64_t> sizes = {64 * kKiB, 256 * kKiB, kMiB,      4 * kMiB,
                                      16 * kMiB, 64 * kMiB,  256 * kMiB};
  while (sizes.back() * 4 > input.size()) {
    sizes.pop_back();
  }
  const std::uint64_t count = options.quick ? 16 : 64;
  // With few shards the first one's way in and the last one's way out are too much of it.
  const auto bound_for = [&](std::uint64_t shard_bytes, double bound) {
    return shard_bytes >= 4 * kMiB && !options.quick ? bound : 0.0;
  };
  for (const std::uint64_t shard_bytes : sizes) {
    const Job sum = sum_job(input, shard_bytes, std::max(count, 8 * kMiB / shard_bytes));
    check_job(bed, sum);
    const double seconds = median_pipeline(bed, sum);
    const double rate = static_cast<double>(sum.shard_count * shard_bytes) / seconds;
    print_row("reduce from the host, shards of " + size_text(shard_bytes),
              text("%.1f GB/s, one big copy %.1f", rate / 1e9, rates.in / 1e9),
              ratio_of(rate, rates.in), bound_for(shard_bytes, 0.9));
  }
  for (const std::uint64_t shard_bytes : sizes) {
    const Job map = map_job(input, shard_bytes, count);
    check_job(bed, map);
    const Stages stages = measure_stages(bed, map);
    const double seconds = median_pipeline(bed, map);
    const auto shards = static_cast<double>(count);
    print_row(
        "overlap of map, shards of " + size_text(shard_bytes),
        text("%.0f us a shard, longest stage %.0f", seconds / shards * 1e6, stages.longest() * 1e6),
        stages.longest() * shards / seconds, bound_for(shard_bytes, 0.9));
    const double expected = foretold(stages, map, bed.device);
    print_row("  the emulation's time of that / measured",
              text("%.1f ms, foretold %.1f", seconds * 1e3, expected * 1e3),
              std::min(seconds, expected) / std::max(seconds, expected),
              bound_for(shard_bytes, 0.87));
  }
}

// What the host spends on a shard, beside a loop of copy, launch and copy by hand.
void host_cost_row(Bed& bed, std::span<const std::byte> input, bool by_hand_too) {
  constexpr std::uint64_t kShardBytes = 16 * kKiB;
  const std::uint64_t shard_count = std::min<std::uint64_t>(input.size() / kShardBytes, 2048);
  const Job map = map_job(input.first(shard_count * kShardBytes), kShardBytes, shard_count);
  check_job(bed, map);
  const auto count = static_cast<double>(shard_count);
  const double pinion = median_pipeline(bed, map) / count;
  double loop = 0.0;
  if (by_hand_too) {
    const auto source = required(by_hand::pinned(map.input.size()), "pinned memory");
    const auto target = required(by_hand::pinned(map.input.size()), "pinned memory");
    std::memcpy(source.data(), map.input.data(), map.input.size());
    loop = required(by_hand::scale_loop(source, target, kShardBytes), "the loop by hand") / count;
  }
  print_row("a shard of 16 KiB, against a loop by hand",
            text("%.2f us, by hand %.2f", pinion * 1e6, loop * 1e6), ratio_of(pinion, loop), 1.1,
            true);
}

// Small shards that go to the device in one launch, beside one launch each.
void batch_row(Bed& bed, std::span<const std::byte> input) {
  constexpr std::uint64_t kShardBytes = 4 * kKiB;
  const std::uint64_t shard_count = std::min<std::uint64_t>(input.size() / kShardBytes, 16'384);
  Job map = map_job(input, kShardBytes, shard_count);
  const double alone = median_pipeline(bed, map) / static_cast<double>(shard_count);
  map.takes_batches = true;
  check_job(bed, map);
  const double together = median_pipeline(bed, map) / static_cast<double>(shard_count);
  print_row("shards of 4 KiB, together against one by one",
            text("%.2f us a shard, alone %.2f", together * 1e6, alone * 1e6), alone / together,
            0.0);
}

using ByHand = Result<by_hand::Resident> (*)(std::span<const std::byte>, int);

// A kernel over input that lies on the device, against CUB by hand.
double resident_row(Bed& bed, const Job& job, ByHand by_hand, std::uint64_t compared_bytes) {
  constexpr int kRounds = 20;
  const Stages stages = measure_stages(bed, job);
  std::vector<std::byte> output;
  run_pipeline(bed, job, [&](std::uint64_t, std::span<const std::byte> result) {
    output.assign(result.begin(), result.end());
  });
  std::vector<std::byte> expected(job.sizes.output_bytes);
  std::vector<std::byte> copy(job.input.begin(), job.input.end());
  const std::span<std::byte> buffers[] = {copy, expected};
  require(bed.kernels.find(job.kernel)->body({.arguments = {}, .buffers = buffers}), "the twin");
  if (job.kernel == kKeyedSumU32F64) {
    KeyedSumHead head;
    std::memcpy(&head, expected.data(), sizeof(head));
    compared_bytes = sizeof(head) + head.key_count * sizeof(KeyedF64);
  }
  const auto equals = [&](const std::vector<std::byte>& other) {
    return std::memcmp(expected.data(), other.data(), compared_bytes) == 0;
  };
  require_equal(equals(output), job.kernel);
  double seconds = 0.0;
  std::optional<double> ratio;
  if (by_hand != nullptr) {
    const by_hand::Resident resident = required(by_hand(job.input, kRounds), "CUB by hand");
    require_equal(equals(resident.output), job.kernel + " by hand");
    seconds = resident.seconds;
    ratio = ratio_of(seconds, stages.kernel);
  }
  print_row(job.kernel + " on the device, " + size_text(job.shard_bytes),
            text("%.1f us, CUB by hand %.1f", stages.kernel * 1e6, seconds * 1e6), ratio, 0.95);
  return stages.kernel;
}

void resident_rows(Bed& bed, std::span<const std::byte> input, const by_hand::CopyRates& rates,
                   bool by_hand_too) {
  const std::uint64_t bytes = std::min<std::uint64_t>(input.size() / 2, 512 * kMiB);
  const double sum_seconds =
      resident_row(bed, sum_job(input.first(bytes), bytes, 1),
                   by_hand_too ? by_hand::reduce_sum_f64 : nullptr, sizeof(double));
  print_row("  its rate against that of a copy on the device",
            text("%.0f GB/s, copy %.0f", static_cast<double>(bytes) / sum_seconds / 1e9,
                 rates.on_device / 1e9),
            ratio_of(static_cast<double>(bytes) / sum_seconds, rates.on_device), 0.9);
  resident_row(bed,
               {.kernel = std::string(kHistogramU8),
                .arguments = {},
                .input = input.first(bytes),
                .shard_bytes = bytes,
                .sizes = histogram_u8_sizes(bytes)},
               by_hand_too ? by_hand::histogram_u8 : nullptr, 256 * sizeof(std::uint64_t));
  std::vector<KeyedF64> records(bytes / 4 / sizeof(KeyedF64));
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i] = {.key = static_cast<std::uint32_t>(i * 2'654'435'761u) % 1'000'003,
                  .value = static_cast<double>(i % 1000)};
  }
  const std::span<const std::byte> keyed = bytes_of(records);
  resident_row(bed,
               {.kernel = std::string(kKeyedSumU32F64),
                .arguments = {},
                .input = keyed,
                .shard_bytes = keyed.size(),
                .sizes = keyed_sum_u32_f64_sizes(keyed.size())},
               by_hand_too ? by_hand::keyed_sum_u32_f64 : nullptr, 0);
}

void registration_row(Bed& bed, std::span<std::byte> input) {
  const Instant begin = bed.timer.clock().now();
  const HostRegistration registration =
      required(bed.device.register_host(input), "registering the input");
  const double seconds = std::chrono::duration<double>(bed.timer.clock().now() - begin).count();
  print_row("registering host memory, " + size_text(input.size()),
            text("%.1f ms, %.1f GB/s", seconds * 1e3,
                 static_cast<double>(input.size()) / std::max(seconds, 1e-9) / 1e9),
            {}, 0.0);
}

void run_all(Bed& bed, const Options& options, const std::optional<FaultCost>& fault,
             bool by_hand_too) {
  std::printf("%s, %s, %s\n\n", bed.device.info().name.c_str(), bed.device.info().uuid.c_str(),
              bed.device.info().architecture.c_str());
  std::printf("| %-46s | %-34s | %-6s | %-14s |\n", "work", "figure", "ratio", "must reach");
  std::printf("|%s|%s|%s|%s|\n", std::string(48, '-').c_str(), std::string(36, '-').c_str(),
              std::string(8, '-').c_str(), std::string(16, '-').c_str());
  // Whole numbers, so that every order of adding them gives the same.
  std::vector<double> values((options.quick ? 16 * kMiB : 1024 * kMiB) / sizeof(double));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<double>(i % 1000) - 400.0;
  }
  const std::span<std::byte> input = std::as_writable_bytes(std::span(values));
  registration_row(bed, input);
  by_hand::CopyRates rates;
  if (by_hand_too) {
    rates = required(by_hand::copy_rates(options.quick ? 16 * kMiB : 512 * kMiB), "big copies");
  }
  const HostRegistration registration =
      required(bed.device.register_host(input), "registering the input");
  pipeline_rows(bed, input, options, rates);
  host_cost_row(bed, input, by_hand_too);
  batch_row(bed, input);
  resident_rows(bed, input, rates, by_hand_too);
  group_by_rows(bed, options);
  fault_row(fault, options);
}

int run(const Options& options) {
  // Before this process has a thread, or a device.
  const std::optional<FaultCost> fault = measure_fault(options);
  KernelRegistry kernels;
  require(add_pinion_kernels(kernels), "the kernels");
  const std::uint64_t staging_bytes = options.quick ? 64 * kMiB : 2048 * kMiB;
  if (!options.emulated.empty()) {
    const EmulationSpec spec = required(parse_emulation_spec(options.emulated), "--emulated");
    const auto devices = required(EmulatedDevices::create(spec, kernels), "--emulated");
    Bed bed(
        *devices->devices()[0], devices->timer(),
        [&](const Completion& completion) { devices->wait(completion); }, kernels, staging_bytes);
    if (devices->virtual_time() != nullptr) {
      exit_with(Status(ErrorCode::kInvalidArgument,
                       "--emulated needs a device in real time, as emu:1,time=real"));
    }
    run_all(bed, options, fault, false);
    return 0;
  }
  Result<std::vector<std::unique_ptr<IDevice>>> devices = open_devices(
      {.registered_bytes_max = std::uint64_t{16} << 30,
       .on_message = [](const std::string& text) { std::printf("%s\n", text.c_str()); }});
  if (!devices) {
    std::printf("not measured: %s\n", devices.error().to_string().c_str());
    return 77;
  }
  const auto timer = required(SystemTimer::create(), "a timer");
  Bed bed(
      *(*devices)[0], *timer, [](const Completion& completion) { completion.wait(); }, kernels,
      staging_bytes);
  run_all(bed, options, fault, true);
  return 0;
}

}  // namespace
}  // namespace pinion::bench

int main(int argc, char** argv) {
  pinion::bench::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      options.quick = true;
    } else if (argument == "--emulated" && i + 1 < argc) {
      options.emulated = argv[++i];
    } else {
      std::fprintf(stderr, "usage: gpu_bench [--quick] [--emulated SPEC]\n");
      return 64;
    }
  }
  return pinion::bench::run(options);
}
