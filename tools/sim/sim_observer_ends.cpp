#include <algorithm>
#include <string>
#include <utility>

#include "sim/sim_world.hpp"

// What the observer expects of steps that end, and of the job, and what they may leave behind.

namespace pinion::sim {

namespace {

constexpr std::size_t kAhead = 4;  // Partials whose memory is asked for before it is needed.

/// Two leases, what is due of them and of those that are over, its troubles and what follows from
/// these, its output with the digest.
constexpr std::uint64_t kRecordsOfUnitMax = 16;
/// Beside these, leases that are over and not worth looking for.
constexpr std::uint64_t kSpareRecordsMax = 100;

}  // namespace

/// Asked when the end of a step is announced: the kept partials hold each shard once, the kept
/// results are right.
void Observer::check_sink(const protocol::StepDone& done) {
  Step& ended = step(done.step);
  if (std::exchange(ended.done, true)) {
    return;
  }
  const StepShape& shape = world_.shape(done.step);
  std::vector<bool> counted(shape.shard_bytes.size());
  std::uint64_t count = 0;
  const std::vector<const BlobContent*> partials =
      world_.store().kept_of(done.step, BlobKind::kPartial);
  for (std::size_t i = 0; i < partials.size(); ++i) {
    __builtin_prefetch(partials[std::min(i + kAhead, partials.size() - 1)]->shards.data());
    for (const std::uint64_t shard : partials[i]->shards) {
      if (counted[shard] || shape.is_left_out(shard)) {
        world_.fail("shard " + std::to_string(shard) + " counts twice, or is to be left out");
      }
      counted[shard] = true;
      ++count;
    }
  }
  const std::uint64_t left_out = shape.left_out_count();
  world_.expect(count + left_out == shape.shard_bytes.size(),
                "a shard is missing from the kept partials");
  world_.expect(done.skipped_shard_count == left_out, "a wrong count of shards that are left out");
  world_.reached("a bad shard was left out", left_out > 0 && !shape.only_shard);
  world_.reached("one shard was run alone", shape.only_shard.has_value());
  world_.expect(done.shard_count == shape.shard_bytes.size(),
                "the step is done with a wrong shard count");
  std::uint64_t bytes = 0;
  for (std::uint64_t shard = 0; shard < shape.shard_bytes.size(); ++shard) {
    bytes += shape.is_left_out(shard) ? 0 : shape.shard_bytes[shard];
  }
  world_.expect(done.input_bytes == bytes, "the step is done with a wrong count of bytes");
  world_.reached("a step had no shards", shape.shard_bytes.empty());
  world_.reached("a step had no partitions", shape.partition_count == 0);
  world_.reached("a step was ordered", shape.map_units().ordered());
  ended.end = done;
  ended.units = {};
  check_result(done.step, done);
}

void Observer::check_result(std::uint64_t number, const protocol::StepDone& done) {
  const StepShape& shape = world_.shape(number);
  world_.expect(!shape.poison || shape.is_left_out(*shape.poison),
                "a step is done one of whose bodies never succeeds");
  world_.expect(done.partitions.size() == shape.partition_count, "a wrong count of partitions");
  for (std::uint32_t partition = 0; partition < done.partitions.size(); ++partition) {
    const BlobHandle& handle = done.partitions[partition];
    const Store& store = world_.store();
    const bool lost = store.lost(handle);
    world_.reached("a program had a result that was lost with its host", lost);
    const BlobContent* const result = lost ? &store.content_of(handle) : store.find_kept(handle);
    world_.expect(result != nullptr, "a result that the job does not hold");
    if (result != nullptr && result->sum != oracle(number, partition)) {
      world_.fail("partition " + std::to_string(partition) + " of step " + std::to_string(number) +
                  " has a wrong sum");
    }
  }
}

/// Only a step with a bad shard may fail, or one of whose shards failed too often and late, or with
/// one of whose units too many ranks died; the error names the shard or its run.
void Observer::check_failure(std::uint64_t number, const protocol::Failure& failure) {
  const StepShape& shape = world_.shape(number);
  const bool bad = shape.poison && !shape.is_left_out(*shape.poison);
  const bool late = worn_out_.contains(number);
  const auto says = [&failure](const char* words) {
    return failure.text.find(words) != std::string::npos;
  };
  const bool of_deaths = says("when they died");
  const bool names_it = says("shard") || (of_deaths && says("partition"));
  if (!(of_deaths ? deadly_.contains(number) : bad || late) || !names_it) {
    world_.fail("step " + std::to_string(number) + " failed: " + failure.text);
    return;
  }
  world_.reached("a step failed as ranks died with a unit", of_deaths);
  world_.reached("a step failed for a bad shard", bad && !late && !of_deaths);
  world_.reached("a step failed as a shard missed its deadline too often",
                 late && !bad && !of_deaths);
}

/// Of a job that is over, only the results of its steps are held.
void Observer::check_leftovers() {
  for (std::uint64_t number = 1; number <= steps_.size(); ++number) {
    const Step& ended = step(number);
    world_.expect(ended.done || ended.failed, "a step is not done");
    const Store& store = world_.store();
    world_.expect(store.kept_of(number, BlobKind::kPlan).empty(), "a plan is never released");
    world_.expect(store.kept_of(number, BlobKind::kPartial).empty(), "a partial is never released");
    world_.expect(store.kept_of(number, BlobKind::kCombined).empty(),
                  "combined partials are never released");
    const auto held = static_cast<std::ptrdiff_t>(store.kept_of(number, BlobKind::kResult).size());
    world_.expect(held == std::count_if(ended.end.partitions.begin(), ended.end.partitions.end(),
                                        [&store](const BlobHandle& result) {
                                          return store.find_kept(result) != nullptr;
                                        }),
                  "a result is held that nobody knows of");
  }
}

std::uint64_t Observer::record_count_max(std::uint64_t number, const StepShape& shape) const {
  const Step& of = steps_.at(number - 1);
  if (of.ended) {
    return 1 + shape.partition_count;  // Its results.
  }
  const SimOptions& options = world_.options();
  // Hosts, and pairs of them and of pairs, are fewer than twice the hosts.
  const std::uint64_t unit_count =
      shape.map_units().unit_count() + (1 + 2 * options.host_count) * shape.partition_count;
  return 1 + options.rank_count + of.report_count + kRecordsOfUnitMax * unit_count +
         kSpareRecordsMax;
}

std::uint64_t Observer::oracle(std::uint64_t number, std::uint32_t partition) {
  std::vector<std::uint64_t>& sums = step(number).oracle;
  if (sums.empty()) {
    sums = world_.shape(number).oracle();
  }
  return sums[partition];
}

}  // namespace pinion::sim
