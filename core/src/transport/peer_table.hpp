#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <pinion/core/detail/link.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/core/transport.hpp>

namespace pinion::detail {

/// What a message of that size takes from the window; without the fixed part empty ones were free.
[[nodiscard]] constexpr std::uint64_t credit_cost(std::size_t message_bytes) noexcept {
  return 64 + std::uint64_t{message_bytes};
}

struct PeerTraffic {
  std::atomic<std::uint64_t> sent_bytes = 0;
  std::atomic<std::uint64_t> received_bytes = 0;
  std::atomic<std::uint64_t> bulk_bytes = 0;
  std::atomic<std::int64_t> bulk_nanoseconds = 0;
};

/// A connection over which a host is reachable, as far as all threads see it: whether it still
/// stands, and how much may be sent. A host that is connected once more has another line.
///
/// Invariant: credited_ <= taken_. Both only grow; what lies between is under way.
class PeerLine {
 public:
  PeerLine(std::uint32_t host, ConnectionId connection, std::uint64_t window_bytes) noexcept
      : host_(host), connection_(connection), window_bytes_(window_bytes) {}

  [[nodiscard]] std::uint32_t host() const noexcept { return host_; }
  [[nodiscard]] ConnectionId connection() const noexcept { return connection_; }

  /// Takes `cost` while anything of the window is left; so one message may be larger than it.
  [[nodiscard]] bool take(std::uint64_t cost) noexcept;

  /// Gives back what was taken for a message that is not sent. It must be the caller's own.
  void give_back(std::uint64_t cost) noexcept;

  /// The peer took all up to `total`. False when that is less than before or more than was sent.
  [[nodiscard]] bool credit(std::uint64_t total) noexcept;

 private:
  const std::uint32_t host_;
  const ConnectionId connection_;
  const std::uint64_t window_bytes_;
  std::atomic<std::uint64_t> taken_ = 0;
  std::atomic<std::uint64_t> credited_ = 0;
};

/// Every host that was connected or is being connected.
///
/// Thread safety: all members from any thread.
class PeerTable {
 public:
  /// Notes that `host` is being connected. kAlreadyExists when it is, or was before.
  [[nodiscard]] Status begin(std::uint32_t host) PINION_EXCLUDES(mutex_);

  void set_reachable(const std::shared_ptr<PeerLine>& line, LinkPath path) PINION_EXCLUDES(mutex_);

  /// The path of a host that is reachable is slow for that reason.
  void set_slow(std::uint32_t host, std::string reason) PINION_EXCLUDES(mutex_);

  /// It is gone, or could not be connected.
  void set_gone(std::uint32_t host) PINION_EXCLUDES(mutex_);

  /// The line of a host that is reachable, else null.
  [[nodiscard]] std::shared_ptr<PeerLine> find(std::uint32_t host) const PINION_EXCLUDES(mutex_);

  /// Counts for `host` as long as the table is there.
  [[nodiscard]] PeerTraffic& traffic(std::uint32_t host) PINION_EXCLUDES(mutex_);

  [[nodiscard]] std::vector<Peer> peers() const PINION_EXCLUDES(mutex_);

 private:
  struct Entry {
    bool was_connected = false;
    bool connecting = false;
    std::shared_ptr<PeerLine> line = {};
    LinkPath path = {};
    PeerTraffic traffic = {};
  };

  mutable Mutex mutex_;
  std::map<std::uint32_t, Entry> entries_ PINION_GUARDED_BY(mutex_);
};

}  // namespace pinion::detail
