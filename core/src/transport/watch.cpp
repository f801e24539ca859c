#include <algorithm>

#include <pinion/core/bytes.hpp>

#include "transport/engine.hpp"

// What only time tells: requests that are late, peers that are silent, ways that are slow.

namespace pinion::detail {
namespace {

// A way is slow if blobs came for so long at less than that part of what it should carry.
constexpr Duration kBulkTimeMin = std::chrono::seconds(2);
constexpr double kSlowFactor = 10;

// Words about slow ways.
constexpr std::size_t kReasonsMax = 256;

}  // namespace

void TransportEngine::advance(Instant now) {
  // A host that was stopped itself heard nothing meanwhile, and declares nobody gone for that.
  if (now - now_ > options_.keepalive) {
    for (const auto& [id, connection] : connections_) {
      connection->heard = connection->moved = connection->metered = now;
      connection->loans.forgive(now);
    }
  }
  now_ = now;
  end_doomed();
  time_out_requests(now);
  if (now >= next_check_) {
    check_silence(now);
    check_rates(now);
    lose_crossings(now);
    next_check_ =
        now + std::min({options_.keepalive, options_.connect_timeout, options_.pull_timeout}) / 4;
    end_doomed();
  }
}

Instant TransportEngine::next_deadline() const noexcept {
  return request_deadlines_.empty() ? next_check_
                                    : std::min(next_check_, request_deadlines_.begin()->first);
}

bool TransportEngine::moves() const {
  return pulls_.any() || std::ranges::any_of(connections_, [](const auto& entry) {
           return entry.second->loans.size() > 0;
         });
}

void TransportEngine::time_out_requests(Instant now) {
  while (!request_deadlines_.empty() && request_deadlines_.begin()->first <= now) {
    const std::uint64_t id = request_deadlines_.begin()->second;
    const ReplyDone done = std::move(requests_.at(id).done);
    requests_.erase(id);
    request_deadlines_.erase(request_deadlines_.begin());
    done(Status(ErrorCode::kDeadlineExceeded,
                "no reply came in time; the other host may still act on the request"));
  }
}

void TransportEngine::check_silence(Instant now) {
  for (const auto& [id, owned] : connections_) {
    Connection& connection = *owned;
    if (connection.phase != Phase::kUp) {
      if (now - connection.begun >= options_.connect_timeout) {
        doom(connection, {ErrorCode::kUnavailable,
                          "no greeting came within " + format_duration(options_.connect_timeout)});
      }
      continue;
    }
    const Duration silence = now - connection.heard;
    if (silence >= 3 * options_.keepalive) {
      doom(connection,
           {ErrorCode::kUnavailable,
            "nothing was heard of it for " + format_duration(silence) + ", although it was asked"});
    } else if (silence >= options_.keepalive && !connection.asked) {
      connection.asked = true;
      append(connection, {.kind = FrameKind::kPing});
    }
    if (now - connection.moved >= options_.pull_timeout &&
        (pulls_.any(id) || connection.loans.size() > 0)) {
      doom(connection, {ErrorCode::kUnavailable,
                        "no pull moved for " + format_duration(now - connection.moved)});
    } else {
      check_loans(connection, now);
    }
  }
}

void TransportEngine::check_loans(Connection& connection, Instant now) {
  for (const std::uint64_t id : connection.loans.end_kept(now, options_.pull_timeout)) {
    // Who waits for more of it waits no longer; of a pull that has ended nobody is told.
    append_error(connection, FrameKind::kPullEnd, id,
                 {ErrorCode::kUnavailable,
                  "its bytes have left, and no word that they arrived came within " +
                      format_duration(options_.pull_timeout)});
  }
  if (connection.loans.any_stuck(now, options_.pull_timeout)) {
    doom(connection, {ErrorCode::kUnavailable, "it pulls a blob and does not take its bytes"});
  }
}

void TransportEngine::count_bulk(Connection& connection, Instant now) {
  if (connection.bulk_pulls > 0) {
    connection.traffic->bulk_nanoseconds.fetch_add((now - connection.metered).count(),
                                                   std::memory_order_relaxed);
  }
  connection.metered = now;
}

void TransportEngine::check_rates(Instant now) {
  const auto up = std::ranges::count_if(
      connections_, [](const auto& entry) { return entry.second->phase == Phase::kUp; });
  for (const auto& [id, owned] : connections_) {
    Connection& connection = *owned;
    if (connection.phase != Phase::kUp || connection.bulk_pulls == 0) {
      continue;
    }
    count_bulk(connection, now);
    const Duration time(connection.traffic->bulk_nanoseconds.load(std::memory_order_relaxed));
    const auto bytes =
        static_cast<double>(connection.traffic->bulk_bytes.load(std::memory_order_relaxed));
    const double rate = bytes / std::chrono::duration<double>(time).count();
    // All hosts may send at once by the same way.
    const double share =
        static_cast<double>(connection.path.bytes_per_second) / static_cast<double>(up);
    if (time >= kBulkTimeMin && rate * kSlowFactor < share && !connection.called_slow) {
      connection.called_slow = true;
      say_slow(connection, "blobs come at " + format_bytes(static_cast<std::uint64_t>(rate)) +
                               "/s, and " + connection.path.name + " should carry " +
                               format_bytes(connection.path.bytes_per_second) +
                               "/s; the network is slow or busy, or that host is");
    }
  }
}

void TransportEngine::say_slow(Connection& connection, const std::string& reason) {
  table_.set_slow(connection.host, reason);
  if (options_.handlers.on_slow && slow_said_.size() < kReasonsMax &&
      slow_said_.insert(reason).second) {
    options_.handlers.on_slow(connection.host, reason);
  }
}

}  // namespace pinion::detail
