// Partials that are joined before others pull them: those of a host there, and where the owners of
// partitions would get too much at once, those of pairs of hosts, and of pairs of these. Never a
// reason for a step to fail: what is not combined is merged partial by partial.

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "protocol/coordinator_state.hpp"

namespace pinion::protocol {

/// Whether there is anything to combine. Once for a step: partials that are made again when a host
/// was lost are merged beside what is combined.
bool Coordinator::State::begin_combine(StepRecord& step) {
  const std::uint32_t host_count = live_host_count();
  if (!step.combines || std::exchange(step.may_not_combine, true) || step.map_units.ordered() ||
      host_count < 2) {
    return false;
  }
  choose_combined_groups(step, host_count);
  return begin_level(step, 0);
}

/// The same of the groups of this level, or of the next that has any. Those of a level are combined
/// when all below are settled, as its inputs are told to a rank once.
bool Coordinator::State::begin_level(StepRecord& step, std::uint32_t level) {
  if (step.has_little_in_common) {
    return false;
  }
  leave_failing(step);
  const auto next = std::find_if(
      step.combined.begin(), step.combined.end(),
      [level](const CombinedGroup& group) { return group.level >= level && !group.is_left; });
  if (next == step.combined.end()) {
    return false;
  }
  step.combine_level = next->level;
  step.seen_changes = std::numeric_limits<std::uint64_t>::max();
  // Of all levels, so that the number of a unit says which it is of.
  std::vector<UnitTraits> traits(step.combined.size() * step.partition_count);
  for (std::uint64_t unit = 0; unit < traits.size(); ++unit) {
    traits[unit].place.host = host_for_unit(step, unit);
  }
  step.combinations = LeaseTable(traits, static_cast<std::uint32_t>(ranks.size()));
  step.combinations.keep_to_hosts();
  for (std::uint32_t index = 0; index < step.combined.size(); ++index) {
    CombinedGroup& group = step.combined[index];
    if (group.level != step.combine_level || group.is_left) {
      leave_uncombined(step, index);
    } else {
      prepare_group(step, group);
    }
  }
  return true;
}

/// What could not be combined is not pulled to another host to be tried there.
void Coordinator::State::leave_failing(StepRecord& step) {
  for (CombinedGroup& group : step.combined) {
    if (group.is_known_to_fail && group.parent != CombinedGroup::kNone) {
      CombinedGroup& outer = step.combined[group.parent];
      outer.is_known_to_fail = true;
      outer.is_left = true;
    }
  }
}

/// Before its units are granted: what it is made of is known now.
void Coordinator::State::prepare_group(StepRecord& step, CombinedGroup& group) {
  group.outputs.resize(step.partition_count);
  if (group.level == 0) {
    return;
  }
  for (const std::uint32_t child : group.children) {
    const CombinedGroup& part = step.combined[child];
    const bool is_whole = part.output_count == step.partition_count;
    group.member_bytes += is_whole ? part.output_bytes : part.member_bytes;
  }
}

std::uint32_t Coordinator::State::host_for_unit(const StepRecord& step, std::uint64_t unit) {
  return host_for(step.combined, step.combined[unit / step.partition_count],
                  static_cast<std::uint32_t>(unit % step.partition_count));
}

/// Hosts that can have something to do.
std::uint32_t Coordinator::State::live_host_count() const {
  const std::set<std::uint32_t> hosts(options.rank_hosts.begin(), options.rank_hosts.end());
  return static_cast<std::uint32_t>(
      std::count_if(hosts.begin(), hosts.end(), [this](auto host) { return !is_lost(host); }));
}

/// Precondition: the partials are in the order in which they are merged.
void Coordinator::State::choose_combined_groups(StepRecord& step, std::uint32_t host_count) {
  std::map<std::uint32_t, PartialsOfHost> hosts;
  for (const PartialRecord& partial : step.partials) {
    const std::uint32_t number = host_with(partial.blob, options.epoch);
    PartialsOfHost& host = hosts[number];
    host.host = number;
    host.size_bytes += partial.blob.length_bytes;
    host.largest_bytes = std::max(host.largest_bytes, partial.blob.length_bytes);
    ++host.count;
  }
  std::vector<PartialsOfHost> known;
  for (const auto& [number, host] : hosts) {
    known.push_back(host);
  }
  step.combined = choose_groups(known, {.partition_count = step.partition_count,
                                        .host_count = host_count,
                                        .bytes_min = options.combine_bytes_min,
                                        .unit_count_max = MergeInputs::kOutputCountMax});
  std::map<std::uint32_t, std::uint32_t> group_of;
  for (std::uint32_t index = 0; index < step.combined.size(); ++index) {
    if (step.combined[index].level == 0) {
      group_of[step.combined[index].hosts.front()] = index;
    }
  }
  for (PartialRecord& partial : step.partials) {
    const auto found = group_of.find(host_with(partial.blob, options.epoch));
    partial.group = found == group_of.end() ? CombinedGroup::kNone : found->second;
  }
}

/// What has something of the host's in it: its partials are made again. Precondition: what lay
/// there is gone.
void Coordinator::State::lose_combined(StepRecord& step, std::uint32_t host) {
  for (CombinedGroup& group : step.combined) {
    if (!std::binary_search(group.hosts.begin(), group.hosts.end(), host) ||
        (group.level > 0 && options.mutations.keep_pairs_of_lost_host)) {
      continue;
    }
    for (BlobHandle& output : group.outputs) {
      if (!lies_on(output, host, options.epoch)) {
        release(output);
      }
      output = {};
    }
    group.output_count = 0;
    group.output_bytes = 0;
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
  const std::uint64_t unit_count = step.combined.size() * step.partition_count;
  for (std::uint64_t unit = 0; unit < unit_count; ++unit) {
    if (!step.combinations.waits(unit) || aided.contains(host_for_unit(step, unit))) {
      continue;
    }
    const Trouble* const trouble = step.combinations.trouble_of(unit);
    if (trouble != nullptr && trouble->death_count > 0) {
      step.combined[unit / step.partition_count].is_known_to_fail = true;
    }
    step.combinations.give_up(unit);
  }
  advance_stage(step);
  leave_unaided(step);  // Of the level that may have begun.
}

/// What waits of that group; what is under way may still end well.
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
  CombinedGroup& group = step.combined[index];
  if (!std::exchange(group.is_known_to_fail, true)) {
    observe("step " + std::to_string(step.number) + " merges partials of " + group.in_words() +
            " without combining them first: " + failure.text);
  }
}

/// Where partials have little in common, what is left of them is better merged at once. Keys are
/// spread evenly over partitions.
void Coordinator::State::note_combined(StepRecord& step, std::uint64_t unit,
                                       const BlobHandle& output) {
  const auto index = static_cast<std::uint32_t>(unit / step.partition_count);
  CombinedGroup& group = step.combined[index];
  group.outputs[unit % step.partition_count] = output;
  group.output_bytes += output.length_bytes;
  ++group.output_count;
  const std::uint64_t before = group.member_bytes / step.partition_count * group.output_count;
  if (group.output_bytes > before - before / 4) {
    step.has_little_in_common = true;
    leave_uncombined(step, index);
  }
}

/// What a rank of the step's stage needs to know.
MergeInputs Coordinator::State::inputs_for(const StepRecord& step, std::uint32_t rank) const {
  MergeInputs inputs{.step = step.number};
  const bool combines = step.phase == Phase::kCombine;
  const std::uint32_t level_end =
      combines ? step.combine_level : std::numeric_limits<std::uint32_t>::max();
  std::vector<std::vector<std::uint32_t>> members(step.combined.size());
  for (const PartialRecord& partial : step.partials) {
    if (combines && !is_combined_by(step, partial, host_of(rank))) {
      continue;
    }
    const auto place = static_cast<std::uint32_t>(inputs.partials.size());
    for (std::uint32_t group = partial.group;
         group != CombinedGroup::kNone && step.combined[group].level < level_end;
         group = step.combined[group].parent) {
      members[group].push_back(place);
    }
    inputs.partials.push_back(partial.blob);
  }
  for (std::size_t index = 0; index < step.combined.size(); ++index) {
    if (members[index].empty() || step.combined[index].output_count == 0) {
      continue;
    }
    CombinedPartials one{.members = std::move(members[index]),
                         .outputs = outermost_outputs(step, step.combined[index], level_end)};
    if (options.mutations.merge_members_too && one.members.size() > 1) {
      one.members.pop_back();
    }
    const bool is_any = std::any_of(one.outputs.begin(), one.outputs.end(),
                                    [](const BlobHandle& blob) { return blob != BlobHandle{}; });
    if (is_any) {
      inputs.combined.push_back(std::move(one));
    }
  }
  return inputs;
}

/// Whether a host takes part in combining it, at the step's level.
bool Coordinator::State::is_combined_by(const StepRecord& step, const PartialRecord& partial,
                                        std::uint32_t host) {
  std::uint32_t group = partial.group;
  while (group != CombinedGroup::kNone && step.combined[group].level < step.combine_level) {
    group = step.combined[group].parent;
  }
  if (group == CombinedGroup::kNone) {
    return false;
  }
  const CombinedGroup& found = step.combined[group];
  return found.level == step.combine_level && !found.is_left &&
         std::binary_search(found.hosts.begin(), found.hosts.end(), host);
}

/// Those that are in no output of a group around it.
std::vector<BlobHandle> Coordinator::State::outermost_outputs(const StepRecord& step,
                                                              const CombinedGroup& group,
                                                              std::uint32_t level_end) {
  std::vector<BlobHandle> outputs = group.outputs;
  for (std::uint32_t outer = group.parent;
       outer != CombinedGroup::kNone && step.combined[outer].level < level_end;
       outer = step.combined[outer].parent) {
    const std::vector<BlobHandle>& theirs = step.combined[outer].outputs;
    for (std::size_t partition = 0; partition < theirs.size(); ++partition) {
      if (theirs[partition] != BlobHandle{}) {
        outputs[partition] = {};
      }
    }
  }
  return outputs;
}

}  // namespace pinion::protocol
