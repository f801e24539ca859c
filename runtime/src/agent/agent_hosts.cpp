// What agents of several hosts have in common: their link, blobs that they give to each other, and
// what the coordinator is told of ranks.

#include <fcntl.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <pinion/shard/protocol/wire.hpp>
#include <pinion/ucx/ucx_transport.hpp>

#include "agent/agent.hpp"
#include "agent/rank_process.hpp"
#include "hosts/host_list.hpp"
#include "memory_budget.hpp"

namespace pinion {
namespace {

std::vector<int> open_descriptors() {
  std::vector<int> descriptors;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
    descriptors.push_back(std::atoi(entry.path().filename().c_str()));
  }
  return descriptors;
}

// "rc,self" as two words.
std::vector<std::string> words_of(const std::string& list) {
  std::vector<std::string> words;
  std::istringstream stream(list);
  for (std::string word; std::getline(stream, word, ',');) {
    words.push_back(word);
  }
  return words;
}

// A Pinion that cannot do what it is asked to says why by its exit status.
int status_of_agent(int wait_status) {
  const int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0;
  return status >= 64 && status < 80 ? status : error_info(ErrorCode::kUnavailable).exit_status;
}

}  // namespace

// A transport's descriptors may be such that exec leaves them open.
void Agent::keep_descriptors_from_ranks() const {
  for (const int descriptor : open_descriptors()) {
    if (std::find(inherited_.begin(), inherited_.end(), descriptor) == inherited_.end()) {
      fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    }
  }
}

Status Agent::open_link(const HostIdentity& identity) {
  const Result<std::string> address = own_address_in(settings_.network);
  if (!address) {
    return address.error();
  }
  inherited_ = open_descriptors();
  Result<std::unique_ptr<HostLink>> link = HostLink::create(
      identity,
      [&](const JobKey& job_key, TransportHandlers handlers) {
        return create_ucx_transport({.host = identity.host,
                                     .listen_address = *address,
                                     .transports = words_of(settings_.transports),
                                     .devices = words_of(settings_.network_devices),
                                     .job_key = job_key,
                                     .handlers = std::move(handlers)});
      },
      [this](const BlobHandle& handle) { return view_for_others(handle); });
  if (!link) {
    return std::move(link).error().with_context("this host cannot reach the others of the job");
  }
  link_ = *std::move(link);
  copies_.emplace(
      CopyTableOptions{
          .identity = {job_, epoch_, share_.host},
          .host_count = host_count(),
          .memory_bytes_max = settings_.memory_bytes / 4 * share_.rank_count,
          .spill_directory = settings_.spill_bytes_max > 0 ? settings_.spill_directory : "",
          .available_bytes = available_bytes},
      *link_,
      [this](const BlobCopies::Asker& asker, const BlobHandle& handle,
             const Result<std::pair<int, Place>>& copy) { answer_copy(asker, handle, copy); });
  parts_.emplace(epoch_, *copies_, *link_,
                 [this](const BlobCopies::Asker& asker, const Status& outcome) {
                   answer_parts(asker, outcome);
                 });
  return {};
}

// Called by the transport's thread.
Result<Blob> Agent::view_for_others(const BlobHandle& handle) {
  MutexLock turn(turn_);
  return segments_.view(handle);
}

bool Agent::goes_on() const {
  return any_rank_runs() || (remote_hosts_ && any_host_is_left()) ||
         (!is_head() && (!leaves_ || !output_.head_has_all()));
}

void Agent::serve_link() {
  if (!link_) {
    return;
  }
  for (const HostEvent& event : link_->take_events()) {
    handle_link(event);
  }
  waits_for_credit_ = link_->flush();
  serve_shells();
  if (is_head()) {
    serve_hosts();
  } else {
    serve_lifeline();
    tell_when_over();
    end_output();
  }
}

void Agent::serve_shells() {
  for (const RemoteShells::End& end : shells_.serve()) {
    output_.read_shell(end.host);  // Its last words come before ours.
    pass_output_on();
    const HostNotStarted news{
        end.host, status_of_agent(end.wait_status),
        fmt::format("its remote shell {} {}", WIFSIGNALED(end.wait_status) ? "was" : "ended with",
                    describe_wait_status(end.wait_status))};
    if (is_head()) {
      host_not_started(share_.host, news);
    } else {
      link_->send(0, news);
    }
  }
}

void Agent::handle_link(const HostEvent& event) {
  if (const auto* pulled = std::get_if<BlobPulled>(&event)) {
    if (!parts_->pulled(*pulled)) {
      copies_->pulled(*pulled);
    }
  } else if (const auto* stranger = std::get_if<StrangerRefused>(&event)) {
    say("pinion: " + stranger->reason.to_string());
  } else if (const auto* slow = std::get_if<HostSlow>(&event)) {
    say("pinion: warning: from " + spec_.hosts[share_.host].name + " to " +
        spec_.hosts[slow->host].name + ": " + slow->reason);
  } else if (const auto* said = std::get_if<HostSaid>(&event)) {
    if (const auto* const printed = std::get_if<HostPrinted>(&said->message);
        is_head() && printed != nullptr) {
      host_outputs_.arrived(said->host, *printed);
    } else if (is_head()) {
      handle_host_later(*said);
    } else if (said->host == 0) {
      handle_head(said->message);
    }
  } else if (const auto* came = std::get_if<HostCame>(&event)) {
    if (is_head()) {
      host_came(*came);
    } else if (came->host == 0) {
      head_is_here_ = true;
    }
  } else if (const auto* gone = std::get_if<HostGone>(&event)) {
    if (is_head()) {
      host_lost(gone->host, gone->reason.to_string());
    } else if (gone->host == 0) {
      head_is_gone(gone->reason.to_string());
    } else if (!leaves_) {
      link_->send(0, HostMissed{gone->host, gone->reason.to_string()});
    }
  }
}

void Agent::pass_input_on() {
  if (remote_hosts_) {
    if (const std::optional<std::span<const std::byte>> block = input_.take_block()) {
      link_->send_to_all(JobInput{{block->begin(), block->end()}});
    }
  } else if (link_ && input_.take_readiness()) {
    link_->send(0, HostTookInput{});
  }
}

void Agent::send_output_on() {
  if (!link_) {
    return;
  }
  if (is_head()) {
    for (const auto& [host, took] : host_outputs_.take_answers()) {
      link_->send(host, took);
    }
    return;
  }
  while (std::optional<OutputRelay::Block> block =
             head_is_here_ ? output_.take_block() : std::nullopt) {
    link_->send(0, HostPrinted{block->on_errors, std::move(block->bytes)});
  }
}

void Agent::tell_joined(std::uint32_t rank) {
  const LoggedRank who = named(rank);
  const pid_t pid = ranks_[rank].process->pid;
  if (driver_) {
    driver_->rank_joined(who, pid);
  } else {
    link_->send(0, HostRankJoined{who.rank, who.incarnation, pid});
  }
}

void Agent::tell_lost(std::uint32_t rank, const std::string& reason, bool returns) {
  const LoggedRank who = named(rank);
  if (driver_) {
    driver_->rank_lost(who, reason, returns);
  } else {
    link_->send(0, HostRankLost{who.rank, who.incarnation, returns, reason});
  }
}

void Agent::tell_left(std::uint32_t rank) {
  const LoggedRank who = named(rank);
  if (driver_) {
    driver_->rank_left(who);
  } else {
    link_->send(0, HostRankLeft{who.rank, who.incarnation});
  }
}

Status Agent::pass_on(std::uint32_t rank, std::span<const std::byte> message) {
  const LoggedRank who = named(rank);
  if (driver_) {
    return driver_->message_arrived(who, message);
  }
  const Result<protocol::Decoded> decoded = protocol::decode(message);
  if (!decoded) {
    return decoded.error();
  }
  keep_what_is_named(decoded->message);
  output_.catch_up_with(who.rank);
  pass_output_on();  // What the rank has printed before is on its way before this.
  link_->send(
      0, FromRank{
             who.rank, who.incarnation, output_.output_bytes(), {message.begin(), message.end()}});
  return {};
}

// Those that the job is to keep.
std::vector<BlobHandle> Agent::blobs_named_by(const protocol::Message& message) {
  std::vector<BlobHandle> blobs;
  if (const auto* report = std::get_if<protocol::Report>(&message)) {
    blobs.push_back(report->output);
  } else if (const auto* planned = std::get_if<protocol::PlanReady>(&message)) {
    blobs = planned->streams;
    blobs.push_back(planned->plan);
  }
  std::erase(blobs, BlobHandle{});
  return blobs;
}

// What a rank has reported must not go with it while the report is on its way to the head, who then
// says what the job keeps.
void Agent::keep_what_is_named(const protocol::Message& message) {
  for (const BlobHandle& blob : blobs_named_by(message)) {
    if (blob.job == job_ && is_with_us(blob)) {
      // One that is not there is missed by the head, when the job is to keep it.
      static_cast<void>(segments_.keep(blob).ok());
    }
  }
}

void Agent::tell_end(int exit_status, Duration patience) {
  if (remote_hosts_) {
    link_->send_to_all(EndRanks{exit_status, patience});
  } else if (link_ && !leaves_) {
    // Not where the head is believed gone: if it is there, this host is lost to it, and no more.
    link_->send(0, HostRankFailed{exit_status, false});
  }
}

void Agent::fetch_copy(std::uint32_t rank, const BlobHandle& handle, std::uint64_t request) {
  const Result<BlobMemory>& memory = blob_memory();
  copies_->fetch({.rank = rank, .client = ranks_[rank].client, .request = request}, handle,
                 home_of_copies(rank), memory ? &*memory : nullptr);
}

void Agent::handle_fetch_parts(std::uint32_t rank, const Frame& frame) {
  const BlobCopies::Asker asker{
      .rank = rank, .client = ranks_[rank].client, .request = frame.request};
  const Result<std::vector<BlobPart>> parts = decode_parts(frame.payload);
  if (!parts) {
    answer_parts(asker, parts.error());
  } else if (!parts_ || frame.descriptors.size() != 1) {
    answer_parts(asker, {ErrorCode::kInvalidArgument,
                         "parts of blobs are asked for where there is one host, or without memory "
                         "for them"});
  } else {
    parts_->fetch(asker, *parts, frame.descriptors.front().get());
  }
}

void Agent::answer_parts(const BlobCopies::Asker& asker, const Status& outcome) {
  const Rank& rank = ranks_[asker.rank];
  if (rank.connected && rank.client == asker.client) {
    answer(asker.rank, asker.request, outcome);
  }
}

void Agent::answer_copy(const BlobCopies::Asker& asker, const BlobHandle& handle,
                        const Result<std::pair<int, Place>>& copy) {
  if (asker.client == kJournalClient) {
    copy_for_journal_is_here(asker.request, handle, copy ? Status() : copy.error());
    return;
  }
  const Rank& rank = ranks_[asker.rank];
  if (!rank.connected || rank.client != asker.client) {
    copies_->table().let_go(asker.client, handle);
  } else if (!copy) {
    answer(asker.rank, asker.request, copy.error());
  } else {
    const auto& [descriptor, home] = *copy;
    answer(asker.rank, FrameKind::kDescriptor, asker.request, encode_reference({handle, home}),
           {&descriptor, 1});
  }
}

// Nothing binds a copy: it lies where the thread runs that fills it. A place of the host it needs.
Place Agent::home_of_copies(std::uint32_t rank) const {
  return {.kind = PlaceKind::kNuma,
          .index = ranks_[rank].placement.groups.front().place.index,
          .host = share_.host};
}

void Agent::release_here(const BlobHandle& blob) {
  if (is_with_us(blob)) {
    segments_.release(blob);
  } else if (copies_) {
    copies_->table().release(blob);
  }
}

std::vector<HostTraffic> Agent::traffic() const {
  std::vector<HostTraffic> all;
  for (const Peer& peer : link_->peers()) {
    const auto found = copies_->traffic().find(peer.host);
    HostTraffic traffic = found == copies_->traffic().end() ? HostTraffic() : found->second;
    traffic.host = peer.host;
    traffic.path = peer.path;
    traffic.slow = peer.slow;
    traffic.bulk_bytes = peer.bulk_bytes;
    traffic.bulk_time = peer.bulk_time;
    all.push_back(std::move(traffic));
  }
  return all;
}

}  // namespace pinion
