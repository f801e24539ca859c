#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/protocol/coordinator.hpp>

#include "grant_log.hpp"

namespace pinion {

/// What a job has done so far.
struct JobTotals {
  std::uint64_t step_count = 0;
  std::uint64_t shard_count = 0;
  std::uint64_t input_bytes = 0;
  std::uint64_t failure_count = 0;
  std::uint64_t skipped_shard_count = 0;
};

/// Runs the coordinator's state machine: gives it the time, decodes what ranks send, carries out
/// what it decides. The same for a job of one process and for an agent; they differ in the hooks.
///
/// Thread safety: none.
class CoordinatorDriver {
 public:
  struct Hooks {
    std::function<void(std::uint32_t rank, std::vector<std::byte> message)> send;
    std::function<Status(const BlobHandle&)> keep;
    std::function<void(const BlobHandle&)> release;
    std::function<void(const protocol::Failure&)> end_job;

    /// Something that a person should know. May be empty.
    std::function<void(const std::string& text)> tell = {};

    /// Before a rank is told that a step is done or has failed. May be empty.
    std::function<void(std::uint64_t step)> step_over = {};

    /// Sends a record on its way to where it outlives us; how many have been sent. Needed where the
    /// options say `journaled`.
    std::function<Result<std::uint64_t>(protocol::Record record)> persist = {};
  };

  /// Lifetime: `clock` and `log` must outlive the driver.
  CoordinatorDriver(const protocol::CoordinatorOptions& options, Hooks hooks, const IClock& clock,
                    GrantLog& log);

  /// Goes on from the records of earlier epochs. Call it before anything else, or not at all.
  void restore(std::span<const protocol::Record> records);

  /// The first so many records outlive us: what waited for that is done.
  void records_are_safe(std::uint64_t count);
  /// No more records will. Ends the job; what waits is never done.
  void no_record_is_safe(const Status& why);
  [[nodiscard]] bool waits_for_records() const noexcept { return !withheld_.empty(); }

  void rank_joined(LoggedRank who, std::int64_t pid);
  void rank_lost(LoggedRank who, const std::string& reason, bool returns);
  void rank_left(LoggedRank who);
  /// With its ranks, for which no more is said, and all that it held; see protocol::HostLost.
  void host_lost(std::uint32_t host, const std::string& reason);

  /// What arrived from `who`.
  /// Errors: kInvalidArgument, kUnimplemented, kPermissionDenied for bytes that are no message or
  ///   claim to come from somebody else; nothing has changed then.
  [[nodiscard]] Status message_arrived(LoggedRank who, std::span<const std::byte> bytes);

  /// As if the rank had asked for it.
  /// Errors: kInvalidArgument when the job has no such rank; kFailedPrecondition before it has
  /// joined.
  [[nodiscard]] Status drain(std::uint32_t rank, const std::string& reason);

  /// Ends the job for a reason that the coordinator does not know of. Nothing after the first time.
  void fail(const protocol::Failure& failure);

  void tick();
  [[nodiscard]] Instant next_deadline() const noexcept { return coordinator_.next_deadline(); }
  [[nodiscard]] protocol::Progress progress() const noexcept { return coordinator_.progress(); }
  [[nodiscard]] JobTotals totals() const noexcept;

 private:
  struct Withheld {
    std::uint64_t record_count = 0;  // As many records must be safe before.
    protocol::Effect effect;
    std::uint32_t incarnation = 0;                        // Of the rank that a Send is for.
    std::shared_ptr<const protocol::Report> report = {};  // That was handled, if one was.
  };

  void step(const protocol::Event& event);
  void persist(protocol::Record record);
  [[nodiscard]] bool may_carry_out(const protocol::Effect& effect) const noexcept;
  /// `incarnation` is of the rank that a Send is for.
  void carry_out(const protocol::Effect& effect, std::uint32_t incarnation,
                 const protocol::Report* report);
  void end_job(const protocol::Failure& failure);
  void tell_step_is_over(std::uint64_t step);
  void follow_sent(const protocol::Send& send, LoggedRank who, const protocol::Report* report);

  protocol::CoordinatorOptions options_;
  Hooks hooks_;
  const IClock& clock_;
  GrantLog& log_;
  protocol::Coordinator coordinator_;
  protocol::Effects effects_;                // Room that is used again.
  std::vector<std::uint32_t> incarnations_;  // By rank; 0 before it first joined.
  protocol::Progress latest_ = {};
  JobTotals earlier_ = {};  // Of the steps before latest_.step.
  bool ended_ = false;
  std::uint64_t persisted_count_ = 0;
  std::uint64_t safe_count_ = 0;
  bool accepts_nothing_ = false;   // No record outlives us any more.
  std::deque<Withheld> withheld_;  // In their order: effects that wait for records.
};

}  // namespace pinion
