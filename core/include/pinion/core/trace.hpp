#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <pinion/core/clock.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

struct TraceOptions {
  bool enabled = false;
  std::size_t span_count_max = 1u << 16;  ///< Spans kept a worker; older ones are overwritten.
};

/// One thing a worker did. `name` must outlive the trace (a string literal).
struct TraceSpan {
  const char* name = "";
  std::uint64_t id = 0;  ///< The shard, partition or task it was about.
  Instant begin{};
  Instant end{};
  Place place = {};
};

/// Records what each worker did and when, for Perfetto or chrome://tracing. Off, record() is one
/// branch, without a call.
///
/// Thread safety: record() from any thread, one thread a worker number at a time; write() while
///   nobody records.
class Trace {
 public:
  Trace(const TraceOptions& options, std::size_t worker_count);
  ~Trace();

  [[nodiscard]] bool enabled() const noexcept { return enabled_; }

  /// One more row, for what no worker does: the number under which record() takes its spans.
  /// Precondition: nobody records.
  [[nodiscard]] std::size_t add_row(std::string name);

  /// Precondition: worker <= worker_count, the last number being the program's own thread, or one
  ///   of add_row().
  void record(std::size_t worker, const TraceSpan& span) noexcept {
    if (enabled_) [[unlikely]] {
      keep(worker, span);
    }
  }

  /// Writes the Chrome trace event format, one process row for `rank`, one thread row a worker
  /// and each that was added.
  /// The file appears whole or not at all.
  /// Errors: those of the file system.
  [[nodiscard]] Status write(const std::string& path, std::uint32_t rank) const;

  /// Spans that were overwritten because a worker had recorded more than fit.
  [[nodiscard]] std::uint64_t overwritten() const noexcept;

 private:
  void keep(std::size_t worker, const TraceSpan& span) noexcept;

  struct State;
  bool enabled_;
  std::unique_ptr<State> state_;
};

}  // namespace pinion
