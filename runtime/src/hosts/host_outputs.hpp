#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/line_buffer.hpp"
#include "agent/output_relay.hpp"
#include "hosts/host_messages.hpp"

namespace pinion {

/// What other hosts print, as the head takes it: whole lines go to its own outputs. Bounded: a host
/// sends no more than it is told was taken, and nothing is taken for an output that is full.
///
/// Thread safety: none.
class HostOutputs {
 public:
  /// `relay` must outlive this object.
  explicit HostOutputs(OutputRelay& relay) : relay_(relay) {}

  void arrived(std::uint32_t host, const HostPrinted& printed);

  /// No more comes of that host, so the last line is whole.
  void end(std::uint32_t host);

  /// What has arrived of the standard output of that host.
  [[nodiscard]] std::uint64_t bytes_of(std::uint32_t host) const;

  /// What hosts are to be told, each once.
  [[nodiscard]] std::vector<std::pair<std::uint32_t, HeadTookOutput>> take_answers();

 private:
  struct Source {
    std::uint32_t host = 0;
    bool errors = false;

    friend auto operator<=>(const Source&, const Source&) = default;
  };
  struct Stream {
    LineBuffer lines = LineBuffer();
    std::uint64_t arrived_bytes = 0;
    std::uint64_t answered_bytes = 0;
  };

  OutputRelay& relay_;
  std::map<Source, Stream> streams_;
};

}  // namespace pinion
