// Partials of a host that are joined there before others pull them. Never a reason for a step to
// fail: what is not combined is merged partial by partial.

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "protocol/coordinator_state.hpp"

namespace pinion::protocol {
namespace {

// A plan of so many partitions on so many hosts has more messages than it may spare.
constexpr std::uint64_t kCombineUnitCountMax = 1U << 16U;

}  // namespace

/// Whether there is anything to combine. Once for a step: partials that are made again when a host
/// was lost are merged beside what is combined.
bool Coordinator::State::begin_combine(StepRecord& step) {
  if (!step.combines || std::exchange(step.may_not_combine, true) || step.partition_count == 0 ||
      step.map_units.ordered() || !has_other_hosts()) {
    return false;
  }
  choose_combined_hosts(step);
  const std::uint64_t unit_count = step.combined.size() * step.partition_count;
  if (unit_count == 0 || unit_count > kCombineUnitCountMax) {
    forget_combined(step);
    return false;
  }
  std::vector<UnitTraits> traits(unit_count);
  for (std::uint64_t unit = 0; unit < unit_count; ++unit) {
    traits[unit].place.host = step.combined[unit / step.partition_count].host;
  }
  step.combinations = LeaseTable(traits, static_cast<std::uint32_t>(ranks.size()));
  step.combinations.keep_to_hosts();
  return true;
}

/// Whether merges may run on more than one host.
bool Coordinator::State::has_other_hosts() const {
  return std::any_of(options.rank_hosts.begin(), options.rank_hosts.end(), [this](auto host) {
    return host != options.rank_hosts.front() && !is_lost(host);
  });
}

/// Precondition: the partials are in the order in which they are merged.
void Coordinator::State::choose_combined_hosts(StepRecord& step) {
  struct OfHost {
    std::uint64_t size_bytes = 0;
    std::uint64_t largest_bytes = 0;
    std::uint64_t count = 0;
  };
  std::map<std::uint32_t, OfHost> hosts;
  for (const PartialRecord& partial : step.partials) {
    OfHost& host = hosts[host_with(partial.blob, options.epoch)];
    host.size_bytes += partial.blob.length_bytes;
    host.largest_bytes = std::max(host.largest_bytes, partial.blob.length_bytes);
    ++host.count;
  }
  for (const auto& [host, partials] : hosts) {
    if (partials.count < 2 ||
        partials.size_bytes - partials.largest_bytes < options.combine_bytes_min) {
      continue;
    }
    step.combined.push_back({.host = host,
                             .member_bytes = partials.size_bytes,
                             .outputs = std::vector<BlobHandle>(step.partition_count)});
    for (PartialRecord& partial : step.partials) {
      if (host_with(partial.blob, options.epoch) == host) {
        partial.combined = static_cast<std::uint32_t>(step.combined.size());
      }
    }
  }
}

void Coordinator::State::forget_combined(StepRecord& step) {
  step.combined.clear();
  for (PartialRecord& partial : step.partials) {
    partial.combined = PartialRecord::kAlone;
  }
}

/// Units are not waited for that nobody could do at this moment.
void Coordinator::State::leave_unaided(StepRecord& step) {
  if (step.phase != Phase::kCombine || step.combinations.waiting_count() == 0) {
    return;
  }
  const std::uint64_t changes = step.sharer_changes + step.combinations.return_count();
  if (std::exchange(step.seen_changes, changes) == changes) {
    return;
  }
  std::set<std::uint32_t> aided;
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
    if (entered(step, rank) && !step.participants[rank].idle) {
      aided.insert(host_of(rank));
    }
  }
  for (std::uint32_t index = 0; index < step.combined.size(); ++index) {
    if (!aided.contains(step.combined[index].host)) {
      leave_uncombined(step, index);
    }
  }
  advance_stage(step);
}

/// What waits of that host; what is under way may still end well.
void Coordinator::State::leave_uncombined(StepRecord& step, std::uint32_t index) {
  const std::uint64_t begin = std::uint64_t{index} * step.partition_count;
  for (std::uint64_t unit = begin; unit < begin + step.partition_count; ++unit) {
    if (step.combinations.waits(unit)) {
      step.combinations.give_up(unit);
    }
  }
}

/// Whatever is wrong with a unit, its partials can be merged one by one, and where that fails too,
/// the merge says so. Precondition: it waits, unless another rank has it too.
void Coordinator::State::give_up_combining(StepRecord& step, std::uint64_t unit,
                                           const Failure& failure) {
  const auto index = static_cast<std::uint32_t>(unit / step.partition_count);
  leave_uncombined(step, index);
  if (!std::exchange(step.combined[index].is_known_to_fail, true)) {
    observe("step " + std::to_string(step.number) + " merges partials of host " +
            std::to_string(step.combined[index].host) +
            " without combining them first: " + failure.text);
  }
}

/// Where partials have little in common, what is left of them is better merged at once. Keys are
/// spread evenly over partitions.
void Coordinator::State::note_combined(StepRecord& step, std::uint64_t unit,
                                       const BlobHandle& output) {
  const auto index = static_cast<std::uint32_t>(unit / step.partition_count);
  CombinedHost& host = step.combined[index];
  host.outputs[unit % step.partition_count] = output;
  host.output_bytes += output.length_bytes;
  ++host.output_count;
  const std::uint64_t before = host.member_bytes / step.partition_count * host.output_count;
  if (host.output_bytes > before - before / 4) {
    leave_uncombined(step, index);
  }
}

/// What a rank of the step's stage needs to know.
MergeInputs Coordinator::State::inputs_for(const StepRecord& step, std::uint32_t rank) const {
  MergeInputs inputs{.step = step.number};
  const bool combines = step.phase == Phase::kCombine;
  if (!combines) {
    inputs.combined.resize(step.combined.size());
  }
  for (const PartialRecord& partial : step.partials) {
    if (combines) {
      if (partial.combined != PartialRecord::kAlone &&
          step.combined[partial.combined - 1].host == host_of(rank)) {
        inputs.partials.push_back(partial.blob);
      }
      continue;
    }
    if (partial.combined != PartialRecord::kAlone) {
      inputs.combined[partial.combined - 1].members.push_back(
          static_cast<std::uint32_t>(inputs.partials.size()));
    }
    inputs.partials.push_back(partial.blob);
  }
  for (std::size_t index = 0; index < inputs.combined.size(); ++index) {
    CombinedPartials& one = inputs.combined[index];
    if (step.combined[index].output_count == 0) {
      one.members.clear();
      continue;
    }
    one.outputs = step.combined[index].outputs;
    if (options.mutations.merge_members_too && one.members.size() > 1) {
      one.members.pop_back();
    }
  }
  std::erase_if(inputs.combined, [](const CombinedPartials& one) { return one.members.empty(); });
  return inputs;
}

}  // namespace pinion::protocol
