#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/transport.hpp>

namespace pinion {

/// What the ways between the hosts of an InProcessHub do to what travels on them. How late each
/// thing is follows from the seed, from both hosts, and from what went that way before.
struct InProcessFaults {
  std::uint64_t seed = 1;
  Duration delay_max = {};  ///< Everything is late by up to that; order is kept for each way.
  double loss = 0;          ///< How often something is lost and has to be sent again; below 1.
  Duration retry = std::chrono::milliseconds(1);  ///< By how much it is late then.
  unsigned attempts_max = 16;  ///< How often it is tried before the connection breaks; at least 1.
  /// Is given the bytes of pulls that arrived, to damage them before they are verified.
  std::function<void(std::span<std::byte>)> damage = {};
};

struct InProcessTransportOptions {
  std::uint32_t host = 0;  ///< The number of the host that it stands for.
  /// The same as those of a transport over a network: see UcxTransportOptions.
  Duration keepalive = std::chrono::seconds(2);
  Duration connect_timeout = std::chrono::seconds(10);
  Duration pull_timeout = std::chrono::seconds(30);
  std::uint64_t window_bytes = std::uint64_t{4} << 20;
  JobKey job_key = {};  ///< Only those that have the same connect.
  TransportHandlers handlers = {};
};

/// Joins transports of one process, as if each was of another host: for tests, and for programs
/// that try what a job of several hosts does. Each has a thread of its own, as it would have there.
///
/// Thread safety: all members from any thread.
/// Lifetime: transports may outlive the hub.
class InProcessHub {
 public:
  explicit InProcessHub(InProcessFaults faults = {});

  /// Errors: kInvalidArgument for options outside their stated range; kResourceExhausted when the
  ///   system gives no thread.
  [[nodiscard]] Result<std::unique_ptr<ITransport>> join(const InProcessTransportOptions& options);

  /// From now on nothing goes to `host` or comes from it, and nobody is told.
  void cut(std::uint32_t host);

  /// Ends cut(). What was sent meanwhile is lost, and with it each connection that sent it.
  void mend(std::uint32_t host);

  class Network;

 private:
  std::shared_ptr<Network> network_;
};

}  // namespace pinion
