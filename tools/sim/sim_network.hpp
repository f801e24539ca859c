#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <map>
#include <utility>

#include "sim/sim_events.hpp"
#include "sim/sim_random.hpp"

namespace pinion::sim {

enum class Direction : std::uint8_t { kToCoordinator, kToRank };

/// One way of the connection of one life of a rank.
struct LinkName {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 0;
  Direction direction = Direction::kToCoordinator;

  friend auto operator<=>(const LinkName&, const LinkName&) = default;
};

/// Delays what is sent. A link keeps the order, as a stream socket does; different links do not,
/// and any may stall for longer than a lease lasts.
class Network {
 public:
  struct Weather {
    double stall_chance = 0;
    Duration stall_max = {};
  };

  Network(EventQueue& events, Random& random, Weather weather)
      : events_(events), random_(random), weather_(weather) {}

  /// Lets `arrival` happen at the far end.
  void send(const LinkName& link, EventQueue::Action arrival) {
    using namespace std::chrono_literals;
    Duration delay = random_.between(Duration(20us), Duration(3ms));
    if (random_.chance(weather_.stall_chance)) {
      delay += random_.between(Duration::zero(), weather_.stall_max);
    }
    Instant& last_arrival = last_arrivals_[link];
    last_arrival = std::max(last_arrival, events_.now() + delay);
    events_.at(last_arrival, std::move(arrival));
  }

 private:
  EventQueue& events_;
  Random& random_;
  Weather weather_;
  std::map<LinkName, Instant> last_arrivals_;
};

}  // namespace pinion::sim
