#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/protocol/rank_machine.hpp>
#include <pinion/shard/step.hpp>

#include "engine/step_board.hpp"
#include "engine/step_planning.hpp"
#include "engine/worker_loop.hpp"

namespace pinion::engine {

/// Runs one step on the program's thread: drives the rank's state machine with messages, finished
/// batches and time, and carries out what it asks for.
///
/// Thread safety: none; lives on the program's thread.
class StepRunner {
 public:
  /// Borrows both. Takes the next step number of the job.
  StepRunner(IJobContext& job, const StepSpec& spec);
  ~StepRunner();

  /// Blocks: until the step is over. Precondition: called once.
  [[nodiscard]] Result<StepOutcome> run();

 private:
  [[nodiscard]] Status await_event();
  [[nodiscard]] Status take_message(std::span<const std::byte> bytes);
  void take_finished();
  void say_need();
  void carry_out_effects();

  void carry_out(const protocol::SendMessage& effect);
  void carry_out(const protocol::StartPlanning& effect);
  void carry_out(const protocol::UsePlan& effect);
  void carry_out(const protocol::UsePartials& effect);
  void carry_out(const protocol::RunLeases& effect);
  void carry_out(const protocol::DropLeases& effect);
  void carry_out(const protocol::BatchSettled& effect);
  void carry_out(const protocol::NameSkipped& effect);
  void carry_out(const protocol::StepFinished& effect);

  void start_workers();
  void start_feeders();
  template <class Loop>
  void submit_loop(Executor& executor, Place place, Loop loop);
  [[nodiscard]] Place place_near(const IDevice& device) const;
  [[nodiscard]] Result<StepOutcome> outcome() const;
  [[nodiscard]] Result<std::vector<Blob>> open_result() const;
  [[nodiscard]] Status why_not_opened(const BlobHandle& partition, Status error) const;
  [[nodiscard]] std::string name_beside(std::uint64_t shard, const std::string& text) const;

  IJobContext& job_;
  const StepSpec& spec_;
  const std::uint64_t step_;
  IShardDevices* const devices_;  // Null where workers do all of the step.
  SystemClock clock_;
  protocol::RankMachine machine_;
  protocol::RankEffects effects_;
  StepBoard board_;
  std::optional<StepWork> work_;
  std::optional<SealedPlan> sealed_plan_;  // Of the rank that planned: kept until the step is over.
  std::shared_ptr<const OpenedPlan> plan_;
  std::shared_ptr<const Partials> partials_;  // As the board has them.
  struct Reported {
    Blob output;  // Kept until the coordinator has decided.
    std::uint64_t first_unit;
  };
  std::map<std::uint64_t, Reported> reported_;
  std::uint64_t last_report_ = 0;
  std::optional<protocol::StepFinished> finished_;
  Status broken_;  // Why this rank cannot go on with the step by itself.
};

}  // namespace pinion::engine
