#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace pinion {

/// One way to and fro of the process that asks, or of the one that answers.
using Trip = std::function<void()>;

struct Contender {
  std::string name;
  std::string beside;  // The contender that it is compared with.
  std::size_t trips_per_sample = 10;
  std::size_t samples_per_round = 300;
  // Called once in each of the two processes.
  std::function<Trip(bool asks)> open;
};

}  // namespace pinion
