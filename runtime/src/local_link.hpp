#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/shm/local_blob_store.hpp>

#include "coordinator_driver.hpp"
#include "progress.hpp"
#include "settings.hpp"

namespace pinion {

/// The coordinator of a job of one process, and the link to it: the same state machine and the same
/// messages as between processes, without a socket.
class LocalLink final : public IControlLink {
 public:
  /// Lifetime: `store`, `clock` and `log` must outlive the link.
  LocalLink(const JobInfo& info, const Settings& settings, LocalBlobStore& store,
            const IClock& clock, GrantLog& log);

  [[nodiscard]] Status send(std::span<const std::byte> message) override;
  [[nodiscard]] Result<std::vector<std::byte>> receive(Instant deadline) override;
  void wake() noexcept override;

  [[nodiscard]] JobTotals totals();
  void clear_progress();

 private:
  // Called by the driver, which runs under mutex_.
  void deliver(std::vector<std::byte> message) PINION_LOCKED_BY_CALLER;
  void tell(const std::string& text) PINION_LOCKED_BY_CALLER;
  void end_progress_of(std::uint64_t step) PINION_LOCKED_BY_CALLER;
  void show_progress() PINION_REQUIRES(mutex_);

  const LoggedRank self_;
  const IClock& clock_;
  Mutex mutex_;
  std::condition_variable_any arrived_;
  CoordinatorDriver driver_ PINION_GUARDED_BY(mutex_);
  ProgressDisplay display_ PINION_GUARDED_BY(mutex_);
  std::deque<std::vector<std::byte>> inbox_ PINION_GUARDED_BY(mutex_);
  bool woken_ PINION_GUARDED_BY(mutex_) = false;
};

}  // namespace pinion
