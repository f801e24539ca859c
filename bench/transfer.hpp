#pragma once

#include <array>
#include <cstddef>
#include <cstdio>

namespace pinion::bench {

/// What the contenders of bench/transport_hosts carry.
struct Transfer {
  std::size_t bytes;
  std::size_t at_once;
  std::size_t rounds;
};

inline constexpr std::array<Transfer, 4> kTransfers = {{{std::size_t{64} << 10, 1, 200},
                                                        {std::size_t{1} << 20, 8, 12},
                                                        {std::size_t{8} << 20, 4, 6},
                                                        {std::size_t{64} << 20, 1, 4}}};
inline constexpr std::size_t kRequestCount = 3000;

/// The first round warms up.
inline void print_rate(const Transfer& transfer, double seconds, std::size_t round) {
  if (round > 0) {
    std::printf(" %.0f", static_cast<double>(transfer.bytes * transfer.at_once) / seconds);
  }
}

}  // namespace pinion::bench
