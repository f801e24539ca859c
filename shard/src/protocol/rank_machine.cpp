#include <pinion/shard/protocol/rank_machine.hpp>

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include <pinion/core/assert.hpp>

#include "protocol/held_leases.hpp"

namespace pinion::protocol {
namespace {

constexpr Duration kHeartbeatMin = std::chrono::milliseconds(1);

constexpr std::array kStages = {Stage::kMap, Stage::kCombine, Stage::kMerge};
static_assert(kStages.size() == kStageCount);

/// A lease is used for 80 % of its time: less than that cannot have passed on the coordinator's
/// clock.
Duration usable(Duration lease_duration) {
  return lease_duration / 5 * 4;
}

}  // namespace

struct RankMachine::State {
  State(const RankOptions& given, EnterStep step) : options(given), enter(std::move(step)) {}

  void on(const MakePlan& make);
  void on(const StepStarted& started);
  void on(const Grant& grant);
  void on(const MergeInputs& inputs);
  void on(const HeartbeatAck& ack);
  void on(const Verdict& verdict);
  void on(const ShardSkipped& skipped);
  void on(const StepDone& done);
  void on(const StepFailed& failed);
  void on(const JobFailed& failed);
  void on(const Registered& registered);
  /// Messages that only ranks send.
  template <class Body>
  void on(const Body&) {}

  /// The message is made where the engine finds it: moving it there would cost more than the rest.
  template <class Body>
  void send(Body&& body) {
    auto& send = std::get<SendMessage>(effects->emplace_back(std::in_place_type<SendMessage>));
    send.message.template emplace<std::remove_cvref_t<Body>>(std::forward<Body>(body));
  }
  void finish(StepFinished finished);
  void drop_overdue();
  void claim();
  [[nodiscard]] std::uint32_t missing_count() const;
  /// Three in the time of a lease, where that is short.
  [[nodiscard]] Duration heartbeat() const;
  void beat();
  void give_back_held(Stage stage, std::vector<Lease> given);
  [[nodiscard]] bool begin(Instant at, RankEffects& to);

  [[nodiscard]] HeldLeases& held(Stage stage) { return leases[static_cast<std::size_t>(stage)]; }
  [[nodiscard]] std::size_t held_count() const {
    std::size_t count = 0;
    for (const HeldLeases& of_stage : leases) {
      count += of_stage.size();
    }
    return count;
  }

  RankOptions options;
  EnterStep enter;
  bool planning = false;
  bool started = false;
  BlobHandle plan = {};
  bool finished = false;
  std::array<HeldLeases, kStageCount> leases;  // By stage.
  Fence newest_fence = {};                     // Of those that were granted.
  std::uint32_t unfinished_count = 0;
  std::optional<Need> needed = {};  // Else claims go by what is held.
  bool claim_open = false;
  bool draining = false;
  std::uint64_t unit_count_done = 0;
  std::uint64_t input_bytes = 0;
  std::vector<std::string> observations;
  Duration lease_duration = {};
  Instant next_heartbeat = Instant::max();
  Instant last_heartbeat = {};

  // Of the call in hand.
  Instant now = {};
  RankEffects* effects = nullptr;
};

RankMachine::RankMachine(const RankOptions& options, const EnterStep& enter)
    : state_(std::make_unique<State>(options, enter)) {
  PINION_ASSERT(options.lease_count_max > 0);
  PINION_ASSERT(options.heartbeat > Duration::zero());
}
RankMachine::~RankMachine() = default;

void RankMachine::start(Instant now, RankEffects& effects) {
  static_cast<void>(state_->begin(now, effects));
  if (state_->options.registration) {
    state_->send(*state_->options.registration);
  }
  state_->send(state_->enter);
}

void RankMachine::receive(const Message& message, Instant now, RankEffects& effects) {
  if (!state_->begin(now, effects)) {
    return;
  }
  const bool ours = std::visit(
      [this](const auto& body) {
        if constexpr (requires { body.step; }) {
          return body.step == state_->enter.step;
        } else {
          return true;
        }
      },
      message);
  if (!ours) {
    return;
  }
  // An acknowledgement may be what saves leases that seem overdue, so it is heard first.
  if (!std::holds_alternative<HeartbeatAck>(message)) {
    state_->drop_overdue();
  }
  std::visit([this](const auto& body) { state_->on(body); }, message);
  if (!state_->finished) {
    state_->drop_overdue();
    state_->claim();
  }
}

void RankMachine::plan_ready(PlanReady plan, Instant now, RankEffects& effects) {
  if (!state_->begin(now, effects) || !std::exchange(state_->planning, false)) {
    return;
  }
  plan.step = state_->enter.step;
  state_->send(std::move(plan));
}

void RankMachine::plan_failed(const Failure& failure, Instant now, RankEffects& effects) {
  if (!state_->begin(now, effects) || !std::exchange(state_->planning, false)) {
    return;
  }
  state_->send(PlanFailed{.step = state_->enter.step, .failure = failure});
}

void RankMachine::batch_sealed(Report report, Instant now, RankEffects& effects) {
  if (!state_->begin(now, effects)) {
    return;
  }
  PINION_ASSERT(!report.batch.empty());
  state_->drop_overdue();
  report.step = state_->enter.step;
  if (state_->held(report.stage).remove_if_all_held(report.batch)) {
    state_->unit_count_done += report.batch.size();
    state_->input_bytes += report.input_bytes;
    state_->send(std::move(report));
  } else {
    const Stage stage = report.stage;
    const std::uint64_t number = report.report;
    state_->give_back_held(stage, std::move(report.batch));
    effects.push_back(
        BatchSettled{.stage = stage,
                     .report = number,
                     .failure = {.code = ErrorCode::kAborted,
                                 .text = "a lease of the batch ran out before it was sealed"}});
  }
  state_->claim();
}

void RankMachine::batch_failed(BatchFailed failed, Instant now, RankEffects& effects) {
  if (!state_->begin(now, effects)) {
    return;
  }
  state_->drop_overdue();
  failed.step = state_->enter.step;
  HeldLeases& held = state_->held(failed.stage);
  std::erase_if(failed.batch, [&held](const Lease& lease) { return !held.holds(lease); });
  const bool bad_is_ours =
      std::any_of(failed.batch.begin(), failed.batch.end(),
                  [&failed](const Lease& lease) { return lease.unit == failed.bad_unit; });
  if (bad_is_ours) {
    held.remove(failed.batch);
    state_->send(std::move(failed));
  } else {
    state_->give_back_held(failed.stage, std::move(failed.batch));
  }
  state_->claim();
}

void RankMachine::give_back(Stage stage, std::vector<Lease> leases, Instant now,
                            RankEffects& effects) {
  if (!state_->begin(now, effects) || state_->options.mutations.forget_give_back) {
    return;
  }
  state_->drop_overdue();
  state_->give_back_held(stage, std::move(leases));
  state_->claim();
}

void RankMachine::tick(Instant now, RankEffects& effects) {
  if (!state_->begin(now, effects)) {
    return;
  }
  state_->drop_overdue();
  if (now >= state_->next_heartbeat || !state_->observations.empty()) {
    state_->beat();
  }
  state_->claim();
}

void RankMachine::need(std::uint32_t unfinished_count, const Need& need, Instant now,
                       RankEffects& effects) {
  PINION_ASSERT(need.wanted_count > need.least_count);
  if (!state_->begin(now, effects)) {
    return;
  }
  state_->unfinished_count = unfinished_count;
  state_->needed = need;
  state_->drop_overdue();
  state_->claim();
}

void RankMachine::drain(std::string reason, Instant now, RankEffects& effects) {
  if (!state_->begin(now, effects) || std::exchange(state_->draining, true)) {
    return;
  }
  state_->send(Drain{.reason = std::move(reason)});
}

void RankMachine::observe(std::string text) {
  state_->observations.push_back(std::move(text));
}

Instant RankMachine::next_deadline() const noexcept {
  if (state_->finished) {
    return Instant::max();
  }
  if (!state_->observations.empty()) {
    return state_->now;
  }
  if (state_->held_count() == 0) {
    return Instant::max();
  }
  Instant deadline = state_->next_heartbeat;
  for (const HeldLeases& held : state_->leases) {
    if (!held.empty()) {
      deadline = std::min(deadline, held.soonest());
    }
  }
  return deadline;
}

bool RankMachine::State::begin(Instant at, RankEffects& to) {
  now = at;
  effects = &to;
  return !finished;
}

void RankMachine::State::on(const MakePlan& make) {
  if (!std::exchange(planning, true)) {
    effects->push_back(StartPlanning{.workers = make.workers});
  }
}

void RankMachine::State::on(const StepStarted& start) {
  if (std::exchange(started, true) && plan == start.plan) {
    return;
  }
  plan = start.plan;
  effects->push_back(UsePlan{.started = start});
}

void RankMachine::State::on(const Grant& grant) {
  if (!grant.leases.empty()) {
    // Fences grow, and a connection keeps its order: this one has come before.
    if (grant.leases.front().fence <= newest_fence) {
      return;
    }
    newest_fence = grant.leases.back().fence;
  }
  // What was there to accept of another stage is accepted, or partials are lost and made again:
  // what we hold of it is not ours any more.
  for (const Stage other : kStages) {
    if (other == grant.stage || held(other).empty()) {
      continue;
    }
    DropLeases stale{.stage = other, .leases = {}};
    held(other).list(stale.leases);
    held(other).clear();
    effects->push_back(std::move(stale));
  }
  lease_duration = grant.lease_duration;
  if (held_count() == 0) {
    next_heartbeat = now + heartbeat();
  }
  held(grant.stage).add(grant.leases, now + usable(lease_duration));
  unfinished_count += static_cast<std::uint32_t>(grant.leases.size());
  if (!grant.leases.empty()) {
    claim_open = false;
  }
  // Without an open claim, or one when workers are done with some of these, nothing more comes
  // until they are reported.
  const bool more_may_come = claim_open || (needed ? held_count() < options.lease_count_max
                                                   : held_count() * 2 < options.lease_count_max);
  auto& run = std::get<RunLeases>(effects->emplace_back(std::in_place_type<RunLeases>));
  run.stage = grant.stage;
  run.leases = grant.leases;
  run.unit_count_left = more_may_come ? grant.unit_count_left : 0;
}

void RankMachine::State::on(const MergeInputs& inputs) {
  effects->push_back(UsePartials{.inputs = inputs});
}

void RankMachine::State::on(const HeartbeatAck& ack) {
  const Instant sent{Duration(ack.sent_ns)};
  if (sent > last_heartbeat) {
    return;
  }
  for (const Stage stage : kStages) {
    DropLeases dropped{.stage = stage, .leases = {}};
    for (const Lease& lease : ack.lost) {
      if (held(stage).holds(lease)) {
        dropped.leases.push_back(lease);
      }
    }
    held(stage).remove(dropped.leases);
    // Leases that came after the heartbeat was sent reach further already.
    held(stage).extend(sent + usable(lease_duration));
    if (!dropped.leases.empty()) {
      effects->push_back(std::move(dropped));
    }
  }
}

void RankMachine::State::on(const Verdict& verdict) {
  effects->push_back(
      BatchSettled{.stage = verdict.stage, .report = verdict.report, .failure = verdict.failure});
}

void RankMachine::State::on(const ShardSkipped& skipped) {
  effects->push_back(NameSkipped{.shard = skipped.shard, .failure = skipped.failure});
}

void RankMachine::State::on(const StepDone& done) {
  finish({.failure = {}, .done = done});
}

void RankMachine::State::on(const StepFailed& failed) {
  finish({.failure = failed.failure, .done = {}, .shard = failed.shard});
}

void RankMachine::State::on(const JobFailed& failed) {
  finish({.failure = failed.failure, .done = {}, .job_failed = true});
}

/// The job takes another process for this rank.
void RankMachine::State::on(const Registered& registered) {
  if (registered.failure.code != ErrorCode::kOk) {
    finish({.failure = registered.failure, .done = {}, .job_failed = true});
  }
}

void RankMachine::State::finish(StepFinished end) {
  finished = true;
  for (HeldLeases& of_stage : leases) {
    of_stage.clear();
  }
  effects->push_back(std::move(end));
}

/// Stops using what was not extended in time, and says so, for it may be granted again at once.
void RankMachine::State::drop_overdue() {
  for (const Stage stage : kStages) {
    DropLeases dropped{.stage = stage, .leases = {}};
    held(stage).find_overdue(now, dropped.leases);
    if (dropped.leases.empty()) {
      continue;
    }
    give_back_held(stage, dropped.leases);
    effects->push_back(std::move(dropped));
  }
}

void RankMachine::State::claim() {
  const std::uint32_t missing = started && !draining && !claim_open ? missing_count() : 0;
  if (missing > 0) {
    claim_open = true;
    send(Claim{.step = enter.step, .unit_count = missing});
  }
}

/// How many leases to claim at this moment.
std::uint32_t RankMachine::State::missing_count() const {
  const auto held_now = static_cast<std::uint32_t>(held_count());
  if (held_now >= options.lease_count_max) {
    return 0;
  }
  const std::uint32_t room = options.lease_count_max - held_now;
  if (!needed) {
    return held_now == 0 || held_now * 2 < options.lease_count_max ? room : 0;
  }
  const std::uint32_t unfinished = std::min(unfinished_count, held_now);
  return unfinished <= needed->least_count ? std::min(room, needed->wanted_count - unfinished) : 0;
}

Duration RankMachine::State::heartbeat() const {
  return std::min(options.heartbeat, std::max(lease_duration / 3, kHeartbeatMin));
}

void RankMachine::State::beat() {
  next_heartbeat = now + heartbeat();
  if (held_count() == 0 && observations.empty()) {
    return;
  }
  last_heartbeat = now;
  Heartbeat heartbeat{.step = enter.step,
                      .sent_ns = now.time_since_epoch().count(),
                      .unit_count_done = unit_count_done,
                      .input_bytes = input_bytes,
                      .observations = std::exchange(observations, {})};
  for (const Stage stage : kStages) {
    held(stage).list(heartbeat.held);
  }
  send(std::move(heartbeat));
}

void RankMachine::State::give_back_held(Stage stage, std::vector<Lease> given) {
  std::erase_if(given, [&](const Lease& lease) { return !held(stage).holds(lease); });
  if (given.empty()) {
    return;
  }
  held(stage).remove(given);
  send(GiveBack{.step = enter.step, .stage = stage, .leases = std::move(given)});
}

}  // namespace pinion::protocol
