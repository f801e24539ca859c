#include "sim/sim_mutations.hpp"

#include <algorithm>
#include <array>

namespace pinion::sim {
namespace {

using O = SimOptions;

constexpr std::array kMutations = std::to_array<MutationInfo>({
    {"no-fence", [](O& of) -> bool& { return of.mutations.accept_stale_fence; }},
    {"accept-twice", [](O& of) -> bool& { return of.mutations.accept_twice; }},
    {"forget-lost-leases", [](O& of) -> bool& { return of.mutations.forget_lost_leases; }},
    {"merge-in-order-of-reports",
     [](O& of) -> bool& { return of.mutations.merge_in_order_of_reports; }},
    {"accept-stale-epoch", [](O& of) -> bool& { return of.mutations.accept_stale_epoch; }},
    {"accept-older-life", [](O& of) -> bool& { return of.mutations.accept_older_life; }},
    {"reuse-fences", [](O& of) -> bool& { return of.mutations.reuse_fences; }},
    {"extend-any-lease", [](O& of) -> bool& { return of.mutations.extend_any_lease; }},
    {"ignore-digests", [](O& of) -> bool& { return of.mutations.ignore_digests; }},
    {"retry-for-ever", [](O& of) -> bool& { return of.mutations.retry_for_ever; }},
    {"keep-partials-of-lost-host",
     [](O& of) -> bool& { return of.mutations.keep_partials_of_lost_host; }},
    {"forget-deadlines", [](O& of) -> bool& { return of.mutations.forget_deadlines; }},
    {"merge-members-too", [](O& of) -> bool& { return of.mutations.merge_members_too; }},
    {"keep-pairs-of-lost-host",
     [](O& of) -> bool& { return of.mutations.keep_pairs_of_lost_host; }},
    {"plan-for-the-planner", [](O& of) -> bool& { return of.mutations.plan_for_the_planner; }},
    {"keep-ended-steps", [](O& of) -> bool& { return of.mutations.keep_ended_steps; }},
    {"forget-give-back", [](O& of) -> bool& { return of.rank_mutations.forget_give_back; }},
    {"wall-clock", [](O& of) -> bool& { return of.driver_mutations.wall_clock; }},
    {"release-before-accept",
     [](O& of) -> bool& { return of.driver_mutations.release_before_accept; }},
    {"reply-before-sync", [](O& of) -> bool& { return of.driver_mutations.reply_before_sync; }},
    {"cut-log-early", [](O& of) -> bool& { return of.driver_mutations.cut_log_early; }},
    {"believe-torn-snapshot",
     [](O& of) -> bool& { return of.driver_mutations.journal.believe_torn_snapshot; }},
    {"ignore-damage", [](O& of) -> bool& { return of.driver_mutations.ignore_damage; }},
    {"double-timer", [](O& of) -> bool& { return of.driver_mutations.double_timer; }},
});

}  // namespace

std::span<const MutationInfo> mutation_table() {
  return kMutations;
}

const MutationInfo* find_mutation(std::string_view name) {
  const auto* const found =
      std::find_if(kMutations.begin(), kMutations.end(),
                   [name](const MutationInfo& mutation) { return mutation.name == name; });
  return found == kMutations.end() ? nullptr : found;
}

}  // namespace pinion::sim
