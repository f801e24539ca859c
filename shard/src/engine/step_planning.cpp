#include "engine/step_planning.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <utility>

#include "engine/input_source.hpp"
#include "engine/plan.hpp"
#include "engine/planner_parts.hpp"

namespace pinion::engine {
namespace {

using protocol::PlaceWorkers;

// The policy with what the job knows and the program does not.
PartitionPolicy job_policy(const Partitioning& partitioning,
                           std::span<const PlaceWorkers> workers) {
  PartitionPolicy policy = partitioning.policy;
  policy.places.clear();
  policy.place_worker_counts.clear();
  policy.worker_count = 0;
  for (const auto& [place, worker_count] : workers) {
    policy.places.push_back(place);
    policy.place_worker_counts.push_back(worker_count);
    policy.worker_count += worker_count;
  }
  return policy;
}

// The policy of an ordered step: nothing of it depends on the job.
PartitionPolicy ordered_policy(const Partitioning& partitioning) {
  PartitionPolicy policy = partitioning.policy;
  policy.places = {Place{}};
  policy.place_worker_counts.clear();
  policy.worker_count = kOrderedWorkerCount;
  return policy;
}

std::uint32_t ordered_batch_of(const Partitioning& partitioning, std::uint64_t shard_count) {
  if (!partitioning.is_ordered) {
    return 0;
  }
  return partitioning.batch_shard_count > 0 ? partitioning.batch_shard_count
                                            : choose_ordered_batch(shard_count);
}

void tell(const InputListing& listing) {
  if (!listing.left_out().empty()) {
    std::fprintf(stderr, "pinion: %s\n", listing.left_out().c_str());
  }
  for (const std::string& note : listing.notes()) {
    std::fprintf(stderr, "pinion: %s\n", note.c_str());
  }
}

Result<StepPlan> cut(IJobContext& job, const StepSpec& spec,
                     std::span<const PlaceWorkers> workers) {
  if (spec.partitioning.planner == nullptr) {
    return Status(ErrorCode::kInvalidArgument,
                  "the step has no planner; pass by_bytes(), by_index_range() or your own");
  }
  Result<InputListing> listing =
      InputListing::list(spec.input, job.store(), job.info().has_standard_input, job.info().epoch);
  if (!listing) {
    return std::move(listing).error();
  }
  tell(*listing);
  const PartitionPolicy policy = spec.partitioning.is_ordered
                                     ? ordered_policy(spec.partitioning)
                                     : job_policy(spec.partitioning, workers);
  Result<std::vector<ShardRange>> shards = spec.partitioning.planner->partition(*listing, policy);
  if (!shards) {
    return std::move(shards).error();
  }
  StepPlan plan;
  plan.shards = spec.partitioning.planner->coalesce(std::move(*shards), policy);
  plan.listing = std::move(*listing);
  plan.partition_count = spec.partition_count;
  plan.alignment = policy.alignment;
  if (const std::string flaw = find_flaw(plan); !flaw.empty()) {
    return Status(ErrorCode::kFailedPrecondition, "the planner broke its contract: " + flaw);
  }
  if (spec.partitioning.is_ordered) {
    // Where shards would rather be worked on changes nothing but the speed.
    deal(plan.shards, plan.listing, job_policy(spec.partitioning, workers), weight_of);
  }
  return plan;
}

protocol::Priority to_protocol(ShardPriority priority) {
  switch (priority) {
    case ShardPriority::kHigh:
      return protocol::Priority::kHigh;
    case ShardPriority::kLow:
      return protocol::Priority::kLow;
    case ShardPriority::kNormal:
      break;
  }
  return protocol::Priority::kNormal;
}

Result<Blob> seal(IJobContext& job, const StepPlan& plan) {
  const std::vector<std::byte> bytes = encode(plan);
  Result<BlobWriter> writer =
      job.store().create(bytes.size(), job.executor().groups().front().place);
  if (!writer) {
    return std::move(writer).error();
  }
  std::copy(bytes.begin(), bytes.end(), writer->bytes().begin());
  return writer->seal();
}

Result<SealedPlan> make_sealed_plan(IJobContext& job, const StepSpec& spec, std::uint64_t step,
                                    std::span<const PlaceWorkers> workers) {
  Result<StepPlan> plan = cut(job, spec, workers);
  if (!plan) {
    return Status(plan.error());
  }
  Result<SealedPlan> sealed = seal_plan(job, spec, step, *plan);
  if (sealed) {
    sealed->listing = std::move(plan->listing);
  }
  return sealed;
}

}  // namespace

Result<SealedPlan> seal_plan(IJobContext& job, const StepSpec& spec, std::uint64_t step,
                             const StepPlan& plan) {
  Result<Blob> blob = seal(job, plan);
  if (!blob) {
    return std::move(blob).error().with_context("sealing the plan");
  }
  SealedPlan sealed = {.message = {.step = step,
                                   .plan = blob->handle(),
                                   .partition_count = spec.partition_count,
                                   .ordered_batch_shard_count =
                                       ordered_batch_of(spec.partitioning, plan.shards.size()),
                                   .shard_deadline = spec.partitioning.shard_deadline,
                                   .combines = spec.combines},
                       .blob = std::move(*blob),
                       .listing = {}};
  for (const ShardRange& shard : plan.shards) {
    sealed.message.shards.push_back(
        {.weight = shard.weight, .place = shard.place, .priority = to_protocol(shard.priority)});
  }
  for (const InputSource& source : plan.listing.sources()) {
    // Blobs that were given belong to the program; those of standard input to the step.
    if (is_stream(source)) {
      sealed.message.streams.push_back(source.blob);
    }
  }
  return sealed;
}

std::vector<PlaceWorkers> workers_of(const Executor& executor) {
  std::vector<PlaceWorkers> workers;
  for (const WorkerGroup& group : executor.groups()) {
    workers.push_back(
        {.place = group.place, .worker_count = static_cast<std::uint32_t>(group.worker_count)});
  }
  return workers;
}

Result<SealedPlan> make_plan(IJobContext& job, const StepSpec& spec, std::uint64_t step,
                             std::span<const PlaceWorkers> workers) {
  // The planner is code of the user.
  try {
    return workers.empty() ? make_sealed_plan(job, spec, step, workers_of(job.executor()))
                           : make_sealed_plan(job, spec, step, workers);
  } catch (const std::bad_alloc&) {
    return Status(ErrorCode::kResourceExhausted, "out of memory while planning");
  } catch (const std::exception& error) {
    return Status(ErrorCode::kUnknown, std::string("the planner threw: ") + error.what());
  } catch (...) {
    return Status(ErrorCode::kUnknown, "the planner threw something that is not a std::exception");
  }
}

}  // namespace pinion::engine
