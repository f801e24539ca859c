// An agent of another host than the first: what the head tells it, and the head's end.

#include <unistd.h>

#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "agent/agent.hpp"

namespace pinion {

void Agent::handle_head(const HostMessage& message) {
  if (const auto* to = std::get_if<ToRank>(&message)) {
    if (is_here(to->rank)) {
      const std::uint32_t rank = to->rank - share_.first_rank;
      if (ranks_[rank].connected && ranks_[rank].incarnation == to->incarnation) {
        answer(rank, FrameKind::kControl, 0, to->message);
      }
    }
  } else if (const auto* keep = std::get_if<KeepBlob>(&message)) {
    if (const Status kept = segments_.keep(keep->blob); !kept.ok()) {
      link_->send(0, HostBroken{ErrorCode::kDataLoss,
                                "an accepted blob is not where it should be: " + kept.to_string()});
    }
  } else if (const auto* gone = std::get_if<ReleaseBlob>(&message)) {
    release_here(gone->blob);
  } else if (const auto* signal = std::get_if<SignalRanks>(&message)) {
    act_on_signal(signal->signal);
  } else if (const auto* end = std::get_if<EndRanks>(&message)) {
    end_all_later(end->exit_status, end->patience);
  } else if (const auto* begin = std::get_if<BeginJob>(&message)) {
    begin_job(*begin);
  } else if (const auto* input = std::get_if<JobInput>(&message)) {
    input_.feed(input->bytes);
  } else if (const auto* took = std::get_if<HeadTookOutput>(&message)) {
    if (took->is_closed) {
      output_.head_closed(took->of_errors);
    }
    output_.head_took(took->of_errors, took->byte_count);
  } else if (const auto* lost = std::get_if<HostIsLost>(&message)) {
    link_->give_up(lost->host, {ErrorCode::kUnavailable, "the job has lost it: " + lost->reason});
  } else if (std::holds_alternative<LeaveJob>(message)) {
    leaves_ = true;
    if (any_rank_runs()) {  // The head has given this host up.
      end_all_later(error_info(ErrorCode::kUnavailable).exit_status, Duration::zero());
      end_all_now();
    }
  }
}

void Agent::begin_job(const BeginJob& begin) {
  for (std::uint32_t host = 1; host < begin.addresses.size(); ++host) {
    // Of each two, the one with the greater number connects.
    if (host < share_.host) {
      if (const Status joined = link_->join(host, begin.addresses[host]); !joined.ok()) {
        say(fmt::format("pinion: {} cannot reach {}: {}", spec_.hosts[share_.host].name,
                        spec_.hosts[host].name, joined.to_string()));
      }
    }
  }
  if (exit_status_) {
    return;
  }
  if (const Status started = start_first(); !started.ok()) {
    say("pinion: " + started.to_string());
    end_all_later(error_info(started.code()).exit_status, Duration::zero());
  }
}

void Agent::serve_lifeline() {
  if (head_is_here_) {
    lifeline_ = UniqueFd();  // From now on the job needs nobody between.
  }
  char bytes[256];
  const ssize_t count = lifeline_.valid() ? read(lifeline_.get(), bytes, sizeof(bytes)) : 1;
  if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
    head_is_gone("the remote shell that started this agent has ended");
  }
}

void Agent::head_is_gone(const std::string& reason) {
  lifeline_ = UniqueFd();
  output_.end_sending();
  if (leaves_) {
    return;
  }
  leaves_ = true;
  say(fmt::format("pinion: {} ends its ranks, as the head of the job is gone: {}",
                  spec_.hosts[share_.host].name, reason));
  end_all_later(error_info(ErrorCode::kUnavailable).exit_status, Duration::zero());
  end_all_now();
}

// The ranks are over, and so is what they have started; the head is to have the last of what these
// have printed before this agent ends.
void Agent::end_output() {
  if (leaves_ && !output_has_ended_ && !any_rank_runs()) {
    output_has_ended_ = true;
    end_strays();
    output_.read_rest();
    report_pages();
  }
}

void Agent::tell_when_over() {
  if (!told_over_ && (begun_ || exit_status_) && !any_rank_runs()) {
    told_over_ = true;
    link_->send(0, HostRanksOver{traffic()});
  }
}

}  // namespace pinion
