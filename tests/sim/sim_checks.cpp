#include <algorithm>
#include <set>
#include <string>

#include "sim/sim_world.hpp"

namespace pinion::sim {

void World::expect(bool condition, const std::string& violation) {
  if (!condition && violation_.empty()) {
    violation_ = "at " + std::to_string(now().time_since_epoch().count()) + " ns: " + violation;
  }
}

/// Fences grow over the whole job, and a step that is done is not worked on again.
void World::check_grant(std::uint32_t rank, const protocol::Grant& grant) {
  expect(!done_steps_.contains(grant.step), "a lease of a step that is done");
  for (const protocol::Lease& lease : grant.leases) {
    expect(lease.fence > newest_fence_, "a fence that is not greater than the last");
    newest_fence_ = lease.fence;
    const UnitName name{.step = grant.step, .stage = grant.stage, .unit = lease.unit};
    probes_.second_grants += newest_grants_.contains(name) ? 1 : 0;
    probes_.second_attempts += grant.second_attempt ? 1 : 0;
    std::vector<NewestGrant>& newest = newest_grants_[name];
    if (grant.second_attempt) {
      // One of the earlier ones may have ended by now; only the coordinator knows which.
      std::erase_if(newest, [rank](const NewestGrant& earlier) { return earlier.rank == rank; });
      expect(!newest.empty(), "a second attempt of what nobody else tries");
    } else {
      newest.clear();
    }
    newest.push_back(
        {.fence = lease.fence, .rank = rank, .incarnation = ranks_[rank].incarnation_known});
  }
}

/// A report may be accepted only from the life of the rank that got the newest grant of each unit,
/// and only while that life is the newest that the coordinator's host knows.
void World::check_acceptance(const protocol::MessageReceived& received,
                             const protocol::Effects& effects) {
  const auto* report = std::get_if<protocol::Report>(&received.message);
  if (report == nullptr) {
    return;
  }
  bool kept = false;
  for (const protocol::Effect& effect : effects) {
    if (const auto* keep = std::get_if<protocol::Keep>(&effect)) {
      kept = kept || keep->blob == report->output;
    }
  }
  if (!kept) {
    return;
  }
  const protocol::Envelope& from = received.envelope;
  expect(from.incarnation == ranks_[from.rank].incarnation_known,
         "a report of a fenced life is accepted");
  for (const protocol::Lease& lease : report->batch) {
    const auto newest =
        newest_grants_.find({.step = report->step, .stage = report->stage, .unit = lease.unit});
    expect(newest != newest_grants_.end() &&
               std::any_of(newest->second.begin(), newest->second.end(),
                           [&](const NewestGrant& grant) {
                             return grant.fence == lease.fence && grant.rank == from.rank &&
                                    grant.incarnation == from.incarnation;
                           }),
           "a report is accepted whose lease of unit " + std::to_string(lease.unit) +
               " is not the newest");
  }
}

/// Asked when the end of a step is announced: the kept partials hold each shard once, the kept
/// results are right.
void World::check_sink(const protocol::StepDone& done) {
  if (done_steps_.contains(done.step)) {
    ++probes_.fast_forwards;
    return;
  }
  const StepShape shape = options_.shape_of(done.step);
  std::set<std::uint64_t> shards;
  for (const BlobContent* partial : store_.kept_of(done.step, BlobKind::kPartial)) {
    for (const std::uint64_t shard : partial->shards) {
      expect(shards.insert(shard).second, "shard " + std::to_string(shard) + " counts twice");
    }
  }
  expect(shards.size() == shape.shard_bytes.size(), "a shard is missing from the kept partials");
  expect(done.shard_count == shape.shard_bytes.size(), "the step is done with a wrong shard count");
  std::uint64_t bytes = 0;
  for (const std::uint64_t shard_bytes : shape.shard_bytes) {
    bytes += shard_bytes;
  }
  expect(done.input_bytes == bytes, "the step is done with a wrong count of bytes");
  check_result(done.step, done);
  done_steps_[done.step] = done;
}

/// What a program is given as the result of a step.
void World::check_result(std::uint64_t step, const protocol::StepDone& done) {
  const StepShape shape = options_.shape_of(step);
  expect(done.partitions.size() == shape.partition_count, "a wrong count of partitions");
  for (std::uint32_t partition = 0; partition < done.partitions.size(); ++partition) {
    const BlobContent* const result = store_.find_kept(done.partitions[partition]);
    expect(result != nullptr, "a result that the job does not hold");
    expect(result == nullptr || result->sums.front() == options_.oracle(step, partition),
           "partition " + std::to_string(partition) + " of step " + std::to_string(step) +
               " has a wrong sum");
  }
}

/// Of a job that is over, only the results of its steps are held.
void World::check_leftovers() {
  expect(done_steps_.size() == options_.step_count, "a step is not done");
  for (const auto& [step, done] : done_steps_) {
    expect(store_.kept_of(step, BlobKind::kPlan).empty(), "a plan is never released");
    expect(store_.kept_of(step, BlobKind::kPartial).empty(), "a partial is never released");
    expect(store_.kept_of(step, BlobKind::kResult).size() == done.partitions.size(),
           "a result is held that nobody knows of");
  }
}

}  // namespace pinion::sim
