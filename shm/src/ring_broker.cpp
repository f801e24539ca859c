#include <pinion/shm/ring_broker.hpp>

#include <algorithm>
#include <string>

namespace pinion {

Result<RingTicket> RingBroker::ask(std::uint32_t client, std::uint32_t peer) {
  if (client == peer) {
    return Status(ErrorCode::kInvalidArgument, "a ring of client " + std::to_string(client) +
                                                   " with itself; a ring joins two processes");
  }
  const Pair pair(std::min(client, peer), std::max(client, peer));
  const auto found = rings_.find(pair);
  if (found == rings_.end()) {
    Result<std::pair<RingTicket, RingTicket>> made = make();
    if (!made) {
      return std::move(made).error();
    }
    auto& [lower, higher] = *made;
    RingTicket& wanted = client < peer ? lower : higher;
    RingTicket& other = client < peer ? higher : lower;
    rings_.emplace(pair, Ring{client, std::move(other)});
    return std::move(wanted);
  }
  Ring& ring = found->second;
  if (ring.asked_by == client || !ring.kept) {
    return Status(ErrorCode::kAlreadyExists,
                  "client " + std::to_string(client) + " has its ring with client " +
                      std::to_string(peer) + " already; there is one for each two processes");
  }
  RingTicket wanted = std::move(*ring.kept);
  ring.kept.reset();
  return wanted;
}

Result<std::pair<RingTicket, RingTicket>> RingBroker::make() {
  return make_ring(job_, made_count_++, capacity_);
}

void RingBroker::client_gone(std::uint32_t client) {
  std::erase_if(rings_, [client](const auto& ring) {
    return ring.first.first == client || ring.first.second == client;
  });
}

}  // namespace pinion
