#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/executor.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/protocol/messages.hpp>
#include <pinion/shard/step.hpp>

#include "engine/plan.hpp"

namespace pinion::engine {

/// A plan as the coordinator gets it.
struct SealedPlan {
  protocol::PlanReady message;
  Blob blob;             ///< What `message.plan` names.
  InputListing listing;  ///< Holds what `message.streams` name.
};

/// Seals a plan that this rank has, as that of the step. `listing` stays empty: the plan holds it.
/// Errors: those of the store.
[[nodiscard]] Result<SealedPlan> seal_plan(IJobContext& job, const StepSpec& spec,
                                           std::uint64_t step, const StepPlan& plan);

/// Those of a rank, by place.
[[nodiscard]] std::vector<protocol::PlaceWorkers> workers_of(const Executor& executor);

/// Lists the input of a step, cuts it with the step's planner for the places of `workers` (none:
/// those of this rank), and seals what the ranks need to run it. Blocks: for the file system.
/// Errors: those of listing and planner; kUnknown when the planner throws; kFailedPrecondition when
///   the planner breaks its contract.
[[nodiscard]] Result<SealedPlan> make_plan(IJobContext& job, const StepSpec& spec,
                                           std::uint64_t step,
                                           std::span<const protocol::PlaceWorkers> workers);

}  // namespace pinion::engine
