#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/cancel.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/timer.hpp>
#include <pinion/gpu/hang_limits.hpp>
#include <pinion/gpu/kernel_registry.hpp>
#include <pinion/gpu/staging_pool.hpp>

namespace pinion {

/// Where work was done.
enum class WorkPath : std::uint8_t { kNowhere, kDevice, kHost };

/// How work ended.
struct WorkOutcome {
  /// The fault of a device that does nothing any more is that of the device: the work was not done
  /// and may be given to another one. Otherwise an error is that of the kernel's CPU twin, of
  /// memory that the host lacks, or kCancelled.
  Status status = {};
  WorkPath path = WorkPath::kNowhere;

  /// What the kernel wrote, when all is well. Lifetime: that of the call.
  std::span<const std::byte> result = {};
};

/// A kernel over some input: what a device does for a shard. The kernel is launched with three
/// buffers: the input, the output and the scratch memory, in this order. One that takes batches may
/// be launched with those of several works of the same arguments, see DeviceKernel::takes_batches.
struct DeviceWork {
  std::uint64_t id = 0;  ///< For on_stage.
  std::string kernel = {};
  std::vector<std::byte> arguments = {};
  std::span<const std::byte> input = {};  ///< Lifetime: until on_done or split is called.
  std::uint64_t output_bytes = 0;
  std::uint64_t scratch_bytes = 0;
  bool takes_batches = false;

  /// Ends it with kCancelled unless it has begun: when the device has done with other work.
  CancelToken cancel = {};

  /// Called once, when the work has ended. It must be quick, as the device waits for it, and must
  /// not throw. It may submit more.
  std::function<void(const WorkOutcome&)> on_done = {};

  /// Called when the work does not fit the device: gives work that is done instead of this, whose
  /// on_done is then never called. Fewer than two pieces, or an empty function: it cannot be split.
  std::function<std::vector<DeviceWork>()> split = {};
};

/// The three things that happen to work on a device, each in a stream of its own.
enum class WorkStage : std::uint8_t { kCopyIn, kKernel, kCopyOut };

/// When one of them happened, as it was seen from the host: it began when the work before it in
/// the stream and the stage before it of its own work had ended.
struct StageSpan {
  WorkStage stage = WorkStage::kCopyIn;
  std::uint64_t id = 0;  ///< Of the work, or of the first one of a batch.
  Instant begin = {};
  Instant end = {};
};

/// Work that a device has and does not end.
struct DeviceHang {
  /// Of the works that the device has, also of those of one launch; what began first comes first.
  std::vector<std::uint64_t> ids = {};

  Duration limit = {};    ///< The time that one of them was given and has not kept to.
  bool is_first = false;  ///< Whether that is HangLimits::first.
};

struct PipelineOptions {
  /// Work that is on the device at once: 1 to 8. With 3 all engines of a device can be busy.
  std::size_t depth = 3;

  /// Work that may wait: at least 1.
  std::size_t waiting_max = 4096;

  /// Works that go to the device in one launch, with one copy in and one out: at most so many bytes
  /// of input and output, and so many works, at least 1; with 1 there are no batches.
  std::uint64_t batch_bytes_max = 1 << 20;
  std::size_t batch_count_max = 64;

  /// Ends what has not begun.
  CancelToken cancel = {};

  /// When the device counts as one that hangs.
  HangLimits hang = {};

  /// Told of a device that hangs, on a thread of the timer, before it is abandoned: the last moment
  /// to do so where that ends the process, as it does with a GPU. It may block and may end the
  /// process itself; it must not throw, nor call the pipeline. May be empty.
  std::function<void(const DeviceHang&)> on_hang = {};

  /// Runs a CPU twin, later and elsewhere; empty: it runs on the thread that finds the need for it,
  /// which may be the one that the device waits for.
  std::function<void(std::function<void()>)> run_on_host = {};

  /// Told of each stage when it has ended well, those of a stream one after the other; empty: not
  /// looked at. It must be quick and must not throw.
  std::function<void(const StageSpan&)> on_stage = {};
};

/// What a pipeline has done. A snapshot.
struct PipelineUsage {
  std::size_t depth = 0;              ///< At the moment; memory that lacks makes it smaller.
  std::uint64_t device_count = 0;     ///< Work that ended well on the device,
  std::uint64_t host_count = 0;       ///< by its CPU twin,
  std::uint64_t failed_count = 0;     ///< or in an error.
  std::uint64_t retried_count = 0;    ///< Times that memory lacked and work was tried again.
  std::uint64_t split_count = 0;      ///< Work that was split.
  std::uint64_t zero_copy_count = 0;  ///< Copies to the device right from the input.
  std::uint64_t staged_bytes = 0;     ///< Of input that was copied to a staging slab first.
  std::uint64_t pageable_count = 0;   ///< Copies by memory that is not registered.
  std::uint64_t batch_count = 0;      ///< Times that several works were given to it together.
  std::uint64_t cut_batch_count = 0;  ///< Batches that it could not take, and got one by one.
};

/// Keeps a device fed: while one shard is computed, the next is copied in and the last one out, on
/// three streams. Input that lies in registered memory is copied from where it is, other input by a
/// staging slab. A result is handed out when its copy has ended, and never before.
///
/// A device whose work does not end in its time hangs: it is abandoned (IDevice::abandon()).
///
/// Works that wait while the device is busy and are alike go to it together, where a launch costs
/// much beside their bytes, which is measured. A batch that the device cannot take is given to it
/// one by one, before anything counts as failed.
///
/// Memory that the device lacks is asked for again, then fewer shards are on the device at once,
/// then the shard is split, then its CPU twin runs. A kernel that the device cannot run runs as its
/// twin from the first refusal on. When the device does nothing any more, everything that was
/// submitted ends with its error; nothing is published twice.
///
///     auto pipeline = Pipeline::create(staging, kernels, timer, {}).value();
///     Status status = pipeline->submit({.kernel = "sum", .input = shard, .output_bytes = 8,
///                                       .on_done = [](const WorkOutcome& outcome) { ... }});
///
/// Thread safety: all members may be called from any thread, also from on_done.
/// Lifetime: borrows the staging pool with its device, the kernels and the timer, which must be
///   that of the device's time. The destructor cancels what has not begun and waits for the rest,
///   as that of a stream; it must not run in on_done.
class Pipeline {
 public:
  /// Errors: kInvalidArgument for options outside their stated range; those of
  ///   IDevice::create_stream().
  [[nodiscard]] static Result<std::unique_ptr<Pipeline>> create(StagingPool& staging,
                                                                const KernelRegistry& kernels,
                                                                ITimer& timer,
                                                                PipelineOptions options);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  /// Takes work. What can begin is put on the device here, with a copy of its input where that has
  /// to be staged; its outcome may come before this returns.
  /// Errors: kInvalidArgument without on_done; kResourceExhausted when too much waits. On an error
  ///   on_done is never called.
  [[nodiscard]] Status submit(DeviceWork work);

  [[nodiscard]] PipelineUsage usage() const;

 private:
  class State;
  explicit Pipeline(std::shared_ptr<State> state) noexcept;

  // Shared with calls of the timer, which may come after the pipeline's end.
  const std::shared_ptr<State> state_;
};

}  // namespace pinion
