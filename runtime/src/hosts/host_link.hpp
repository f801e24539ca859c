#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/core/transport.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "hosts/host_messages.hpp"

namespace pinion {

/// Which agent of which job this is.
struct HostIdentity {
  std::uint64_t job = 0;
  std::uint32_t epoch = 1;
  std::uint32_t host = 0;
  std::uint32_t host_count = 1;
  std::string token = {};  ///< Known to the agents of the job, and never told to another one.
};

/// What an agent's transport greets with. It tells nothing of the token, and who does not have that
/// cannot make it.
[[nodiscard]] JobKey job_key_of(const HostIdentity& identity);

/// That host's agent is there, and has proved that it is of this job. Its address is known where it
/// was the one that said hello.
struct HostCame {
  std::uint32_t host = 0;
  std::string address = {};
};

/// That host's agent is gone, or cannot be reached, or refuses us.
struct HostGone {
  std::uint32_t host = 0;
  Status reason;
};

struct HostSaid {
  std::uint32_t host = 0;
  HostMessage message;
};

/// What was pulled is here, sealed; or why it is not.
struct BlobPulled {
  BlobPart part = {};
  std::uint64_t number = 0;  ///< As it was given to pull().
  Status outcome;
};

/// The way to that host is slower than it should be, and why.
struct HostSlow {
  std::uint32_t host = 0;
  std::string reason;
};

/// Somebody was refused. Told once for each reason, of which there are 64 at most.
struct StrangerRefused {
  Status reason;
};

using HostEvent = std::variant<HostCame, HostGone, HostSaid, BlobPulled, HostSlow, StrangerRefused>;

/// One agent's connections with the other agents of its job. What arrives is collected for the
/// thread that owns this, which is woken through descriptor(); nobody is heard before he has said a
/// hello that is right.
///
/// Thread safety: none; one thread drives it. `serve` is called from the transport's thread.
class HostLink {
 public:
  using MakeTransport =
      std::function<Result<std::unique_ptr<ITransport>>(const JobKey&, TransportHandlers)>;
  using Serve = std::function<Result<Blob>(const BlobHandle&)>;

  /// What may wait for one host. The largest jobs (a million shards in batches of 64, 512 ranks on
  /// a host) have 320 MB for one at once: the handles of all partials, for each of its ranks.
  static constexpr std::uint64_t kWaitingBytesMax = std::uint64_t{1} << 30;

  /// `serve` finds blobs of this host for others; it must neither block for long nor throw, and is
  /// called until this object is gone. `waiting_bytes_max`: see send().
  /// Errors: those of making the transport, and of descriptors.
  [[nodiscard]] static Result<std::unique_ptr<HostLink>> create(
      HostIdentity identity, const MakeTransport& make_transport, Serve serve,
      std::uint64_t waiting_bytes_max = kWaitingBytesMax);
  ~HostLink();

  /// Where other agents of the job reach this one.
  [[nodiscard]] std::string address() const { return transport_->address(); }

  /// Connects to another agent and says hello; what comes of it is an event.
  /// Errors: those of ITransport::connect().
  Status join(std::uint32_t host, const std::string& address);

  /// That host will not come any more, or is not wanted; as an event says.
  void give_up(std::uint32_t host, const Status& reason);

  /// Sends the message, or keeps it until the host takes it. A host for which more than
  /// `waiting_bytes_max` are kept is given up, which is an event. To a host that is gone nothing
  /// goes.
  void send(std::uint32_t host, const HostMessage& message);

  /// Sends it to every host that is there.
  void send_to_all(const HostMessage& message);

  /// Fills `into` with the part of a blob, which that host has; waits, where the host is still to
  /// come. What comes of it is an event, with the caller's number.
  void pull(std::uint32_t host, const BlobPart& part, BlobWriter into, std::uint64_t number = 0);

  /// Tries again to send what is kept. Whether some of it still is: then call this soon.
  bool flush();

  /// For poll: readable while there are events.
  [[nodiscard]] int descriptor() const noexcept;

  /// What has happened since the last call, in order.
  [[nodiscard]] std::vector<HostEvent> take_events();

  [[nodiscard]] std::vector<Peer> peers() const { return transport_->peers(); }

 private:
  class Inbox;
  enum class State : std::uint8_t { kExpected, kThere, kGone };
  struct Pull {
    std::uint32_t host;
    BlobPart part;
    BlobWriter into;
    std::uint64_t number;
  };
  struct OtherHost {
    State state = State::kExpected;
    std::deque<std::vector<std::byte>> waiting = {};  // For credit, or for the host to come.
    std::uint64_t waiting_bytes = 0;
    std::vector<Pull> pulls = {};  // For the host to come.
  };

  HostLink(std::shared_ptr<Inbox> inbox, std::uint64_t waiting_bytes_max)
      : inbox_(std::move(inbox)), waiting_bytes_max_(waiting_bytes_max) {}
  void note(const HostEvent& event);
  void begin(Pull pull);

  std::shared_ptr<Inbox> inbox_;
  const std::uint64_t waiting_bytes_max_;
  std::map<std::uint32_t, OtherHost> hosts_;
  std::unique_ptr<ITransport> transport_;  // Ends first: what it calls is above.
};

}  // namespace pinion
