#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/detail/link.hpp>
#include <pinion/core/detail/link_transport.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/transport.hpp>

#include "transport/frames.hpp"
#include "transport/peer_table.hpp"
#include "transport/pulls.hpp"

namespace pinion::detail {

/// What a transport does over a link: greets, keeps count of credit, matches replies with requests,
/// lends and pulls blobs, notices silence.
///
/// Thread safety: none; it lives on the transport's thread. Handlers and callbacks are called from
/// within its members, and may call them. A connection that breaks the protocol is marked by doom()
/// and ended by advance(), so that none goes away while one of its batches is read.
class TransportEngine final : public ILinkEvents {
 public:
  using ReplyDone = std::function<void(Result<std::vector<std::byte>>)>;

  TransportEngine(ILink& link, const LinkTransportOptions& options, PeerTable& table,
                  const IClock& clock);

  void connect(std::uint32_t host, const std::string& address);

  /// Drops the message if the line has ended.
  void send(const PeerLine& line, std::span<const std::byte> message);

  void request(std::uint32_t host, std::span<const std::byte> request, Duration timeout,
               ReplyDone done);
  void pull_from(std::uint32_t host, const BlobPart& part, BlobWriter&& into, Pulls::Done done);
  void pull(const BlobHandle& handle, BlobWriter&& into, Pulls::Done done) {
    pull_from(handle.host, BlobPart::whole(handle), std::move(into), std::move(done));
  }

  /// Ends what is late, and what broke the protocol.
  void advance(Instant now);

  /// When advance() has something to do at the latest.
  [[nodiscard]] Instant next_deadline() const noexcept;

  /// Whether a pull is under way, to this host or from it: then the next step of it comes soon.
  [[nodiscard]] bool moves() const;

  /// Hands what was written since to the link.
  void flush();

  /// Cancels what is under way, says goodbye. Whatever is asked for later is cancelled.
  void stop();

  void on_accepted(ConnectionId connection) override;
  void on_batch(ConnectionId connection, std::span<const std::byte> batch) override;
  void on_sent(ConnectionId connection, std::uint64_t bytes) override;
  ChunkTarget on_chunk(ConnectionId connection, const ChunkHeader& header) override;
  void on_chunk_arrived(ConnectionId connection, const ChunkHeader& header) override;
  void on_chunk_sent(ConnectionId connection, const ChunkHeader& header) override;
  void on_lost(ConnectionId connection, const Status& reason) override;

 private:
  enum class Phase { kAwaitsHello, kAwaitsWelcome, kUp };

  struct Connection {
    ConnectionId id = 0;
    Phase phase = Phase::kAwaitsHello;
    std::uint32_t host = 0;  // Known unless it awaits a hello.
    Instant begun = {};
    Instant heard = {};  // When anything arrived last.
    Instant moved = {};  // When a pull or a loan moved last, or began.
    bool asked = false;  // A ping is on its way.
    bool dirty = false;  // It is in dirty_.
    bool doomed = false;

    std::vector<std::byte> out = {};  // The next batch, with room for its header.
    std::uint64_t leaving_bytes = 0;  // What the link has and did not send yet.
    std::uint32_t next_in = 0;        // Batches are counted, each way.
    std::uint32_t next_out = 0;

    std::uint64_t incarnation = 0;  // Of the peer.
    std::shared_ptr<PeerLine> line = {};
    PeerTraffic* traffic = nullptr;
    std::uint64_t taken = 0;    // The cost of all that came.
    std::uint64_t granted = 0;  // What of it the peer was told.
    Loans loans = {};
    LinkPath path = {};
    unsigned bulk_pulls = 0;  // Under way from there.
    Instant metered = {};     // Up to when they are counted in the traffic.
    bool called_slow = false;
  };

  struct Doom {
    ConnectionId connection;
    Status reason;
    bool refused;  // Tell the peer.
  };

  struct PendingRequest {
    ConnectionId connection;
    Instant deadline;
    ReplyDone done;
  };

  // greeting.cpp
  Status on_hello(Connection& connection, const Frame& frame);
  Status on_welcome(Connection& connection, const Frame& frame);
  void on_refuse(Connection& connection, const Status& reason);
  void make_way(Connection& newcomer, const Hello& hello);
  [[nodiscard]] Status check(const Hello& hello) const;
  [[nodiscard]] Status check_job(const Hello& hello) const;
  [[nodiscard]] Status check_crossing(const Hello& hello) const;
  [[nodiscard]] std::vector<std::byte> greeting(std::uint32_t expected_host) const;
  void become_up(Connection& connection, const Hello& hello);
  void say_refusal(const Status& reason);
  void lose_crossings(Instant now);

  Status on_frame(Connection& connection, const Frame& frame);
  Status on_frame_of_peer(Connection& connection, const Frame& frame);
  Status on_message(Connection& connection, const Frame& frame);
  Status on_request(Connection& connection, const Frame& frame);
  Status on_reply(Connection& connection, const Frame& frame);
  [[nodiscard]] Result<Blob> lend(const Connection& connection, const BlobPart& part);
  Status on_pull(Connection& connection, const Frame& frame);
  Status take(Connection& connection, const Frame& frame);
  void end(std::optional<EndedPull> pull);
  [[nodiscard]] static bool goes_inline(const Connection& connection, std::uint64_t length_bytes);

  [[nodiscard]] Connection* find(ConnectionId connection);
  [[nodiscard]] Connection* find_host(std::uint32_t host);
  Connection& add(ConnectionId id, Phase phase, std::uint32_t host);
  void append(Connection& connection, FrameHeader header, std::span<const std::byte> first = {},
              std::span<const std::byte> second = {});
  void append_error(Connection& connection, FrameKind kind, std::uint64_t id, const Status& error);
  void open_batch(Connection& connection);
  void mark_dirty(Connection& connection);
  void send_out(Connection& connection, bool all);
  void doom(Connection& connection, Status reason, bool refused = false);
  void end_doomed();
  void lose(Connection& connection, const Status& reason);
  void fail_under_way(std::optional<ConnectionId> connection, const Status& error);
  void check_silence(Instant now);
  void check_loans(Connection& connection, Instant now);
  void count_bulk(Connection& connection, Instant now);
  void check_rates(Instant now);
  void say_slow(Connection& connection, const std::string& reason);
  void time_out_requests(Instant now);
  [[nodiscard]] std::string describe(const Connection& connection) const;

  ILink& link_;
  const LinkTransportOptions options_;
  PeerTable& table_;
  const IClock& clock_;
  const std::uint64_t incarnation_;

  std::unordered_map<ConnectionId, std::unique_ptr<Connection>> connections_;
  std::unordered_map<std::uint32_t, Connection*> hosts_;  // Up, or being connected by this side.
  // Hosts that this side stopped connecting as they are connecting it, and when that is too late.
  std::unordered_map<std::uint32_t, Instant> crossings_;
  std::vector<ConnectionId> dirty_;
  std::vector<Doom> doomed_;
  std::set<std::string> refusals_said_;
  std::set<std::string> slow_said_;

  std::uint64_t next_id_ = 1;  // Of requests and pulls.
  std::unordered_map<std::uint64_t, PendingRequest> requests_;
  std::set<std::pair<Instant, std::uint64_t>> request_deadlines_;
  Pulls pulls_;

  Instant now_;         // As of the last advance().
  Instant next_check_;  // Of silence.
  bool stopping_ = false;
};

}  // namespace pinion::detail
