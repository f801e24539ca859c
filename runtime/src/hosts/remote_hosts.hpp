#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <pinion/runtime/launch.hpp>

#include "grant_log.hpp"
#include "hosts/host_messages.hpp"

namespace pinion {

/// The other hosts of a job, as its head sees them: whose agents are there, and which life of each
/// rank.
///
/// Thread safety: none.
class RemoteHosts {
 public:
  explicit RemoteHosts(const LaunchSpec& spec);

  /// The agent of that host is there.
  void came(std::uint32_t host, std::string address);
  [[nodiscard]] bool all_came() const;
  [[nodiscard]] bool is_expected(std::uint32_t host) const {
    return at(host).state == State::kExpected;
  }
  /// By host; that of the head is `own`.
  [[nodiscard]] std::vector<std::string> addresses(const std::string& own) const;

  /// No rank of that host runs any more.
  void ranks_over(std::uint32_t host, std::vector<HostTraffic> traffic);
  /// Whether that holds for all that are not lost.
  [[nodiscard]] bool all_over() const;

  /// The host is gone for good. Whether that is news.
  bool lose(std::uint32_t host);
  [[nodiscard]] bool is_lost(std::uint32_t host) const { return at(host).state == State::kLost; }

  [[nodiscard]] const std::string& name_of(std::uint32_t host) const { return at(host).name; }
  /// Whether the agent of any may still be there: it is, until its connection ends.
  [[nodiscard]] bool any_is_left() const;
  void lose_all();
  /// What went between that host and others, once its ranks are over.
  [[nodiscard]] const std::vector<HostTraffic>& traffic_of(std::uint32_t host) const {
    return at(host).traffic;
  }

  // Their ranks. Precondition: the rank runs on another host than the first.
  void rank_joined(LoggedRank who);
  [[nodiscard]] std::uint32_t host_of(std::uint32_t rank) const;
  [[nodiscard]] std::uint32_t incarnation_of(std::uint32_t rank) const;
  /// Whether a rank with that number belongs to that host: nobody speaks for another.
  [[nodiscard]] bool has(std::uint32_t host, std::uint32_t rank) const;

 private:
  enum class State : std::uint8_t { kExpected, kThere, kOver, kLost };
  struct Host {
    std::string name;
    std::uint32_t first_rank = 0;
    std::vector<std::uint32_t> incarnations;  // Of its ranks; 0 before one has joined.
    State state = State::kExpected;
    std::string address = {};
    std::vector<HostTraffic> traffic = {};
  };

  [[nodiscard]] Host& at(std::uint32_t host) { return hosts_.at(host - 1); }
  [[nodiscard]] const Host& at(std::uint32_t host) const { return hosts_.at(host - 1); }

  std::vector<Host> hosts_;  // By host, less the first.
};

}  // namespace pinion
