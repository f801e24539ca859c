#include "sim/sim_world.hpp"

#include <algorithm>
#include <limits>
#include <utility>
#include <variant>

#include <pinion/shard/protocol/wire.hpp>

namespace pinion::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kJob = 77;

/// A job whose chaos is over ends long before this, or hangs.
constexpr Duration kPatience = 300s;

constexpr std::uint64_t kCheckPeriod = 1 << 12;
constexpr std::uint64_t kFirstCheckPeriod = 1 << 7;  // Until then.
constexpr std::uint64_t kOftenPeriod = 1 << 16;
constexpr std::uint64_t kStopwatchPeriod = 16;

}  // namespace

protocol::CoordinatorOptions World::coordinator_options() const {
  std::vector<std::uint32_t> rank_hosts;
  for (std::uint32_t rank = 0; options_.host_count > 1 && rank < options_.rank_count; ++rank) {
    rank_hosts.push_back(host_of(rank));
  }
  return {.job = kJob,
          .epoch = epoch_,
          .rank_count = static_cast<std::uint32_t>(options_.rank_count),
          .rank_hosts = std::move(rank_hosts),
          .lease_duration = options_.lease_duration,
          .plan_patience = options_.plan_patience,
          .seed = options_.seed,
          .attempt_count_max = static_cast<std::uint32_t>(options_.attempt_count_max),
          .death_count_max = options_.death_count_max == 0
                                 ? std::numeric_limits<std::uint32_t>::max()
                                 : static_cast<std::uint32_t>(options_.death_count_max),
          .skip_bad = options_.skip_bad,
          .only_shard = options_.only_one ? std::optional(options_.only_shard) : std::nullopt,
          .second_attempts = options_.second_attempts,
          .late_least = options_.lease_duration / 4,
          // Processes take as long to return, whatever a lease lasts.
          .host_patience = std::max(options_.lease_duration * 10, Duration(2s)),
          .combine_bytes_min = 1,
          .journaled = options_.journaled(),
          .fast_forward = true,
          .mutations = options_.mutations};
}

World::World(const SimOptions& options, const IClock* stopwatch)
    : options_(options),
      stopwatch_(stopwatch),
      random_(mix(~options.seed)),
      coordinator_(coordinator_options()),
      ranks_(options.rank_count),
      workers_(options.rank_count * options.worker_count),
      shapes_(options.step_count),
      host_is_down_(options.host_count),
      disk_faults_(options.faults),
      journal_(random_, faults_,
               {.faults = disk_faults_,
                .cut_log_early = options.driver_mutations.cut_log_early,
                .mutations = options.driver_mutations.journal}),
      observer_(*this) {}

std::string World::run(const std::function<void()>& often) {
  const Instant begin = now();
  chaos_end_ = begin + options_.chaos_end;
  for (std::uint32_t rank = 0; rank < options_.rank_count; ++rank) {
    start_soon(rank, Duration::zero(), Duration(100ms));
  }
  schedule_fault();
  const Instant end = chaos_end_ + kPatience;
  SimEvent event;
  while (violation_.empty() && !ended_ && over_count_ < options_.rank_count) {
    if (!events_.take(event)) {
      fail("nothing is left to happen, but the job is not done");
      break;
    }
    ++figures_.events;
    make_ready();
    add_to_hash(static_cast<std::uint64_t>(event.when.time_since_epoch().count()) ^
                (std::uint64_t{event.rank} << 20U) ^
                (static_cast<std::uint64_t>(event.kind) << 56U));
    happen(event);
    const std::uint64_t period = figures_.events < kCheckPeriod ? kFirstCheckPeriod : kCheckPeriod;
    if (figures_.events % period == 0) {
      expect(now() < end, "the job does not come to its end");
      check_bounds();
    }
    if (figures_.events % kOftenPeriod == 0 && often) {
      often();
    }
  }
  figures_.makespan = now() - begin;
  check_bounds();
  if (violation_.empty() && !ended_) {
    observer_.check_leftovers();
  }
  return violation_;
}

/// Nothing that waits, and nothing that the coordinator remembers, grows beyond what the steps that
/// go on need; and something is accepted now and then.
void World::check_bounds() {
  const std::uint64_t bound = 10'000 + 1000 * options_.rank_count;
  figures_.pending_max = std::max(figures_.pending_max, events_.size());
  expect(events_.size() < bound, "too much is left to happen");
  std::uint64_t record_count_max = options_.rank_count;
  for (std::uint64_t step = 1; step <= shapes_.size(); ++step) {
    const std::unique_ptr<StepShape>& shape = shapes_[step - 1];
    record_count_max += shape == nullptr ? 0 : observer_.record_count_max(step, *shape);
  }
  expect(coordinator_.record_count() <= record_count_max, "the coordinator remembers too much");
  if (observer_.accepted_count() != std::exchange(accepted_before_, observer_.accepted_count())) {
    accepted_at_event_ = figures_.events;
  }
  expect(figures_.events - accepted_at_event_ < 10 * bound, "the job does not come to its end");
}

void World::fail(const std::string& violation) {
  if (violation_.empty()) {
    violation_ = "at " + std::to_string(now().time_since_epoch().count()) + " ns: " + violation;
  }
}

const StepShape& World::make_shape(std::uint64_t step) {
  std::unique_ptr<StepShape>& shape = shapes_.at(step - 1);
  shape = std::make_unique<StepShape>(options_.shape_of(step));
  faults_.of[static_cast<std::size_t>(Fault::kPoison)] += shape->poison ? 1 : 0;
  return *shape;
}

/// Asks for the memory that events need which come soon: that of many ranks fits into no cache.
void World::make_ready() const {
  constexpr std::size_t kFar = 5;
  constexpr std::size_t kNear = 2;
  constexpr std::size_t kLineBytes = 64;
  constexpr std::size_t kLineCount = 4;
  const auto ask_for = [](const auto& what, std::size_t line_count) {
    const auto* const bytes = reinterpret_cast<const std::byte*>(&what);
    for (std::size_t line = 0; line < line_count; ++line) {
      __builtin_prefetch(bytes + line * kLineBytes, 1);
    }
  };
  if (const SimEvent* const far = events_.likely(kFar)) {
    ask_for(ranks_[far->rank], kLineCount);
    if (far->kind == EventKind::kBodyEnds) {
      ask_for(workers_[far->rank * options_.worker_count + far->worker], 1);
    } else if (far->kind == EventKind::kAtRank) {
      ask_for(to_ranks_[far->payload], 2);
    } else if (far->kind == EventKind::kAtCoordinator) {
      ask_for(to_coordinator_[far->payload], 3);
    }
  }
  const SimEvent* const near = events_.likely(kNear);
  if (near != nullptr && near->kind == EventKind::kBodyEnds && ranks_[near->rank].process) {
    ranks_[near->rank].process->make_ready(near->worker);
  }
}

void World::happen(const SimEvent& event) {
  switch (event.kind) {
    case EventKind::kAtCoordinator:
      arrive_at_coordinator(event);
      return;
    case EventKind::kAtRank:
    case EventKind::kPlanIsMade:
    case EventKind::kBodyEnds:
    case EventKind::kBatchIsSealed:
    case EventKind::kNextStep:
    case EventKind::kRankTick:
      happen_to_rank(event);
      return;
    default:
      happen_seldom(event);
  }
}

void World::happen_seldom(const SimEvent& event) {
  switch (event.kind) {
    case EventKind::kStartProcess:
      if (event.payload == epoch_ && head_is_up_) {
        start_process(event.rank);
      }
      return;
    case EventKind::kProcessEnds:
      end_process(event.rank, event.life);
      return;
    case EventKind::kLossIsKnown:
      if (event.life > ranks_[event.rank].lives_of_epochs) {
        feed(to_coordinator_[event.payload]);
      }
      to_coordinator_.close(event.payload);
      return;
    case EventKind::kHostLossIsKnown:
      if (event.life == epoch_ && head_is_up_) {
        feed(protocol::HostLost{.host = event.payload, .reason = "killed by the simulation"});
      }
      return;
    case EventKind::kDiskIsDone:
      end_disk_work(event);
      return;
    case EventKind::kHeadResumes:
      resume_head();
      return;
    case EventKind::kCoordinatorTick:
      if (next_tick_ == event.when && head_is_up_) {
        next_tick_ = Instant::max();
        feed(protocol::Tick{});
      }
      return;
    case EventKind::kFault:
      if (now() < chaos_end_) {
        disturb();
        schedule_fault();
      }
      return;
    default:
      return;
  }
}

void World::happen_to_rank(const SimEvent& event) {
  RankState& state = ranks_[event.rank];
  const bool message = event.kind == EventKind::kAtRank;
  if (!state.process || state.life != event.life || (message && event.life <= state.life_cut)) {
    if (message) {
      to_ranks_.close(event.payload);
    } else if (event.kind == EventKind::kBatchIsSealed) {
      reports_.close(event.payload);
    }
    return;
  }
  const Instant from =
      message ? std::max(state.paused_until, state.to_rank.blocked_until) : state.paused_until;
  if (now() < from) {
    events_.again(from, event);
    return;
  }
  SimRank& process = *state.process;
  switch (event.kind) {
    case EventKind::kAtRank:
      process.receive(to_ranks_[event.payload]);
      to_ranks_.close(event.payload);
      break;
    case EventKind::kPlanIsMade:
      process.plan(event.payload);
      break;
    case EventKind::kBodyEnds:
      process.end_run(event.worker, event.payload);
      break;
    case EventKind::kBatchIsSealed:
      process.hand_in(reports_.take(event.payload));
      break;
    case EventKind::kNextStep:
      process.enter_next_step();
      break;
    case EventKind::kRankTick:
      process.tick(event.payload);
      break;
    default:
      break;
  }
}

void World::arrive_at_coordinator(const SimEvent& event) {
  RankState& state = ranks_[event.rank];
  const bool other_epoch = event.life <= state.lives_of_epochs;
  const bool for_its_host =
      !std::holds_alternative<protocol::MessageReceived>(to_coordinator_[event.payload]);
  if (event.life <= state.life_cut || !head_is_up_ || (other_epoch && for_its_host)) {
    reached("messages were lost with their connection");
    to_coordinator_.close(event.payload);
    return;
  }
  if (now() < state.to_coordinator.blocked_until) {
    reached("a message waited for the end of a partition");
    events_.again(state.to_coordinator.blocked_until, event);
    return;
  }
  reached("a message of a dead life arrived", event.life != state.life);
  reached("a message of another epoch arrived", other_epoch);
  feed(to_coordinator_[event.payload]);
  to_coordinator_.close(event.payload);
}

void World::start_process(std::uint32_t rank) {
  RankState& state = ranks_[rank];
  if (state.presence != Presence::kStarting) {
    return;
  }
  state.presence = Presence::kUp;
  ++state.life;
  state.paused_until = {};
  state.to_coordinator.last_arrival = {};
  state.to_rank.last_arrival = {};
  const double drift = options_.faults[Fault::kDrift] * (random_.fraction() * 2 - 1);
  faults_.of[static_cast<std::size_t>(Fault::kDrift)] += drift == 0 ? 0 : 1;
  state.clock = RankClock(now(), Instant(random_.between(Duration(0s), Duration(3600s))), drift);
  const bool slow = random_.chance(options_.faults[Fault::kSlow]);
  faults_.of[static_cast<std::size_t>(Fault::kSlow)] += slow ? 1 : 0;
  const std::uint32_t incarnation = state.life - state.lives_of_epochs;
  state.process.emplace(
      *this,
      SimProcess{.rank = rank,
                 .life = state.life,
                 .incarnation = incarnation,
                 .slowness = slow ? std::uint64_t{8} : 1},
      std::span(workers_).subspan(rank * options_.worker_count, options_.worker_count));
  send_event(rank, state.life, protocol::RankJoined{.rank = rank, .incarnation = incarnation});
  state.process->enter_next_step();
}

void World::end_process(std::uint32_t rank, std::uint32_t life) {
  RankState& state = ranks_[rank];
  if (state.life != life || !state.process) {
    return;
  }
  state.process.reset();
  if (state.presence == Presence::kUp) {
    // Its connection broke, and it has seen it.
    state.presence = Presence::kStarting;
    start_soon(rank, Duration(1ms), Duration(60ms));
  }
}

void World::start_soon(std::uint32_t rank, Duration least, Duration most) {
  events_.at(now() + random_.between(least, most),
             {.rank = rank, .payload = epoch_, .kind = EventKind::kStartProcess});
}

void World::post_report(const SimRank& rank, Duration delay, protocol::Report report) {
  post(rank, delay,
       {.payload = reports_.put(std::move(report)), .kind = EventKind::kBatchIsSealed});
}

/// False when the message does not survive being encoded and decoded. Not every message is tried.
bool World::over_the_wire(const protocol::Envelope& envelope, protocol::Message& message) {
  if (++figures_.messages % options_.wire_period != 0) {
    return true;
  }
  Result<protocol::Decoded> arrived = protocol::decode(protocol::encode(envelope, message));
  if (!arrived || arrived->envelope != envelope || arrived->message != message) {
    return false;
  }
  message = std::move(arrived->message);
  return true;
}

void World::send_to_coordinator(const SimRank& rank, protocol::Message&& message) {
  const protocol::Envelope envelope{
      .job = kJob, .epoch = epoch_, .rank = rank.rank(), .incarnation = rank.incarnation()};
  expect(over_the_wire(envelope, message), "the wire changed a message");
  if (now() < chaos_end_ && random_.chance(options_.faults[Fault::kDuplicate])) {
    count(Fault::kDuplicate);
    send_message(rank, envelope, protocol::Message(message));
  }
  send_message(rank, envelope, std::move(message));
}

void World::send_message(const SimRank& rank, const protocol::Envelope& envelope,
                         protocol::Message&& message) {
  const std::uint32_t payload = to_coordinator_.open();
  protocol::Event& event = to_coordinator_[payload];
  auto* received = std::get_if<protocol::MessageReceived>(&event);
  if (received == nullptr) {
    received = &event.emplace<protocol::MessageReceived>();
  }
  received->envelope = envelope;
  received->message = std::move(message);
  post_to_coordinator(rank.rank(), rank.life(), payload);
}

void World::leave(const SimRank& rank) {
  RankState& state = ranks_[rank.rank()];
  state.presence = Presence::kLeft;
  ++over_count_;
  send_event(rank.rank(), rank.life(),
             protocol::RankLeft{.rank = rank.rank(), .incarnation = rank.incarnation()});
  // The process is in the middle of a call; it goes when the call is over.
  post(rank, Duration::zero(), {.kind = EventKind::kProcessEnds});
}

/// When what is sent now over `link` arrives, unless a partition holds it up.
Instant World::arrival(Link& link) {
  Duration delay = random_.between(options_.latency_max / 150, options_.latency_max);
  if (now() < chaos_end_ && random_.chance(options_.faults[Fault::kStall])) {
    count(Fault::kStall);
    delay += random_.between(Duration::zero(), options_.lease_duration * 2);
  }
  link.last_arrival = std::max(link.last_arrival, now() + delay);
  return link.last_arrival;
}

void World::send_event(std::uint32_t rank, std::uint32_t life, protocol::Event event) {
  post_to_coordinator(rank, life, to_coordinator_.put(std::move(event)));
}

void World::post_to_coordinator(std::uint32_t rank, std::uint32_t life, std::uint32_t payload) {
  events_.at(arrival(ranks_[rank].to_coordinator),
             {.rank = rank, .life = life, .payload = payload, .kind = EventKind::kAtCoordinator});
  if (now() < chaos_end_ && random_.chance(options_.faults[Fault::kDrop])) {
    drop_connection(rank);
  }
}

void World::send_to_rank(std::uint32_t rank, protocol::Message&& message) {
  const std::uint32_t incarnation = ranks_[rank].incarnation_known;
  expect(over_the_wire({.job = kJob, .epoch = epoch_, .rank = rank, .incarnation = incarnation},
                       message),
         "the wire changed a message");
  if (now() < chaos_end_ && random_.chance(options_.faults[Fault::kDuplicate])) {
    count(Fault::kDuplicate);
    const auto* const grant = std::get_if<protocol::Grant>(&message);
    reached("a rank got a grant twice", grant != nullptr && !grant->leases.empty());
    post_to_rank(rank, protocol::Message(message));
  }
  post_to_rank(rank, std::move(message));
}

void World::post_to_rank(std::uint32_t rank, protocol::Message&& message) {
  RankState& state = ranks_[rank];
  const std::uint32_t payload = to_ranks_.open();
  to_ranks_[payload] = std::move(message);
  events_.at(arrival(state.to_rank), {.rank = rank,
                                      .life = state.lives_of_epochs + state.incarnation_known,
                                      .payload = payload,
                                      .kind = EventKind::kAtRank});
}

void World::feed(const protocol::Event& event) {
  if (const auto* joined = std::get_if<protocol::RankJoined>(&event)) {
    std::uint32_t& known = ranks_[joined->rank].incarnation_known;
    known = std::max(known, joined->incarnation);
  } else if (const auto* host = std::get_if<protocol::HostLost>(&event)) {
    any_host_is_lost_ = true;
    observer_.host_lost(host->host);
    store_.forget(host->host, [this](std::uint64_t step) { return observer_.has_ended(step); });
  } else if (const auto* lost = std::get_if<protocol::RankLost>(&event)) {
    reached("a life joined before the death of the one before was known",
            lost->incarnation < ranks_[lost->rank].incarnation_known);
  }
  step_coordinator(event);
  observer_.decided(event, effects_);
  add_to_hash(effects_.size());
  for (protocol::Effect& effect : effects_) {
    take_up(effect);
  }
  effects_.clear();
  carry_out_what_is_safe();
  schedule_tick();
}

void World::step_coordinator(const protocol::Event& event) {
  if (options_.driver_mutations.wall_clock && random_.chance(0.01)) {
    wall_ahead_ += 1h;
  }
  const Instant time = now() + wall_ahead_;
  if (++figures_.coordinator_events % kStopwatchPeriod != 0 || stopwatch_ == nullptr) {
    coordinator_.step(event, time, effects_);
    return;
  }
  const Instant begin = stopwatch_->now();
  coordinator_.step(event, time, effects_);
  figures_.timed += stopwatch_->now() - begin;
  ++figures_.timed_steps;
}

void World::carry_out(protocol::Effect& effect) {
  if (auto* send = std::get_if<protocol::Send>(&effect)) {
    observer_.told(send->rank, send->message);
    send_to_rank(send->rank, std::move(send->message));
  } else if (const auto* keep = std::get_if<protocol::Keep>(&effect)) {
    const std::string problem = store_.keep(keep->blob);
    expect(problem.empty(), problem);
  } else if (const auto* release = std::get_if<protocol::Release>(&effect)) {
    const std::string problem = store_.release(release->blob);
    expect(problem.empty(), problem);
  } else if (const auto* end = std::get_if<protocol::EndJob>(&effect)) {
    end_with(end->failure);
  }
}

/// Nothing but the result of a step that is done cannot be made again.
void World::end_with(const protocol::Failure& failure) {
  if (failure.code != ErrorCode::kDataLoss || !store_.lost_a_result()) {
    fail("the job ended: " + failure.text);
    return;
  }
  reached("the job ended, as a result was lost with its host");
  ended_ = true;
}

void World::schedule_tick() {
  if (!head_is_up_) {
    return;
  }
  const Instant next = coordinator_.next_deadline();
  const Instant deadline = next == Instant::max() ? next : std::max(next - wall_ahead_, now());
  if (deadline < next_tick_) {
    next_tick_ = deadline;
    events_.at(deadline, {.kind = EventKind::kCoordinatorTick});
  }
}

void World::note_regrant(std::uint32_t rank, bool dead) {
  reached("a unit was granted again after silence", !dead);
  if (ranks_[rank].trouble_since == Instant{}) {
    return;
  }
  constexpr std::size_t kSamplesMax = 1'000'000;
  auto& samples = dead ? figures_.regrant_after_death : figures_.regrant_after_silence;
  if (samples.size() < kSamplesMax) {
    samples.push_back(now() - ranks_[rank].trouble_since);
  }
}

}  // namespace pinion::sim
