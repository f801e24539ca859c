#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>

namespace pinion {

/// Hosts that reach the head of their job and not each other, of which the job goes on without one.
///
/// Thread safety: none.
class PartedHosts {
 public:
  /// Somebody to go on without, and one of those whom it does not reach.
  struct Choice {
    std::uint32_t host = 0;
    std::uint32_t other = 0;
    std::string reason = {};
  };

  /// For so long two hosts are taken for parted before anything follows: of one that is gone for
  /// all, others may know before the head does.
  explicit PartedHosts(Duration patience) : patience_(patience) {}

  /// One of the two has said that it does not reach the other.
  void add(std::uint32_t host, std::uint32_t other, Instant now, std::string reason);

  /// The host is lost, for whatever reason.
  void forget(std::uint32_t host);

  /// When choose() has an answer; nothing where no hosts are parted.
  [[nodiscard]] std::optional<Instant> due() const;

  /// Of two hosts that are parted for long enough, the one that is parted from more others, or else
  /// the later one.
  [[nodiscard]] std::optional<Choice> choose(Instant now) const;

 private:
  struct Pair {
    std::uint32_t first = 0;  // The lower number.
    std::uint32_t second = 0;
    Instant since = {};
    std::string reason = {};
  };

  [[nodiscard]] std::size_t count_of(std::uint32_t host) const;

  Duration patience_;
  std::vector<Pair> pairs_;  // In the order in which they were known.
  // The same, to be found: where a network falls in two, each pair across it is told twice.
  std::set<std::pair<std::uint32_t, std::uint32_t>> known_;
};

}  // namespace pinion
