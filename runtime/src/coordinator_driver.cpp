#include "coordinator_driver.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include <pinion/core/assert.hpp>
#include <pinion/shard/protocol/wire.hpp>

namespace pinion {
namespace {

const protocol::Report* report_in(const protocol::Event& event) {
  const auto* const received = std::get_if<protocol::MessageReceived>(&event);
  return received == nullptr ? nullptr : std::get_if<protocol::Report>(&received->message);
}

}  // namespace

CoordinatorDriver::CoordinatorDriver(const protocol::CoordinatorOptions& options, Hooks hooks,
                                     const IClock& clock, GrantLog& log)
    : options_(options),
      hooks_(std::move(hooks)),
      clock_(clock),
      log_(log),
      coordinator_(options),
      incarnations_(options.rank_count, 0) {}

void CoordinatorDriver::rank_joined(LoggedRank who, std::int64_t pid) {
  PINION_ASSERT(who.rank < incarnations_.size());
  incarnations_[who.rank] = who.incarnation;
  log_.joined(who, pid);
  step(protocol::RankJoined{who.rank, who.incarnation});
}

void CoordinatorDriver::rank_lost(LoggedRank who, const std::string& reason, bool returns) {
  log_.lost(who, reason, returns);
  step(protocol::RankLost{who.rank, who.incarnation, returns, reason});
}

void CoordinatorDriver::rank_left(LoggedRank who) {
  log_.left(who);
  step(protocol::RankLeft{who.rank, who.incarnation});
}

void CoordinatorDriver::host_lost(std::uint32_t host, const std::string& reason) {
  log_.host_lost(host, reason);
  step(protocol::HostLost{host, reason});
}

Status CoordinatorDriver::message_arrived(LoggedRank who, std::span<const std::byte> bytes) {
  Result<protocol::Decoded> decoded = protocol::decode(bytes);
  if (!decoded) {
    return std::move(decoded).error();
  }
  const protocol::Envelope& envelope = decoded->envelope;
  if (envelope.rank != who.rank || envelope.incarnation != who.incarnation) {
    return Status(ErrorCode::kPermissionDenied,
                  "a message says it is from rank " + std::to_string(envelope.rank) + ", life " +
                      std::to_string(envelope.incarnation) + "; it came from rank " +
                      std::to_string(who.rank) + ", life " + std::to_string(who.incarnation));
  }
  step(protocol::MessageReceived{envelope, std::move(decoded->message)});
  return {};
}

Status CoordinatorDriver::drain(std::uint32_t rank, const std::string& reason) {
  if (rank >= incarnations_.size()) {
    return Status(ErrorCode::kInvalidArgument, "there is no rank " + std::to_string(rank) +
                                                   "; the job has ranks 0 to " +
                                                   std::to_string(incarnations_.size() - 1));
  }
  if (incarnations_[rank] == 0) {
    return Status(ErrorCode::kFailedPrecondition,
                  "rank " + std::to_string(rank) + " has not joined the job yet; ask again later");
  }
  step(protocol::MessageReceived{{.job = options_.job,
                                  .epoch = options_.epoch,
                                  .rank = rank,
                                  .incarnation = incarnations_[rank]},
                                 protocol::Drain{.reason = reason}});
  return {};
}

void CoordinatorDriver::fail(const protocol::Failure& failure) {
  if (!ended_) {
    end_job(failure);
  }
}

void CoordinatorDriver::tick() {
  step(protocol::Tick{});
}

void CoordinatorDriver::step(const protocol::Event& event) {
  if (const auto* received = std::get_if<protocol::MessageReceived>(&event)) {
    if (const auto* failed = std::get_if<protocol::BatchFailed>(&received->message)) {
      log_.failed({received->envelope.rank, received->envelope.incarnation}, *failed);
    }
  }
  // A hook may come back to this before all are carried out.
  protocol::Effects effects = std::exchange(effects_, {});
  coordinator_.step(event, clock_.now(), effects);
  const protocol::Report* const report = report_in(event);
  for (protocol::Effect& effect : effects) {
    if (accepts_nothing_) {
      break;
    }
    if (auto* const record = std::get_if<protocol::Persist>(&effect)) {
      persist(std::move(record->record));
      continue;
    }
    const auto* const send = std::get_if<protocol::Send>(&effect);
    const std::uint32_t incarnation = send == nullptr ? 0 : incarnations_[send->rank];
    if (may_carry_out(effect)) {
      carry_out(effect, incarnation, report);
    } else {
      withheld_.push_back(
          {.record_count = persisted_count_,
           .effect = std::move(effect),
           .incarnation = incarnation,
           .report = report ? std::make_shared<const protocol::Report>(*report) : nullptr});
    }
  }
  coordinator_.reuse(effects);
  effects_ = std::move(effects);
  const protocol::Progress progress = coordinator_.progress();
  if (progress.step != latest_.step) {
    earlier_ = totals();
  }
  latest_ = progress;
}

JobTotals CoordinatorDriver::totals() const noexcept {
  return {latest_.step, earlier_.shard_count + latest_.shard_accepted_count,
          earlier_.input_bytes + latest_.input_bytes,
          earlier_.failure_count + latest_.failure_count,
          earlier_.skipped_shard_count + latest_.skipped_shard_count};
}

void CoordinatorDriver::restore(std::span<const protocol::Record> records) {
  coordinator_ = protocol::Coordinator::restore(options_, records);
  latest_ = coordinator_.progress();
}

void CoordinatorDriver::persist(protocol::Record record) {
  const Result<std::uint64_t> sent = hooks_.persist(std::move(record));
  if (!sent) {
    no_record_is_safe(sent.error());
    return;
  }
  persisted_count_ = *sent;
}

void CoordinatorDriver::records_are_safe(std::uint64_t count) {
  safe_count_ = std::max(safe_count_, count);
  while (!withheld_.empty() && withheld_.front().record_count <= safe_count_) {
    // Carrying it out may end the job, and drop all that waits.
    const Withheld next = std::move(withheld_.front());
    withheld_.pop_front();
    carry_out(next.effect, next.incarnation, next.report.get());
  }
}

void CoordinatorDriver::no_record_is_safe(const Status& why) {
  if (accepts_nothing_) {
    return;
  }
  accepts_nothing_ = true;
  withheld_.clear();
  if (ended_) {
    return;
  }
  end_job({why.code(), "the journal cannot be kept, so nothing more is accepted: " +
                           std::string(why.message())});
}

bool CoordinatorDriver::may_carry_out(const protocol::Effect& effect) const noexcept {
  if (std::holds_alternative<protocol::Keep>(effect)) {
    return true;  // What a rank made is not to go with it while the record is on its way.
  }
  return withheld_.empty() && persisted_count_ <= safe_count_;
}

void CoordinatorDriver::carry_out(const protocol::Effect& effect, std::uint32_t incarnation,
                                  const protocol::Report* report) {
  if (const auto* send = std::get_if<protocol::Send>(&effect)) {
    follow_sent(*send, {send->rank, incarnation}, report);
    if (incarnation != incarnations_[send->rank]) {
      return;  // It waited, and who it was for died meanwhile.
    }
    const protocol::Envelope envelope{options_.job, options_.epoch, send->rank, incarnation};
    hooks_.send(send->rank, protocol::encode(envelope, send->message));
  } else if (const auto* keep = std::get_if<protocol::Keep>(&effect)) {
    if (Status kept = hooks_.keep(keep->blob); !kept.ok() && !ended_) {
      end_job({ErrorCode::kDataLoss,
               "an accepted blob is not where it should be: " + kept.to_string()});
    }
  } else if (const auto* release = std::get_if<protocol::Release>(&effect)) {
    hooks_.release(release->blob);
  } else if (const auto* seen = std::get_if<protocol::Observation>(&effect)) {
    if (hooks_.tell) {
      hooks_.tell(seen->text);
    }
  } else if (const auto* end = std::get_if<protocol::EndJob>(&effect); end && !ended_) {
    ended_ = true;
    hooks_.end_job(end->failure);
  }
}

void CoordinatorDriver::end_job(const protocol::Failure& failure) {
  ended_ = true;
  for (std::uint32_t rank = 0; rank < incarnations_.size(); ++rank) {
    if (incarnations_[rank] > 0) {
      const protocol::Envelope envelope{options_.job, options_.epoch, rank, incarnations_[rank]};
      hooks_.send(rank, protocol::encode(envelope, protocol::JobFailed{failure}));
    }
  }
  hooks_.end_job(failure);
}

void CoordinatorDriver::tell_step_is_over(std::uint64_t step) {
  if (hooks_.step_over) {
    hooks_.step_over(step);
  }
}

void CoordinatorDriver::follow_sent(const protocol::Send& send, LoggedRank who,
                                    const protocol::Report* report) {
  if (const auto* grant = std::get_if<protocol::Grant>(&send.message)) {
    log_.granted(who, *grant);
  } else if (const auto* done = std::get_if<protocol::StepDone>(&send.message)) {
    log_.step_done(who, done->step);
    tell_step_is_over(done->step);
  } else if (const auto* step_failed = std::get_if<protocol::StepFailed>(&send.message)) {
    tell_step_is_over(step_failed->step);
  } else if (std::holds_alternative<protocol::Drained>(send.message)) {
    log_.drained(who);
  } else if (const auto* verdict = std::get_if<protocol::Verdict>(&send.message)) {
    // The verdict answers the report that is being handled; it names that report by number only.
    if (report != nullptr && report->report == verdict->report) {
      log_.settled(who, *report, verdict->failure);
      if (verdict->failure.code != ErrorCode::kOk) {
        hooks_.release(report->output);  // Nobody will ask for it; its rank may live for long.
      }
    }
  }
}

}  // namespace pinion
