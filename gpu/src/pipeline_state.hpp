#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <pinion/core/device.hpp>
#include <pinion/core/thread_annotations.hpp>

#include <pinion/gpu/pipeline.hpp>

#include "batch_size.hpp"
#include "pipeline_layout.hpp"

namespace pinion {

/// The working half of a Pipeline.
///
/// One thread at a time is the *feeder*: it alone uses the streams and begins work, without the
/// lock. That there is nothing to do and that there is no feeder any more is decided in one, so who
/// changes something and then finds a feeder need not do its work.
///
/// A slot is the feeder's while its work is put on the device, and belongs to the completion of
/// that work from then on. Whoever makes it free has given back its staging.
class Pipeline::State : public std::enable_shared_from_this<Pipeline::State> {
 public:
  State(StagingPool& staging, const KernelRegistry& kernels, ITimer& timer,
        PipelineOptions options);

  [[nodiscard]] Status open_streams();

  [[nodiscard]] Status submit(DeviceWork work) PINION_EXCLUDES(mutex_);
  [[nodiscard]] PipelineUsage usage() const PINION_EXCLUDES(mutex_);

  /// Cancels what has not begun, waits for the rest, gives the device's memory back.
  void close() PINION_EXCLUDES(mutex_);

 private:
  /// Works that go to the device together; mostly one.
  using Batch = std::vector<DeviceWork>;

  /// Work on the device.
  struct Slot {
    // Their memory is kept for the next one.
    DeviceBuffer memory = {};
    Batch batch = {};
    WorkLayout layout = {};
    std::vector<DeviceSpan> buffers = {};

    StagingSlab slab = {};
    std::optional<Pages> pages = {};    ///< In place of a slab that there is no room for.
    std::span<std::byte> staging = {};  ///< All of either.
    std::span<std::byte> output = {};   ///< A part of it.
    Status error = {};                  ///< Of a call that put the work on the device.
    Instant begun = {};
    std::vector<std::uint64_t> ranges = {};  ///< For profilers, of each work of the batch.

    // Under the lock.
    bool busy = false;
    std::optional<Instant> deadline = {};  ///< While it is on the device.
    bool is_first = false;                 ///< Whether nothing was measured when that was set.
    std::uint64_t number = 0;              ///< In the order of the begins.
    std::vector<std::uint64_t> ids = {};   ///< Of the works that are on the device.
  };

  enum class Found : std::uint8_t { kYes, kLater, kNo };

  /// What there is to do for the feeder.
  struct Step {
    enum class Kind : std::uint8_t { kNothing, kBegin, kHost, kRefuse };

    Kind kind = Kind::kNothing;
    DeviceWork work = {};  ///< Of what does not begin.
    std::size_t slot = 0;
    Status error = {};
  };

  void feed() PINION_EXCLUDES(mutex_);
  [[nodiscard]] Step next() PINION_EXCLUDES(mutex_);
  [[nodiscard]] Status reason_to_refuse(const DeviceWork& work) const PINION_REQUIRES(mutex_);

  void take_batch(Batch& batch) PINION_REQUIRES(mutex_);
  void begin(std::size_t index) PINION_EXCLUDES(mutex_);
  [[nodiscard]] Status find_memory(Slot& slot);
  void do_without_memory(Batch batch, std::size_t index) PINION_EXCLUDES(mutex_);
  void give_up(Batch batch) PINION_EXCLUDES(mutex_);
  void note_that_memory_does() PINION_EXCLUDES(mutex_);
  void drop_idle_memory(Slot& own) PINION_EXCLUDES(mutex_);
  [[nodiscard]] Found find_staging(Slot& slot, bool zero_copy) PINION_EXCLUDES(mutex_);
  [[nodiscard]] bool alone() const PINION_EXCLUDES(mutex_);
  void do_without_staging(std::size_t index, Found staging) PINION_EXCLUDES(mutex_);
  void watch_stage(IDeviceStream& stream, WorkStage stage, std::uint64_t id,
                   const std::shared_ptr<Instant>& since) PINION_EXCLUDES(mutex_);
  [[nodiscard]] Status put(Slot& slot, bool zero_copy) PINION_EXCLUDES(mutex_);
  void put_back(Batch batch, std::size_t index) PINION_REQUIRES(mutex_);
  void free_slot(std::size_t index) PINION_EXCLUDES(mutex_);

  void complete(std::size_t index, const Status& status) PINION_EXCLUDES(mutex_);
  void leave_device(std::size_t index, const Status& error) PINION_EXCLUDES(mutex_);

  void begin_ranges(Slot& slot);
  void end_ranges(Slot& slot);
  static void release(Slot& slot);

  void split_or_run_on_host(DeviceWork work) PINION_EXCLUDES(mutex_);
  void run_on_host(DeviceWork work) PINION_EXCLUDES(mutex_);
  void run_twin(const DeviceWork& work) PINION_EXCLUDES(mutex_);
  void tell(const DeviceWork& work, const WorkOutcome& outcome) PINION_EXCLUDES(mutex_);
  void close(std::size_t count) PINION_EXCLUDES(mutex_);

  void watch(Slot& slot) PINION_EXCLUDES(mutex_);
  void call_watchdog(Instant deadline) PINION_REQUIRES(mutex_);
  void look_for_hang(Instant due) PINION_EXCLUDES(mutex_);
  [[nodiscard]] const Slot* first_due() const PINION_REQUIRES(mutex_);
  [[nodiscard]] std::vector<std::uint64_t> ids_on_device() const PINION_REQUIRES(mutex_);
  [[nodiscard]] Duration hang_time(const Slot& slot) const PINION_REQUIRES(mutex_);
  void measure(const Slot& slot) PINION_REQUIRES(mutex_);

  StagingPool& staging_;
  IDevice& device_;
  const KernelRegistry& kernels_;
  ITimer& timer_;
  const PipelineOptions options_;

  // The feeder's, and slots_ also of completions.
  std::unique_ptr<IDeviceStream> in_;
  std::unique_ptr<IDeviceStream> execute_;
  std::unique_ptr<IDeviceStream> out_;
  std::vector<Slot> slots_;

  mutable Mutex mutex_;
  std::condition_variable_any quiet_;
  std::deque<DeviceWork> waiting_ PINION_GUARDED_BY(mutex_);
  bool closing_ PINION_GUARDED_BY(mutex_) = false;
  bool feeding_ PINION_GUARDED_BY(mutex_) = false;
  bool stalled_ PINION_GUARDED_BY(mutex_) = false;  ///< Nothing begins before something has ended.
  std::size_t busy_count_ PINION_GUARDED_BY(mutex_) = 0;
  std::uint64_t begun_count_ PINION_GUARDED_BY(mutex_) = 0;
  Status device_error_ PINION_GUARDED_BY(mutex_);         ///< When it does nothing any more.
  std::size_t lack_count_ PINION_GUARDED_BY(mutex_) = 0;  ///< Times that memory has lacked lately.
  std::size_t open_count_ PINION_GUARDED_BY(mutex_) = 0;  ///< Work whose on_done is to come.
  std::set<std::string, std::less<>> refused_kernels_ PINION_GUARDED_BY(mutex_);
  double time_per_byte_ PINION_GUARDED_BY(mutex_) = 0.0;  ///< In nanoseconds; 0: unknown.
  std::map<std::string, BatchSize, std::less<>> batch_sizes_ PINION_GUARDED_BY(mutex_);
  Instant last_end_ PINION_GUARDED_BY(mutex_) = {};           ///< Of what ended well.
  std::optional<Instant> watched_ PINION_GUARDED_BY(mutex_);  ///< When the watchdog looks next.
  PipelineUsage usage_ PINION_GUARDED_BY(mutex_);

  static constexpr std::size_t kStageCount = 3;
  std::array<Instant, kStageCount> stage_ends_
      PINION_GUARDED_BY(mutex_) = {};  ///< The last of each.
};

}  // namespace pinion
