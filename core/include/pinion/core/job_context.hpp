#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/blob_store.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/executor.hpp>
#include <pinion/core/memory_ledger.hpp>
#include <pinion/core/metrics.hpp>
#include <pinion/core/page_pool.hpp>
#include <pinion/core/shard_devices.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/trace.hpp>

namespace pinion {

/// What a rank knows about its job. Constant while the process lives.
struct JobInfo {
  std::uint64_t job = 0;
  std::uint64_t seed = 0;  ///< Random seeds of shards derive from this; equal on all ranks.
  std::uint32_t epoch = 0;
  std::uint32_t host = 0;
  std::uint32_t rank = 0;
  std::uint32_t rank_count = 1;
  std::uint32_t incarnation = 1;      ///< 1, and one more each time the rank was respawned.
  std::size_t batch_shard_count = 8;  ///< Most shards in a batch; at least 1.
  Duration batch_duration = std::chrono::seconds(5);  ///< Age at which a batch is sealed.
  std::uint64_t batch_bytes = 256u << 20;             ///< Memory at which a batch is sealed.
  bool has_standard_input = true;  ///< Whether this rank's standard input is the job's.
};

/// The way between one rank and the coordinator's side: whole messages, in order, nothing lost
/// while it is up. Extension point with two implementations: within one process, and over a socket.
///
/// Thread safety: send() and wake() from any thread; receive() from one thread at a time.
class IControlLink {
 public:
  virtual ~IControlLink() = default;

  /// Hands over one message. Messages of one thread arrive in order.
  /// Errors: kUnavailable when the coordinator cannot be reached any more.
  [[nodiscard]] virtual Status send(std::span<const std::byte> message) = 0;

  /// The next message; empty when `deadline` passes or wake() is called first.
  /// Blocks: until then.
  /// Errors: kUnavailable when the coordinator cannot be reached any more.
  [[nodiscard]] virtual Result<std::vector<std::byte>> receive(Instant deadline) = 0;

  /// Lets the receive() that waits, or else the next one, return empty at once.
  virtual void wake() noexcept = 0;
};

/// A job as the engine sees it: who we are, where to run, where bytes live, and the way to the
/// coordinator. Job (pinion/runtime/job.hpp) is the one that users get.
///
/// Thread safety: begin_step() and devices() from the thread that runs the program's steps, the
///   rest from any.
/// Lifetime: what it returns lives as long as the context.
class IJobContext {
 public:
  virtual ~IJobContext() = default;

  [[nodiscard]] virtual const JobInfo& info() const noexcept = 0;
  [[nodiscard]] virtual Executor& executor() noexcept = 0;
  [[nodiscard]] virtual IBlobStore& store() noexcept = 0;
  [[nodiscard]] virtual IControlLink& control() noexcept = 0;
  [[nodiscard]] virtual Trace& trace() noexcept = 0;

  /// What divides the memory of this rank; blobs and pages() are charged to it.
  [[nodiscard]] virtual MemoryLedger& memory() noexcept = 0;
  [[nodiscard]] virtual PagePool& pages() noexcept = 0;
  [[nodiscard]] virtual Metrics& metrics() noexcept = 0;

  /// The devices of this rank for shards; null where it has none. The first call opens them.
  /// Blocks: for the driver. From the thread that runs the program's steps, while none runs.
  [[nodiscard]] virtual IShardDevices* devices() = 0;

  /// The number of the next collective operation in program order, from 1. Each call takes one.
  [[nodiscard]] virtual std::uint64_t begin_step() noexcept = 0;
};

}  // namespace pinion
