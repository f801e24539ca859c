#include "sim/sim_observer.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "sim/sim_world.hpp"

namespace pinion::sim {

using protocol::Effects;
using protocol::Lease;
using protocol::Stage;

namespace {

template <class Message>
const Message* find_sent(const Effects& effects, std::uint32_t rank) {
  for (const protocol::Effect& effect : effects) {
    const auto* send = std::get_if<protocol::Send>(&effect);
    if (send != nullptr && send->rank == rank) {
      if (const auto* message = std::get_if<Message>(&send->message)) {
        return message;
      }
    }
  }
  return nullptr;
}

bool keeps(const Effects& effects, const BlobHandle& blob) {
  return std::any_of(effects.begin(), effects.end(), [&blob](const protocol::Effect& effect) {
    const auto* keep = std::get_if<protocol::Keep>(&effect);
    return keep != nullptr && keep->blob == blob;
  });
}

std::string unit_text(std::uint64_t unit) {
  return "unit " + std::to_string(unit);
}

}  // namespace

Observer::Observer(World& world)
    : world_(world),
      live_(world.options().rank_count),
      drained_(world.options().rank_count),
      places_(world.options().rank_count),
      steps_(world.options().step_count) {}

void Observer::decided(const protocol::Event& event, const Effects& effects) {
  check_deadlines();
  if (const auto* joined = std::get_if<protocol::RankJoined>(&event)) {
    if (!lost_hosts_.contains(world_.host_of(joined->rank))) {
      if (joined->incarnation > live_[joined->rank]) {
        on_death(joined->rank);  // If another life was there.
      }
      live_[joined->rank] = std::max(live_[joined->rank], joined->incarnation);
    }
  } else if (const auto* lost = std::get_if<protocol::RankLost>(&event)) {
    if (lost->incarnation >= live_[lost->rank]) {
      on_death(lost->rank);
      live_[lost->rank] = 0;
    }
  } else if (const auto* received = std::get_if<protocol::MessageReceived>(&event)) {
    const protocol::Envelope& from = received->envelope;
    if (from.epoch != world_.epoch()) {
      const auto* report = std::get_if<protocol::Report>(&received->message);
      world_.expect(report == nullptr || !keeps(effects, report->output),
                    "a report of another epoch is accepted");
      world_.expect(effects.empty(), "a message of another epoch has effects");
    } else if (const auto* enter = std::get_if<protocol::EnterStep>(&received->message)) {
      world_.reached(
          "a rank had a step that was done before it came",
          find_sent<protocol::StepDone>(effects, from.rank) != nullptr && step(enter->step).done);
    } else if (const auto* registered = std::get_if<protocol::Register>(&received->message)) {
      const auto* answer = find_sent<protocol::Registered>(effects, from.rank);
      if (answer != nullptr && answer->failure.code == ErrorCode::kOk) {
        places_[from.rank] = {from.incarnation, registered->places.front()};
      }
    } else if (std::holds_alternative<protocol::Drain>(received->message)) {
      drained_[from.rank] =
          from.incarnation == live_[from.rank] ? from.incarnation : drained_[from.rank];
    } else if (const auto* plan = std::get_if<protocol::PlanReady>(&received->message)) {
      world_.reached("a plan was made again",
                     keeps(effects, plan->plan) && std::exchange(step(plan->step).planned, true));
    } else if (const auto* heartbeat = std::get_if<protocol::Heartbeat>(&received->message)) {
      on_heartbeat(from, *heartbeat, effects);
    } else if (const auto* report = std::get_if<protocol::Report>(&received->message)) {
      on_report(from, *report, effects);
    } else if (const auto* failed = std::get_if<protocol::BatchFailed>(&received->message)) {
      on_failed(from, *failed);
    } else if (const auto* given = std::get_if<protocol::GiveBack>(&received->message)) {
      on_return(from, given->step, given->stage, given->leases);
    }
  }
  for (const protocol::Effect& effect : effects) {
    if (const auto* send = std::get_if<protocol::Send>(&effect)) {
      if (const auto* grant = std::get_if<protocol::Grant>(&send->message)) {
        on_grant(send->rank, *grant);
      } else if (const auto* failed = std::get_if<protocol::StepFailed>(&send->message)) {
        step(failed->step).failed = true;
        step(failed->step).ended = true;
      } else if (const auto* done = std::get_if<protocol::StepDone>(&send->message)) {
        step(done->step).ended = true;
      } else if (const auto* make = std::get_if<protocol::MakePlan>(&send->message)) {
        on_make_plan(send->rank, *make);
      } else if (std::holds_alternative<protocol::Drained>(send->message)) {
        on_drained(send->rank);
      } else if (const auto* ack = std::get_if<protocol::HeartbeatAck>(&send->message);
                 ack != nullptr && ack->sent_ns == protocol::HeartbeatAck::kUnasked) {
        on_taken_away(of_life(send->rank), *ack);
      }
    } else if (std::holds_alternative<protocol::EndJob>(effect)) {
      due_.clear();
    } else if (!lost_hosts_.empty()) {
      check_nothing_of_a_lost_host(effect);
    }
  }
}

void Observer::on_drained(std::uint32_t rank) {
  world_.reached("a rank was drained");
  for (const Step& of : steps_) {
    for (std::size_t stage = 0; stage < of.units.size() && !of.done && !of.failed; ++stage) {
      const WatchedUnits& units = of.units[stage];
      for (const Unit& unit : units.all()) {
        for (const Grant& grant : units.grants_of(unit)) {
          const bool holds = grant.counter != 0 && !unit.accepted && grant.rank == rank &&
                             grant.incarnation == live_[rank] && grant.expires > world_.now();
          world_.expect(!holds, "a rank is told that it is drained, and has a lease");
        }
      }
    }
  }
}

void Observer::check_nothing_of_a_lost_host(const protocol::Effect& effect) {
  BlobHandle blob;
  if (const auto* keep = std::get_if<protocol::Keep>(&effect)) {
    blob = keep->blob;
  } else if (const auto* release = std::get_if<protocol::Release>(&effect)) {
    blob = release->blob;
  }
  world_.expect(!lost_hosts_.contains(host_with(blob, world_.epoch())),
                "a blob of a lost host is kept or released");
}

/// What was accepted with blobs that lay there is open again, and nobody of that host is heard.
void Observer::host_lost(std::uint32_t host) {
  if (!lost_hosts_.insert(host).second) {
    return;
  }
  for (std::uint32_t rank = 0; rank < live_.size(); ++rank) {
    live_[rank] = world_.host_of(rank) == host ? 0 : live_[rank];
  }
  std::erase_if(untold_, [&](const auto& report) {
    return world_.host_of(std::get<0>(report.first)) == host;
  });
  for (const BlobContent* blob : world_.store().kept_on(host)) {
    if (step(blob->step).ended) {
      continue;
    }
    const auto reopen = [&](Stage stage, std::uint64_t number) {
      if (Unit* const unit = find(blob->step, stage, number)) {
        world_.reached("a unit was open again as its output was lost with its host");
        unit->accepted = false;
        unit->told = false;
      }
    };
    if (blob->kind == BlobKind::kCombined) {
      world_.reached("combined partials were lost with their host");
      continue;
    }
    const std::uint64_t shards_per_unit = world_.shape(blob->step).map_units().shards_per_unit();
    for (const std::uint64_t shard : blob->shards) {
      reopen(Stage::kMap, shard / shards_per_unit);
    }
    if (blob->kind == BlobKind::kResult) {
      reopen(Stage::kMerge, blob->partition);
    }
    world_.reached("a plan was lost with its host", blob->kind == BlobKind::kPlan);
  }
}

void Observer::told(std::uint32_t rank, const protocol::Message& message) {
  if (const auto* done = std::get_if<protocol::StepDone>(&message)) {
    check_sink(*done);
  } else if (const auto* verdict = std::get_if<protocol::Verdict>(&message)) {
    const auto found = untold_.find({rank, verdict->step, verdict->stage, verdict->report});
    if (verdict->failure.code != ErrorCode::kOk || found == untold_.end()) {
      return;
    }
    for (const std::uint64_t number : found->second) {
      if (Unit* const unit = find(verdict->step, verdict->stage, number)) {
        unit->told = true;
      }
    }
    untold_.erase(found);
  }
}

void Observer::resumed(std::span<const protocol::Record> records, bool damaged) {
  std::vector<Step> before = std::exchange(steps_, std::vector<Step>(steps_.size()));
  std::fill(live_.begin(), live_.end(), 0);
  std::fill(drained_.begin(), drained_.end(), 0);
  std::fill(places_.begin(), places_.end(), std::pair<std::uint32_t, Place>());
  lost_hosts_.clear();
  due_.clear();
  newest_fence_ = {.epoch = world_.epoch()};
  untold_.clear();
  std::uint64_t last = 0;
  for (const protocol::Record& record : records) {
    take_over(record);
    if (const auto* opened = std::get_if<protocol::StepOpened>(&record)) {
      last = std::max(last, opened->step);
    }
  }
  if (last > 0) {
    world_.reached("the head was resumed in the middle of a step", !step(last).done);
    world_.reached("the head was resumed with a step that was done", step(1).done);
    // A step that failed goes on as if it had not, when no other has followed.
    if (std::exchange(step(last).failed, false)) {
      step(last).ended = false;
    }
  }
  if (!damaged) {
    check_nothing_told_is_forgotten(before);
  }
}

void Observer::take_over(const protocol::Record& record) {
  if (const auto* opened = std::get_if<protocol::StepOpened>(&record)) {
    step(opened->step) = {};
  } else if (const auto* accepted = std::get_if<protocol::UnitsAccepted>(&record)) {
    for (const std::uint64_t number : accepted->units) {
      if (Unit* const unit = find(accepted->step, accepted->stage, number)) {
        unit->accepted = true;
      }
    }
  } else if (const auto* ended = std::get_if<protocol::StepEnded>(&record)) {
    Step& over = step(ended->step);
    over.done = ended->failure.code == ErrorCode::kOk;
    over.failed = !over.done;
    over.ended = true;
    over.end.partitions = ended->results;
  }
}

/// Replies come behind what they speak of.
void Observer::check_nothing_told_is_forgotten(const std::vector<Step>& before) {
  for (std::size_t i = 0; i < before.size(); ++i) {
    Step& now = steps_[i];
    if (now.done || before[i].failed) {
      continue;
    }
    world_.expect(!before[i].done, "a step that ranks were told is done is forgotten");
    for (std::size_t stage = 0; stage < now.units.size(); ++stage) {
      const WatchedUnits& units = before[i].units[stage];
      for (std::size_t unit = 0; unit < units.size(); ++unit) {
        const bool forgotten = units[unit].told && (unit >= now.units[stage].size() ||
                                                    !now.units[stage][unit].accepted);
        world_.expect(!forgotten, "an acceptance that a rank was told of is forgotten");
        if (units[unit].told && !forgotten) {
          now.units[stage][unit].told = true;
        }
      }
    }
  }
}

/// Fences grow over the whole job, a unit has one holder whose lease is live, and what is done is
/// not worked on again.
void Observer::on_grant(std::uint32_t rank, const protocol::Grant& grant) {
  if (grant.leases.empty()) {
    world_.reached("a claim had to wait");
    return;
  }
  world_.expect(!step(grant.step).done, "a lease of a step that is done");
  world_.expect(drained_[rank] == 0 || drained_[rank] != live_[rank],
                "a lease for a rank that drains");
  WatchedUnits& units = units_of(grant.step, grant.stage);
  make_ready(units, grant.leases);
  const StepShape& shape = world_.shape(grant.step);
  const bool restricted = shape.has_devices || shape.only_shard.has_value();
  const Duration deadline = grant.stage == Stage::kMap ? shape.shard_deadline : Duration::zero();
  for (const Lease& lease : grant.leases) {
    world_.expect(lease.fence > newest_fence_, "a fence that is not greater than the last");
    newest_fence_ = lease.fence;
    if (lease.unit >= units.size()) {
      world_.fail("a lease of " + unit_text(lease.unit) + ", which the step does not have");
      return;
    }
    Unit& unit = units[lease.unit];
    world_.expect(!unit.accepted, "a lease of a unit that is accepted");
    world_.expect(!grant.second_attempt || world_.options().second_attempts,
                  "a second attempt where there is to be none");
    if (restricted) {
      check_fits(rank, grant, lease.unit);
    }
    if (unit.grants != 0 && live_count(units.grants_of(unit)) > (grant.second_attempt ? 1U : 0U)) {
      world_.fail(unit_text(lease.unit) + " is granted while another's lease of it is live");
      return;
    }
    world_.reached("a unit was granted again", unit.granted);
    world_.reached("a late unit was given to a second rank", grant.second_attempt);
    unit.granted_again = unit.granted;
    world_.figures().regrants += unit.granted ? 1 : 0;
    unit.granted = true;
    units.add_grant(unit, {.counter = lease.fence.counter,
                           .rank = rank,
                           .incarnation = live_[rank],
                           .expires = world_.now() + world_.lease_end()});
    if (deadline > Duration::zero()) {
      due_.push_back({.when = world_.now() + deadline,
                      .step = grant.step,
                      .lease = lease,
                      .holder = of_life(rank)});
    }
  }
}

/// How many of a unit's grants hold. Those that are over are forgotten.
std::uint32_t Observer::live_count(WatchedUnits::Grants& grants) {
  std::uint32_t count = 0;
  for (Grant& earlier : grants) {
    if (earlier.counter == 0) {
      continue;
    }
    const bool lost = live_[earlier.rank] != earlier.incarnation;
    if (!lost && earlier.expires > world_.now()) {
      ++count;
      continue;
    }
    world_.note_regrant(earlier.rank, lost);
    earlier = {};
  }
  return count;
}

/// What needs a device goes to ranks that have one, and what is left out to nobody.
void Observer::check_fits(std::uint32_t rank, const protocol::Grant& grant, std::uint64_t unit) {
  if (grant.stage != Stage::kMap) {
    return;
  }
  const StepShape& shape = world_.shape(grant.step);
  const protocol::MapUnits::ShardSpan shards = shape.map_units().shards_of(unit);
  for (std::uint64_t shard = shards.begin; shard < shards.end; ++shard) {
    if (shape.needs_device(shard)) {
      world_.reached("a shard that needs a device was granted");
      world_.expect(world_.options().has_device(rank), "a lease for a rank that has no device");
    }
    world_.expect(!shape.only_shard || !shape.is_left_out(shard) || shape.poison,
                  "a lease of a shard that was not asked for");
  }
}

void Observer::on_heartbeat(const protocol::Envelope& from, const protocol::Heartbeat& heartbeat,
                            const Effects& effects) {
  const auto* ack = find_sent<protocol::HeartbeatAck>(effects, from.rank);
  if (ack == nullptr || from.incarnation != live_[from.rank]) {
    return;
  }
  world_.reached("a heartbeat was told of lost leases", !ack->lost.empty());
  for (const Lease& lease : heartbeat.held) {
    if (std::find(ack->lost.begin(), ack->lost.end(), lease) != ack->lost.end()) {
      continue;
    }
    // A rank holds leases of one stage only.
    Grant* grant = nullptr;
    for (const Stage stage : {Stage::kMap, Stage::kCombine, Stage::kMerge}) {
      grant = grant == nullptr ? find(from, heartbeat.step, stage, lease) : grant;
    }
    if (grant == nullptr) {
      world_.fail("a lease of " + unit_text(lease.unit) + " is extended that is not the newest");
      return;
    }
    world_.reached("a lease that had run out was extended", grant->expires <= world_.now());
    grant->expires = std::max(grant->expires, world_.now() + world_.lease_end());
  }
}

void Observer::on_report(const protocol::Envelope& from, const protocol::Report& report,
                         const Effects& effects) {
  if (keeps(effects, report.output)) {
    check_acceptance(from, report);
    return;
  }
  const auto* verdict = find_sent<protocol::Verdict>(effects, from.rank);
  if (verdict == nullptr) {
    return;
  }
  if (verdict->failure.code == ErrorCode::kOk) {
    world_.reached("a report came twice");
    return;
  }
  world_.reached("a report was refused");
  world_.reached("a report was refused because a unit was accepted before",
                 verdict->failure.code == ErrorCode::kAlreadyExists);
  check_refusal(from, report, *verdict);
  if (verdict->failure.code == ErrorCode::kAlreadyExists) {
    check_output(report, effects);
  }
  on_return(from, report.step, report.stage, report.batch);
}

/// A report may be accepted only from the life of the rank that got the newest grant of each unit,
/// and only while that life is the newest that the coordinator's host knows.
void Observer::check_acceptance(const protocol::Envelope& from, const protocol::Report& report) {
  world_.expect(from.incarnation == live_[from.rank], "a report of a fenced life is accepted");
  WatchedUnits& units = units_of(report.step, report.stage);
  make_ready(units, report.batch);
  for (const Lease& lease : report.batch) {
    if (lease.unit < units.size()) {
      __builtin_prefetch(&units.grants_of(units[lease.unit]), 1);
    }
  }
  bool again = false;
  for (const Lease& lease : report.batch) {
    if (lease.unit < units.size() && units[lease.unit].accepted) {
      continue;  // The sink notices what is accepted twice.
    }
    if (lease.unit >= units.size() ||
        grant_in(units.grants_of(units[lease.unit]), from, lease) == nullptr) {
      world_.fail("a report is accepted whose lease of " + unit_text(lease.unit) +
                  " is not the newest");
      return;
    }
    Unit& unit = units[lease.unit];
    units.forget_grants(unit);
    unit.accepted = true;
    again = again || unit.granted_again;
  }
  if (report.output != BlobHandle{}) {
    world_.expect(world_.store().content_of(report.output).whole,
                  "a merge is accepted that counts a shard twice or misses one");
  }
  ++accepted_count_;
  ++step(report.step).report_count;
  if (again) {
    note_output(report);
  }
  if (world_.options().journaled() && report.stage != Stage::kCombine) {
    std::vector<std::uint64_t>& untold =
        untold_[{from.rank, report.step, report.stage, report.report}];
    untold.clear();
    for (const Lease& lease : report.batch) {
      untold.push_back(lease.unit);
    }
  }
}

/// Outputs of units that were granted once are compared with nothing.
void Observer::note_output(const protocol::Report& report) {
  Output output{.digest = report.digest};
  for (const Lease& lease : report.batch) {
    output.units.push_back(lease.unit);
  }
  step(report.step).outputs[{report.stage, output.units.front()}] = std::move(output);
}

/// Whoever makes another output of the same units is made known.
void Observer::check_output(const protocol::Report& report, const Effects& effects) {
  const Step& of = step(report.step);
  const auto found = of.outputs.find({report.stage, report.batch.front().unit});
  if (found == of.outputs.end() || found->second.digest == report.digest ||
      !std::equal(found->second.units.begin(), found->second.units.end(), report.batch.begin(),
                  report.batch.end(),
                  [](std::uint64_t unit, const Lease& lease) { return unit == lease.unit; })) {
    return;
  }
  world_.reached("outputs of a unit differed");
  world_.expect(std::any_of(effects.begin(), effects.end(),
                            [](const protocol::Effect& effect) {
                              return std::holds_alternative<protocol::Observation>(effect);
                            }),
                "an output that differs goes unnoticed");
}

/// A batch whose leases all last, and none of whose units is accepted, may not be refused.
void Observer::check_refusal(const protocol::Envelope& from, const protocol::Report& report,
                             const protocol::Verdict& verdict) {
  if (step(report.step).done || step(report.step).failed) {
    return;
  }
  const bool good = std::all_of(report.batch.begin(), report.batch.end(), [&](const Lease& lease) {
    const Unit* const unit = find(report.step, report.stage, lease.unit);
    const Grant* const grant = find(from, report.step, report.stage, lease);
    return unit != nullptr && !unit->accepted && grant != nullptr && grant->expires > world_.now();
  });
  if (good) {
    world_.fail("a good report of " + unit_text(report.batch.front().unit) +
                " is refused: " + verdict.failure.text);
  }
}

void Observer::on_return(const protocol::Envelope& from, std::uint64_t number, Stage stage,
                         std::span<const Lease> leases) {
  for (const Lease& lease : leases) {
    if (Grant* const grant = find(from, number, stage, lease)) {
      *grant = {};
    }
  }
}

void Observer::on_failed(const protocol::Envelope& from, const protocol::BatchFailed& failed) {
  for (const Lease& lease : failed.batch) {
    if (lease.unit == failed.bad_unit && find(from, failed.step, failed.stage, lease) != nullptr) {
      count_failure(failed.step, *find(failed.step, failed.stage, lease.unit));
    }
  }
  on_return(from, failed.step, failed.stage, failed.batch);
}

/// Merges whose partials were lost, or a shard that was not accepted in its time.
void Observer::on_taken_away(const protocol::Envelope& from, const protocol::HeartbeatAck& ack) {
  for (const Lease& lease : ack.lost) {
    if (find(from, ack.step, Stage::kMap, lease) != nullptr) {
      on_missed(from, ack.step, lease);
      continue;
    }
    const bool combined = find(from, ack.step, Stage::kCombine, lease) != nullptr;
    world_.reached("a host was lost while partials were combined", combined);
    world_.reached("merging had to wait for partials that were made again", !combined);
    on_return(from, ack.step, combined ? Stage::kCombine : Stage::kMerge, {&lease, 1});
  }
}

Observer::Step& Observer::step(std::uint64_t number) {
  return steps_.at(number - 1);
}

WatchedUnits& Observer::units_of(std::uint64_t number, Stage stage) {
  Step& of = step(number);
  WatchedUnits& units = of.units[static_cast<std::size_t>(stage)];
  if (units.size() == 0 && !of.done) {
    const StepShape& shape = world_.shape(number);
    // Hosts, and pairs of them and of pairs, are fewer than twice the hosts.
    const std::uint64_t groups = stage == Stage::kCombine ? 2 * world_.options().host_count : 1;
    units = WatchedUnits(stage == Stage::kMap ? shape.map_units().unit_count()
                                              : groups * shape.partition_count);
  }
  return units;
}

Observer::Unit* Observer::find(std::uint64_t number, Stage stage, std::uint64_t unit) {
  WatchedUnits& units = units_of(number, stage);
  return unit < units.size() ? &units[unit] : nullptr;
}

/// Asks for the memory of the units that are looked at next: they lie far from each other.
void Observer::make_ready(const WatchedUnits& units, std::span<const Lease> leases) {
  for (const Lease& lease : leases) {
    if (lease.unit < units.size()) {
      __builtin_prefetch(&units[lease.unit], 1);
    }
  }
}

Observer::Grant* Observer::find(const protocol::Envelope& from, std::uint64_t number, Stage stage,
                                const Lease& lease) {
  WatchedUnits& units = units_of(number, stage);
  return lease.unit < units.size() ? grant_in(units.grants_of(units[lease.unit]), from, lease)
                                   : nullptr;
}

Observer::Grant* Observer::grant_in(WatchedUnits::Grants& grants, const protocol::Envelope& from,
                                    const Lease& lease) const {
  if (from.incarnation != live_[from.rank] || lease.fence.epoch != newest_fence_.epoch) {
    return nullptr;
  }
  for (Grant& grant : grants) {
    if (grant.counter != 0 && grant.counter == lease.fence.counter && grant.rank == from.rank &&
        grant.incarnation == from.incarnation) {
      return &grant;
    }
  }
  return nullptr;
}

}  // namespace pinion::sim
