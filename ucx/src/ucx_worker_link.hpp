#pragma once

#include <ucp/api/ucp.h>

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/detail/link.hpp>
#include <pinion/core/status.hpp>
#include <pinion/ucx/ucx_transport.hpp>

#include "event_fd.hpp"
#include "network_address.hpp"
#include "network_path.hpp"
#include "stage_pool.hpp"
#include "ucx_context.hpp"

namespace pinion {

/// One UCP worker, its listener and its endpoints (ucx_link.cpp), and what goes over these
/// (ucx_messages.cpp).
///
/// UCX calls back from ucp_worker_progress(), and from calls that end at once. What arrived is
/// reported from the callback, as its bytes are there only then; all else is noted, and reported
/// when UCX has returned. Endpoints are closed then, too.
class UcxWorkerLink final : public detail::ILink {
 public:
  UcxWorkerLink() = default;
  ~UcxWorkerLink() override;
  UcxWorkerLink(const UcxWorkerLink&) = delete;
  UcxWorkerLink& operator=(const UcxWorkerLink&) = delete;

  /// `way` is that of all connections, if it is given.
  Status start(const UcxTransportOptions& options, std::optional<ChunkWay> way);

  std::string address() const override { return address_; }
  Status check_address(const std::string& address) const override {
    const Result<NetworkAddress> parsed = parse_address(address);
    return parsed ? Status() : parsed.error();
  }
  std::string version() const override {
    return std::string("UCX ") + ucx().ucp_get_version_string();
  }

  Result<detail::ConnectionId> open(const std::string& address) override;
  void send(detail::ConnectionId connection, std::vector<std::byte> batch) override;
  std::uint64_t chunk_bytes(detail::ConnectionId connection) override;
  void send_chunk(detail::ConnectionId connection, const detail::ChunkHeader& header,
                  const Blob& blob) override;
  void close(detail::ConnectionId connection, bool after_other) override;
  detail::LinkPath path(detail::ConnectionId connection) override;
  bool progress(detail::ILinkEvents& events) override;
  void wait(Instant until) override;
  void wake() override { wake_.set(); }
  bool drain() override;

 private:
  // An endpoint, from its making until UCX has closed it.
  struct End {
    detail::ConnectionId id = 0;
    ucp_ep_h endpoint = nullptr;
    bool open = true;     // The transport wants to hear of it.
    bool failed = false;  // UCX said so, or a peer broke the rules of this file.
    bool broken = false;  // UCX said so.
    bool heard = false;   // Something came, so it is connected.
    bool opened = false;  // By this side.
    bool after_other = false;
    bool other_waits = false;  // It has closed its end after this one.
    bool closed = false;       // UCX was told to; nothing may be sent.
    unsigned operations = 0;   // Under way.
    std::optional<ChunkWay> way = {};
    Instant close_deadline = Instant::max();
    void* closing = nullptr;
  };

  enum class What : std::uint8_t { kBatch, kChunk, kControl };

  // What UCX has and was not done with yet: its buffers live here.
  struct Operation {
    UcxWorkerLink* link;
    detail::ConnectionId connection;
    What what;
    std::vector<std::byte> batch = {};
    detail::ChunkHeader header = {};
    Blob blob = {};
    detail::ChunkTarget target = {};
    UcpRemoteKey key = {};
    std::unique_ptr<Stage> stage = {};  // Where a read goes.
    std::list<Operation>::iterator self = {};
  };

  // A chunk that the other side may read, until it says that it has.
  struct Offer {
    detail::ConnectionId connection;
    detail::ChunkHeader header;
    std::unique_ptr<Stage> stage;
  };

  struct BatchSent {
    std::uint64_t bytes;
  };
  struct ChunkSent {
    detail::ChunkHeader header;
  };
  struct ChunkArrived {
    detail::ChunkHeader header;
  };
  struct Lost {
    Status reason;
  };
  struct Note {
    detail::ConnectionId connection;
    std::variant<BatchSent, ChunkSent, ChunkArrived, Lost> what;
  };

  // ucx_link.cpp
  static void on_request(ucp_conn_request_h request, void* link);
  static void on_error(void* link, ucp_ep_h endpoint, ucs_status_t status);
  [[nodiscard]] Status listen(ListenPlace& place);
  [[nodiscard]] Result<End*> make_end(ucp_ep_params_t params);
  [[nodiscard]] End* find(detail::ConnectionId connection);
  void fail(End& end, const Status& reason);
  void accept_requests(detail::ILinkEvents& events);
  void reject_requests();
  bool report_notes(detail::ILinkEvents& events);
  void close_ends();

  // ucx_messages.cpp
  static ucs_status_t on_batch(void* link, const void* header, std::size_t header_length,
                               void* data, std::size_t length, const ucp_am_recv_param_t* param);
  static ucs_status_t on_chunk(void* link, const void* header, std::size_t header_length,
                               void* data, std::size_t length, const ucp_am_recv_param_t* param);
  static ucs_status_t on_offer(void* link, const void* header, std::size_t header_length,
                               void* data, std::size_t length, const ucp_am_recv_param_t* param);
  static ucs_status_t on_taken(void* link, const void* header, std::size_t header_length,
                               void* data, std::size_t length, const ucp_am_recv_param_t* param);
  static ucs_status_t on_waiting(void* link, const void* header, std::size_t header_length,
                                 void* data, std::size_t length, const ucp_am_recv_param_t* param);
  static void on_sent(void* request, ucs_status_t status, void* operation);
  static void on_got(void* request, ucs_status_t status, void* operation);
  [[nodiscard]] Status set_handlers();
  [[nodiscard]] End* end_of(const ucp_am_recv_param_t& param);
  [[nodiscard]] End* sender_of(const ucp_am_recv_param_t& param);
  [[nodiscard]] ChunkWay way_of(End& end);
  Operation& begin(detail::ConnectionId connection, What what);
  void post(End& end, Operation& operation, unsigned id, std::span<const std::byte> header,
            std::span<const std::byte> bytes, unsigned flags);
  void offer(End& end, const detail::ChunkHeader& header, const Blob& blob);
  void forget_offers(detail::ConnectionId connection);
  void get(End& end, const detail::ChunkHeader& header, std::uint64_t address,
           std::span<const std::byte> key);
  void say_taken(End& end, const detail::ChunkHeader& header);
  void say_waiting(End& end);
  void finish_send(Operation& operation, ucs_status_t status);
  void finish_get(Operation& operation, ucs_status_t status);
  void finish(Operation& operation);

  std::string address_;
  EventFd wake_;
  int event_descriptor_ = -1;
  SystemClock clock_;
  std::optional<ChunkWay> way_;

  detail::ILinkEvents* events_ = nullptr;  // While progress() runs.
  detail::ConnectionId next_id_ = 1;
  std::unordered_map<detail::ConnectionId, End> ends_;
  std::unordered_map<ucp_ep_h, detail::ConnectionId> ids_;
  std::vector<ucp_conn_request_h> requests_;
  std::vector<Note> notes_;
  std::vector<detail::ConnectionId> to_close_;
  std::vector<detail::ConnectionId> closing_;
  bool cut_off_ = false;  // An end was closed with something under way, or before the other one.

  UcpContext context_;
  StagePool stages_;
  std::list<Offer> offers_;
  std::list<Operation> operations_;  // Outlives the worker, which has pointers into it.
  UcpWorker worker_;
  UcpListener listener_;
};

}  // namespace pinion
