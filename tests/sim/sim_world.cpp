#include "sim/sim_world.hpp"

#include <algorithm>
#include <variant>

#include <pinion/shard/protocol/wire.hpp>

namespace pinion::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kJob = 77;
constexpr std::uint32_t kEpoch = 3;

/// A job whose chaos is over ends long before this, or hangs.
constexpr Duration kPatience = 300s;
constexpr std::uint64_t kEventCountMax = 300'000;

protocol::CoordinatorOptions coordinator_options(const SimOptions& options) {
  return {.job = kJob,
          .epoch = kEpoch,
          .rank_count = options.rank_count,
          .lease_duration = options.lease_duration,
          .plan_patience = options.plan_patience,
          .attempt_count_max = 4,
          // Chaos kills more often than any real program dies.
          .death_count_max = 1000,
          .late_least = options.lease_duration / 4,
          .fast_forward = true,
          .mutations = options.mutations};
}

/// What arrives when `message` goes over a wire.
protocol::Decoded over_the_wire(const protocol::Envelope& envelope,
                                const protocol::Message& message) {
  return protocol::decode(protocol::encode(envelope, message)).value();
}

}  // namespace

Probes& Probes::operator+=(const Probes& other) {
  events += other.events;
  crashes += other.crashes;
  deaths_for_good += other.deaths_for_good;
  pauses += other.pauses;
  fast_forwards += other.fast_forwards;
  accepted_reports += other.accepted_reports;
  refused_reports += other.refused_reports;
  resent_reports += other.resent_reports;
  failed_bodies += other.failed_bodies;
  dropped_leases += other.dropped_leases;
  second_grants += other.second_grants;
  second_attempts += other.second_attempts;
  messages_of_dead_lives += other.messages_of_dead_lives;
  return *this;
}

World::World(const SimOptions& options)
    : options_(options),
      random_(mix(~options.seed)),
      network_(events_, random_,
               {.stall_chance = options.link_stall, .stall_max = options.lease_duration * 2}),
      coordinator_(coordinator_options(options)),
      ranks_(options.rank_count) {}

std::string World::run() {
  for (std::uint32_t rank = 0; rank < options_.rank_count; ++rank) {
    events_.after(random_.between(Duration::zero(), Duration(100ms)), [this, rank] {
      start_process(rank);
      return std::nullopt;
    });
  }
  schedule_chaos();
  const Instant end = now() + options_.chaos_end + kPatience;
  while (violation_.empty() && !over()) {
    ++probes_.events;
    expect(events_.run_next(), "nothing is left to happen, but the job is not done");
    expect(now() < end && probes_.events < kEventCountMax, "the job does not come to its end");
  }
  if (violation_.empty()) {
    check_leftovers();
  }
  return violation_;
}

bool World::over() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const RankState& rank) {
    return rank.life == Life::kLeft || rank.life == Life::kGone;
  });
}

void World::start_process(std::uint32_t rank) {
  RankState& state = ranks_[rank];
  state.life = Life::kUp;
  ++state.incarnation;
  state.process = std::make_unique<SimRank>(*this, rank, state.incarnation);
  send_event({.rank = rank, .incarnation = state.incarnation},
             protocol::RankJoined{.rank = rank, .incarnation = state.incarnation});
  state.process->begin();
}

void World::post(const SimRank& rank, Duration delay, std::function<void(SimRank&)> action) {
  post_life(rank.rank(), rank.incarnation(), now() + delay, std::move(action));
}

void World::post_life(std::uint32_t rank, std::uint32_t incarnation, Instant when,
                      std::function<void(SimRank&)> action) {
  events_.at(when,
             [this, rank, incarnation, action = std::move(action)]() -> std::optional<Instant> {
               const RankState& state = ranks_[rank];
               if (state.process == nullptr || state.incarnation != incarnation) {
                 return std::nullopt;
               }
               if (now() < state.process->paused_until) {
                 return state.process->paused_until;
               }
               action(*state.process);
               return std::nullopt;
             });
}

void World::send_to_coordinator(const SimRank& rank, const protocol::Message& message) {
  const protocol::Envelope envelope{
      .job = kJob, .epoch = kEpoch, .rank = rank.rank(), .incarnation = rank.incarnation()};
  const protocol::Decoded arrived = over_the_wire(envelope, message);
  expect(arrived.envelope == envelope && arrived.message == message, "the wire changed a message");
  const LinkName link{.rank = rank.rank(), .incarnation = rank.incarnation()};
  const protocol::MessageReceived received{.envelope = arrived.envelope,
                                           .message = arrived.message};
  send_event(link, received);
  if (std::holds_alternative<protocol::Report>(message) && random_.chance(options_.resent_report)) {
    ++probes_.resent_reports;
    send_event(link, received);
  }
}

void World::leave(const SimRank& rank) {
  RankState& state = ranks_[rank.rank()];
  state.life = Life::kLeft;
  send_event({.rank = rank.rank(), .incarnation = rank.incarnation()},
             protocol::RankLeft{.rank = rank.rank(), .incarnation = rank.incarnation()});
  // The process is in the middle of a call; it goes when the call is over.
  events_.at(now(), [&state] {
    state.process.reset();
    return std::nullopt;
  });
}

void World::send_event(const LinkName& link, protocol::Event event) {
  network_.send(link, [this, event = std::move(event)] {
    feed(event);
    return std::nullopt;
  });
}

void World::send_to_rank(std::uint32_t rank, const protocol::Message& message) {
  const std::uint32_t incarnation = ranks_[rank].incarnation_known;
  const protocol::Decoded arrived = over_the_wire(
      {.job = kJob, .epoch = kEpoch, .rank = rank, .incarnation = incarnation}, message);
  expect(arrived.message == message, "the wire changed a message");
  const LinkName link{.rank = rank, .incarnation = incarnation, .direction = Direction::kToRank};
  network_.send(
      link, [this, rank, incarnation, received = arrived.message]() -> std::optional<Instant> {
        post_life(rank, incarnation, now(), [received](SimRank& self) { self.receive(received); });
        return std::nullopt;
      });
}

void World::feed(const protocol::Event& event) {
  if (const auto* joined = std::get_if<protocol::RankJoined>(&event)) {
    std::uint32_t& known = ranks_[joined->rank].incarnation_known;
    known = std::max(known, joined->incarnation);
  }
  protocol::Effects effects;
  coordinator_.step(event, now(), effects);
  if (const auto* received = std::get_if<protocol::MessageReceived>(&event)) {
    const bool dead = received->envelope.incarnation != ranks_[received->envelope.rank].incarnation;
    probes_.messages_of_dead_lives += dead ? 1 : 0;
    check_acceptance(*received, effects);
  }
  for (const protocol::Effect& effect : effects) {
    if (const auto* send = std::get_if<protocol::Send>(&effect)) {
      if (const auto* grant = std::get_if<protocol::Grant>(&send->message)) {
        check_grant(send->rank, *grant);
      } else if (const auto* done = std::get_if<protocol::StepDone>(&send->message)) {
        check_sink(*done);
      }
      send_to_rank(send->rank, send->message);
    } else if (const auto* keep = std::get_if<protocol::Keep>(&effect)) {
      const std::string problem = store_.keep(keep->blob);
      expect(problem.empty(), problem);
    } else if (const auto* release = std::get_if<protocol::Release>(&effect)) {
      const std::string problem = store_.release(release->blob);
      expect(problem.empty(), problem);
    } else if (const auto* end = std::get_if<protocol::EndJob>(&effect)) {
      expect(false, "the job ended: " + end->failure.text);
    }
  }
  schedule_tick();
}

void World::schedule_tick() {
  const Instant deadline = coordinator_.next_deadline();
  if (deadline == Instant::max() || (next_tick_ > now() && next_tick_ <= deadline)) {
    return;
  }
  next_tick_ = std::max(deadline, now());
  events_.at(next_tick_, [this, due = next_tick_]() -> std::optional<Instant> {
    if (next_tick_ == due) {
      next_tick_ = Instant::max();
      feed(protocol::Tick{});
    }
    return std::nullopt;
  });
}

}  // namespace pinion::sim
