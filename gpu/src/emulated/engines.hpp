#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <pinion/core/completion.hpp>
#include <pinion/core/device.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/core/timer.hpp>

#include <pinion/gpu/emulation_spec.hpp>

namespace pinion {

struct StreamQueue;

/// What does a piece of work. One piece at a time has an engine; what has none takes no time.
enum class EngineKind : std::uint8_t { kNone, kCopyIn, kCopyOut, kKernel };

/// One call of a stream.
struct Operation {
  EngineKind engine = EngineKind::kNone;
  Duration duration = {};
  std::function<Status()> effect = {};  ///< May be empty. Errors are sticky, but kNeverEnds.
  std::optional<CompletionSource> source = {};

  /// Begins only when that stream has passed so many operations.
  std::shared_ptr<const StreamQueue> other = {};
  std::uint64_t other_count = 0;

  std::uint64_t number = 0;  ///< The order of all calls of the device.
};

/// The operations of a stream that are not over. Only Engines looks into it.
struct StreamQueue {
  std::deque<Operation> waiting = {};  ///< The first one may run.
  bool running = false;
  bool fails = false;  ///< What runs is to fail.
  std::uint64_t put_count = 0;
  std::uint64_t passed_count = 0;
};

/// Does the work of an emulated device in the time of a timer: decides what runs when, and what
/// goes wrong. What it is given begins when its stream, the stream that it waits for and its engine
/// are free, in the order of the calls.
///
/// Thread safety: all members may be called from any thread.
class Engines {
 public:
  /// An effect that ends so does not end for who waits for it.
  static constexpr ErrorCode kNeverEnds = ErrorCode::kDeadlineExceeded;

  /// Lifetime: borrows `timer`, which must not call any more when this ends.
  Engines(const EmulatedDeviceSpec& spec, ITimer& timer);

  /// From here on the device may be lost.
  void start();

  [[nodiscard]] std::shared_ptr<StreamQueue> open() PINION_EXCLUDES(mutex_);
  void close(const std::shared_ptr<StreamQueue>& queue) PINION_EXCLUDES(mutex_);

  /// Errors: that of the device when it does nothing any more; the operation was not taken.
  [[nodiscard]] Status put(const std::shared_ptr<StreamQueue>& queue, Operation operation)
      PINION_EXCLUDES(mutex_);

  /// Puts a wait for what is in `other`.
  [[nodiscard]] Status put_wait(const std::shared_ptr<StreamQueue>& queue,
                                const std::shared_ptr<StreamQueue>& other) PINION_EXCLUDES(mutex_);

  /// Signalled when `queue` has passed what was put before, or with the error of the device.
  [[nodiscard]] Completion put_mark(const std::shared_ptr<StreamQueue>& queue)
      PINION_EXCLUDES(mutex_);

  /// Ends the work of the device with `error`, unless it has ended; everything that waits for it is
  /// told. Blocks: until no effect runs.
  void end_with(const Status& error) PINION_EXCLUDES(mutex_);

  /// The error that ended the work.
  [[nodiscard]] Status status() const PINION_EXCLUDES(mutex_);

 private:
  static constexpr std::size_t kEngineCount = 4;

  [[nodiscard]] std::size_t engine_of(EngineKind kind) const noexcept;
  [[nodiscard]] bool is_to_stop(EngineKind kind) const noexcept;
  void add(StreamQueue& queue, Operation operation) PINION_REQUIRES(mutex_);
  [[nodiscard]] bool may_begin(const StreamQueue& queue) const PINION_REQUIRES(mutex_);
  [[nodiscard]] std::shared_ptr<StreamQueue> next() const PINION_REQUIRES(mutex_);
  void begin(const std::shared_ptr<StreamQueue>& queue) PINION_REQUIRES(mutex_);
  void begin_all() PINION_REQUIRES(mutex_);
  void finish(const std::shared_ptr<StreamQueue>& queue, std::uint64_t number)
      PINION_EXCLUDES(mutex_);
  [[nodiscard]] std::vector<CompletionSource> drop_all() PINION_REQUIRES(mutex_);

  const EmulatedFaults faults_;
  const bool one_copy_engine_;
  const std::string name_;
  ITimer& timer_;

  mutable Mutex mutex_;
  std::condition_variable_any effect_over_;
  bool effect_running_ PINION_GUARDED_BY(mutex_) = false;
  std::vector<std::shared_ptr<StreamQueue>> queues_ PINION_GUARDED_BY(mutex_);
  std::array<bool, kEngineCount> busy_ PINION_GUARDED_BY(mutex_) = {};
  Status status_ PINION_GUARDED_BY(mutex_);
  std::uint64_t put_count_ PINION_GUARDED_BY(mutex_) = 0;
  std::uint64_t begun_count_ PINION_GUARDED_BY(mutex_) = 0;
  bool has_stopped_ PINION_GUARDED_BY(mutex_) = false;  ///< The process, as planted.
};

}  // namespace pinion
