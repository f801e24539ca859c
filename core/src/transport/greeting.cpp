#include <algorithm>

#include <pinion/core/bytes.hpp>

#include "transport/engine.hpp"

// How a connection becomes one between two hosts, or not. Two hosts may connect each other at once:
// the connection that the host with the lower number began stays.

namespace pinion::detail {
namespace {

constexpr std::string_view kPinionVersion = PINION_VERSION;

// Those who connect and say nothing, and words about those who said something wrong.
constexpr std::ptrdiff_t kStrangersMax = 256;
constexpr std::size_t kRefusalsMax = 256;

std::string describe_job(const JobKey& key) {
  return "job " + std::to_string(key.job) + ", epoch " + std::to_string(key.epoch);
}

}  // namespace

std::vector<std::byte> TransportEngine::greeting(std::uint32_t expected_host) const {
  return encode(Hello{.host = options_.host,
                      .expected_host = expected_host,
                      .incarnation = incarnation_,
                      .window_bytes = options_.window_bytes,
                      .job_key = options_.job_key,
                      .pinion_version = std::string(kPinionVersion),
                      .link_version = link_.version()});
}

void TransportEngine::connect(std::uint32_t host, const std::string& address) {
  if (find_host(host) != nullptr || stopping_) {
    return;  // It was quicker.
  }
  const Result<ConnectionId> opened = link_.open(address);
  if (!opened) {
    table_.set_gone(host);
    if (options_.handlers.on_peer) {
      options_.handlers.on_peer(
          host, Status(opened.error()).with_context("host " + std::to_string(host)));
    }
    return;
  }
  Connection& connection = add(*opened, Phase::kAwaitsWelcome, host);
  hosts_[host] = &connection;
  append(connection, {.kind = FrameKind::kHello}, greeting(host));
}

void TransportEngine::on_accepted(ConnectionId id) {
  const auto strangers = std::ranges::count_if(
      connections_, [](const auto& entry) { return entry.second->phase == Phase::kAwaitsHello; });
  if (strangers >= kStrangersMax) {
    link_.close(id, false);
    say_refusal({ErrorCode::kResourceExhausted,
                 std::to_string(kStrangersMax) +
                     " connections did not introduce themselves; one more was refused"});
    return;
  }
  add(id, Phase::kAwaitsHello, 0);
}

Status TransportEngine::check(const Hello& hello) const {
  const std::string who = "host " + std::to_string(hello.host);
  // First: what else does not fit is of no concern to those of another job.
  PINION_RETURN_IF_ERROR(check_job(hello));
  if (hello.pinion_version != kPinionVersion) {
    return {ErrorCode::kFailedPrecondition, who + " runs Pinion " + hello.pinion_version +
                                                ", host " + std::to_string(options_.host) +
                                                " runs " + std::string(kPinionVersion) +
                                                "; install the same version on all hosts"};
  }
  if (hello.link_version != link_.version()) {
    return {ErrorCode::kFailedPrecondition,
            who + " has " + hello.link_version + ", host " + std::to_string(options_.host) +
                " has " + link_.version() + "; install the same version on all hosts"};
  }
  if (hello.host == options_.host) {
    return {ErrorCode::kFailedPrecondition,
            "two hosts have the number " + std::to_string(hello.host)};
  }
  if (hello.expected_host != options_.host) {
    return {ErrorCode::kFailedPrecondition,
            who + " looks for host " + std::to_string(hello.expected_host) + ", and this is host " +
                std::to_string(options_.host)};
  }
  return {};
}

Status TransportEngine::check_job(const Hello& hello) const {
  const JobKey& own = options_.job_key;
  const JobKey& other = hello.job_key;
  if (other.job != own.job || other.epoch != own.epoch) {
    return {ErrorCode::kFailedPrecondition,
            "host " + std::to_string(hello.host) + " is of " + describe_job(other) + ", and host " +
                std::to_string(options_.host) + " of " + describe_job(own) +
                "; agents connect those of their own job only"};
  }
  if (other.proof != own.proof) {
    return {ErrorCode::kUnauthenticated,
            "host " + std::to_string(hello.host) + " says that it is of " + describe_job(own) +
                ", and cannot prove it; only agents that were started for this job can"};
  }
  return {};
}

Status TransportEngine::check_crossing(const Hello& hello) const {
  const auto found = hosts_.find(hello.host);
  if (found == hosts_.end()) {
    return {};
  }
  const Connection& other = *found->second;
  const bool stays = other.phase == Phase::kUp ? other.incarnation == hello.incarnation
                                               : options_.host < hello.host;
  if (stays) {
    return {ErrorCode::kAlreadyExists, "hosts " + std::to_string(options_.host) + " and " +
                                           std::to_string(hello.host) +
                                           " are connected by another connection"};
  }
  return {};
}

Status TransportEngine::on_hello(Connection& connection, const Frame& frame) {
  const Result<Hello> hello = decode_hello(frame.bytes);
  if (Status status = hello ? check(*hello) : hello.error(); !status.ok()) {
    say_refusal(status);
    doom(connection, std::move(status), true);
    return {};
  }
  if (Status status = check_crossing(*hello); !status.ok()) {
    doom(connection, std::move(status), true);
    return {};
  }
  make_way(connection, *hello);
  append(connection, {.kind = FrameKind::kWelcome}, greeting(hello->host));
  become_up(connection, *hello);
  return {};
}

// What this side has with that host ends: its own attempt, or the host's last life.
void TransportEngine::make_way(Connection& newcomer, const Hello& hello) {
  const auto found = hosts_.find(hello.host);
  if (found == hosts_.end() || found->second == &newcomer) {
    return;
  }
  Connection& other = *found->second;
  if (other.phase == Phase::kUp) {
    link_.close(other.id, false);
    lose(other, {ErrorCode::kUnavailable, "it was started anew"});
  } else {
    hosts_.erase(found);
    doom(other, {ErrorCode::kAlreadyExists, "the other side connected first"});
  }
}

Status TransportEngine::on_welcome(Connection& connection, const Frame& frame) {
  const Result<Hello> hello = decode_hello(frame.bytes);
  if (!hello) {
    return hello.error();
  }
  PINION_RETURN_IF_ERROR(check(*hello));
  if (hello->host != connection.host) {
    return {ErrorCode::kFailedPrecondition,
            "at its address is host " + std::to_string(hello->host)};
  }
  become_up(connection, *hello);
  return {};
}

void TransportEngine::on_refuse(Connection& connection, const Status& reason) {
  const std::uint32_t host = connection.host;
  const auto found = hosts_.find(host);
  if (reason.code() == ErrorCode::kAlreadyExists && host < options_.host && found != hosts_.end() &&
      found->second == &connection) {
    // That host is connecting this one, and says so soon.
    hosts_.erase(found);
    crossings_[host] = now_ + options_.connect_timeout;
  }
  doom(connection,
       Status(reason.code() == ErrorCode::kOk ? ErrorCode::kFailedPrecondition : reason.code(),
              "it refused: " + std::string(reason.message())));
}

void TransportEngine::lose_crossings(Instant now) {
  std::vector<std::uint32_t> late;
  for (const auto& [host, deadline] : crossings_) {
    if (deadline <= now) {
      late.push_back(host);
    }
  }
  for (const std::uint32_t host : late) {
    crossings_.erase(host);
    table_.set_gone(host);
    if (options_.handlers.on_peer) {
      options_.handlers.on_peer(
          host, Status(ErrorCode::kUnavailable,
                       "host " + std::to_string(host) + ": it was about to connect, and did not"));
    }
  }
}

void TransportEngine::become_up(Connection& connection, const Hello& hello) {
  connection.phase = Phase::kUp;
  connection.host = hello.host;
  connection.incarnation = hello.incarnation;
  connection.line = std::make_shared<PeerLine>(hello.host, connection.id, hello.window_bytes);
  connection.traffic = &table_.traffic(hello.host);
  hosts_[hello.host] = &connection;
  crossings_.erase(hello.host);
  connection.path = link_.path(connection.id);
  table_.set_reachable(connection.line, connection.path);
  if (options_.handlers.on_peer) {
    options_.handlers.on_peer(hello.host, Status());
  }
  if (!connection.path.slow.empty()) {
    say_slow(connection, connection.path.slow);
  }
}

void TransportEngine::say_refusal(const Status& reason) {
  if (options_.handlers.on_refusal && refusals_said_.size() < kRefusalsMax &&
      refusals_said_.emplace(reason.message()).second) {
    options_.handlers.on_refusal(reason);
  }
}

}  // namespace pinion::detail
