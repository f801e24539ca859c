#include "transport/peer_table.hpp"

#include <utility>

namespace pinion::detail {

bool PeerLine::take(std::uint64_t cost) noexcept {
  for (;;) {
    // The credit first: what is read of taken_ afterwards is not less. Pairs with the release in
    // credit().
    const std::uint64_t credited = credited_.load(std::memory_order_acquire);
    std::uint64_t taken = taken_.load(std::memory_order_relaxed);
    if (taken - credited >= window_bytes_) {
      return false;
    }
    if (taken_.compare_exchange_weak(taken, taken + cost, std::memory_order_relaxed)) {
      return true;
    }
  }
}

void PeerLine::give_back(std::uint64_t cost) noexcept {
  taken_.fetch_sub(cost, std::memory_order_relaxed);
}

bool PeerLine::credit(std::uint64_t total) noexcept {
  if (total < credited_.load(std::memory_order_relaxed) ||
      total > taken_.load(std::memory_order_relaxed)) {
    return false;
  }
  // Release pairs with the acquire in take(): whoever sees the credit sees taken_ as it was here.
  credited_.store(total, std::memory_order_release);
  return true;
}

Status PeerTable::begin(std::uint32_t host) {
  const MutexLock lock(mutex_);
  Entry& entry = entries_[host];
  if (entry.line != nullptr || entry.connecting) {
    return {ErrorCode::kAlreadyExists, "host " + std::to_string(host) + " is " +
                                           (entry.connecting ? "being connected" : "connected") +
                                           " already"};
  }
  entry.connecting = true;
  return {};
}

void PeerTable::set_reachable(const std::shared_ptr<PeerLine>& line, LinkPath path) {
  const MutexLock lock(mutex_);
  Entry& entry = entries_[line->host()];
  entry.was_connected = true;
  entry.connecting = false;
  entry.line = line;
  entry.path = std::move(path);
}

void PeerTable::set_slow(std::uint32_t host, std::string reason) {
  const MutexLock lock(mutex_);
  entries_[host].path.slow = std::move(reason);
}

void PeerTable::set_gone(std::uint32_t host) {
  const MutexLock lock(mutex_);
  Entry& entry = entries_[host];
  entry.connecting = false;
  entry.line = nullptr;
  entry.path = {};
}

std::shared_ptr<PeerLine> PeerTable::find(std::uint32_t host) const {
  const MutexLock lock(mutex_);
  const auto found = entries_.find(host);
  return found == entries_.end() ? nullptr : found->second.line;
}

PeerTraffic& PeerTable::traffic(std::uint32_t host) {
  const MutexLock lock(mutex_);
  return entries_[host].traffic;
}

std::vector<Peer> PeerTable::peers() const {
  const MutexLock lock(mutex_);
  std::vector<Peer> peers;
  for (const auto& [host, entry] : entries_) {
    if (entry.was_connected) {
      peers.push_back(
          {.host = host,
           .reachable = entry.line != nullptr,
           .path = entry.path.name,
           .slow = entry.path.slow,
           .path_bytes_per_second = entry.path.bytes_per_second,
           .sent_bytes = entry.traffic.sent_bytes.load(std::memory_order_relaxed),
           .received_bytes = entry.traffic.received_bytes.load(std::memory_order_relaxed),
           .bulk_bytes = entry.traffic.bulk_bytes.load(std::memory_order_relaxed),
           .bulk_time = Duration(entry.traffic.bulk_nanoseconds.load(std::memory_order_relaxed))});
    }
  }
  return peers;
}

}  // namespace pinion::detail
