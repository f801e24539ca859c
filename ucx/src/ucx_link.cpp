#include "ucx_link.hpp"

#include <poll.h>
#include <ucp/api/ucp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <pinion/core/clock.hpp>

#include "event_fd.hpp"
#include "network_address.hpp"
#include "ucx_context.hpp"

namespace pinion {
namespace {

using detail::ChunkHeader;
using detail::ChunkTarget;
using detail::ConnectionId;
using detail::ILinkEvents;

// Of the active messages.
constexpr unsigned kBatchId = 1;
constexpr unsigned kChunkId = 2;

// How long what a closed connection was given may take to leave.
constexpr Duration kCloseTimeout = std::chrono::seconds(1);

/// One UCP worker, its listener and its endpoints.
///
/// UCX calls back from ucp_worker_progress(), and from calls that end at once. What arrived is
/// reported from the callback, as its bytes are there only then; all else is noted, and reported
/// when UCX has returned. Endpoints are closed then, too.
class UcxLink final : public detail::ILink {
 public:
  UcxLink() = default;
  ~UcxLink() override;
  UcxLink(const UcxLink&) = delete;
  UcxLink& operator=(const UcxLink&) = delete;

  Status start(const UcxTransportOptions& options);

  std::string address() const override { return address_; }
  Status check_address(const std::string& address) const override {
    const Result<NetworkAddress> parsed = parse_address(address);
    return parsed ? Status() : parsed.error();
  }
  std::string version() const override { return std::string("UCX ") + ucp_get_version_string(); }

  Result<ConnectionId> open(const std::string& address) override;
  void send(ConnectionId connection, std::vector<std::byte> batch) override;
  void send_chunk(ConnectionId connection, const ChunkHeader& header, const Blob& blob) override;
  void close(ConnectionId connection, bool after_other) override;
  std::string path(ConnectionId connection) override;
  bool progress(ILinkEvents& events) override;
  void wait(Instant until) override;
  void wake() override { wake_.set(); }
  void drain() override;

 private:
  // An endpoint, from its making until UCX has closed it.
  struct End {
    ConnectionId id = 0;
    ucp_ep_h endpoint = nullptr;
    bool open = true;     // The transport wants to hear of it.
    bool failed = false;  // UCX said so, or a peer broke the rules of this file.
    bool broken = false;  // UCX said so.
    bool heard = false;   // Something came, so it is connected.
    bool after_other = false;
    unsigned operations = 0;  // Under way.
    Instant close_deadline = Instant::max();
    void* closing = nullptr;
  };

  // What UCX has and was not done with yet: its buffers live here.
  struct Operation {
    UcxLink* link;
    ConnectionId connection;
    std::vector<std::byte> batch = {};
    ChunkHeader header = {};
    Blob blob = {};
    std::shared_ptr<void> target = {};
    std::list<Operation>::iterator self = {};
  };

  struct BatchSent {
    std::uint64_t bytes;
  };
  struct ChunkSent {
    ChunkHeader header;
  };
  struct ChunkArrived {
    ChunkHeader header;
  };
  struct Lost {
    Status reason;
  };
  struct Note {
    ConnectionId connection;
    std::variant<BatchSent, ChunkSent, ChunkArrived, Lost> what;
  };

  static void on_request(ucp_conn_request_h request, void* link);
  static void on_error(void* link, ucp_ep_h endpoint, ucs_status_t status);
  static ucs_status_t on_batch(void* link, const void* header, std::size_t header_length,
                               void* data, std::size_t length, const ucp_am_recv_param_t* param);
  static ucs_status_t on_chunk(void* link, const void* header, std::size_t header_length,
                               void* data, std::size_t length, const ucp_am_recv_param_t* param);
  static void on_sent(void* request, ucs_status_t status, void* operation);
  static void on_received(void* request, ucs_status_t status, std::size_t length, void* operation);

  [[nodiscard]] Status listen(const UcxTransportOptions& options);
  [[nodiscard]] Status set_handler(unsigned id, ucp_am_recv_callback_t handler);
  [[nodiscard]] Result<End*> make_end(ucp_ep_params_t params);
  [[nodiscard]] End* find(ConnectionId connection);
  [[nodiscard]] End* sender_of(const ucp_am_recv_param_t& param);
  Operation& begin(ConnectionId connection);
  void post(End& end, Operation& operation, unsigned id, std::span<const std::byte> header,
            std::span<const std::byte> bytes, unsigned flags);
  void finish_send(Operation& operation, ucs_status_t status);
  void finish_receive(Operation& operation, ucs_status_t status);
  void finish(Operation& operation);
  void receive(End& end, const ChunkHeader& header, void* data, bool rendezvous);
  void fail(End& end, const Status& reason);
  void accept_requests(ILinkEvents& events);
  void reject_requests();
  bool report_notes(ILinkEvents& events);
  void close_ends();

  std::string address_;
  EventFd wake_;
  int event_descriptor_ = -1;
  SystemClock clock_;

  ILinkEvents* events_ = nullptr;  // While progress() runs.
  ConnectionId next_id_ = 1;
  std::unordered_map<ConnectionId, End> ends_;
  std::unordered_map<ucp_ep_h, ConnectionId> ids_;
  std::vector<ucp_conn_request_h> requests_;
  std::vector<Note> notes_;
  std::vector<ConnectionId> to_close_;
  std::vector<ConnectionId> closing_;
  std::list<Operation> operations_;  // Outlives the worker, which has pointers into it.

  UcpContext context_;
  UcpWorker worker_;
  UcpListener listener_;
};

Status UcxLink::start(const UcxTransportOptions& options) {
  if (wake_.get() < 0) {
    return Status::from_errno(errno, "make an eventfd");
  }
  Result<ListenPlace> place = find_listen_place(
      options.listen_address, options.devices.empty() ? "" : options.devices.front());
  if (!place && place.error().code() == ErrorCode::kNotFound && !options.devices.empty() &&
      options.listen_address.empty()) {
    place = find_listen_place({}, {});  // A device that is no network interface, as of RDMA.
  }
  if (!place) {
    return place.error();
  }
  Result<UcpContext> context = make_ucp_context(options, place->device);
  if (!context) {
    return context.error();
  }
  context_ = *std::move(context);
  Result<UcpWorker> worker = make_ucp_worker(context_.get());
  if (!worker) {
    return worker.error();
  }
  worker_ = *std::move(worker);
  if (const ucs_status_t status = ucp_worker_get_efd(worker_.get(), &event_descriptor_);
      status != UCS_OK) {
    return ucx_error(status, "get the descriptor to wait for");
  }
  PINION_RETURN_IF_ERROR(set_handler(kBatchId, on_batch));
  PINION_RETURN_IF_ERROR(set_handler(kChunkId, on_chunk));

  ucp_listener_params_t params = {};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr = {.addr = place->address.data(), .addrlen = place->address.size()};
  params.conn_handler = {.cb = on_request, .arg = this};
  ucp_listener_h listener = nullptr;
  if (const ucs_status_t status = ucp_listener_create(worker_.get(), &params, &listener);
      status != UCS_OK) {
    return ucx_error(status, "listen at " + format_address(place->address));
  }
  listener_.reset(listener);
  ucp_listener_attr_t attributes = {};
  attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  if (const ucs_status_t status = ucp_listener_query(listener, &attributes); status != UCS_OK) {
    return ucx_error(status, "ask for the port");
  }
  address_ = format_address({attributes.sockaddr});
  return {};
}

Status UcxLink::set_handler(unsigned id, ucp_am_recv_callback_t handler) {
  ucp_am_handler_param_t params = {};
  params.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                      UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  params.id = id;
  params.flags = UCP_AM_FLAG_WHOLE_MSG;
  params.cb = handler;
  params.arg = this;
  const ucs_status_t status = ucp_worker_set_am_recv_handler(worker_.get(), &params);
  return status == UCS_OK ? Status() : ucx_error(status, "set a handler of messages");
}

UcxLink::~UcxLink() {
  reject_requests();
  listener_.reset();
  // UCX frees what was closing with the endpoint, but not for those who may still look at it.
  for (const ConnectionId id : closing_) {
    if (void* const request = ends_.at(id).closing; UCS_PTR_IS_PTR(request)) {
      ucp_request_free(request);
    }
  }
  // Ends every endpoint, and calls back for what they had under way.
  worker_.reset();
}

UcxLink::End* UcxLink::find(ConnectionId connection) {
  const auto found = ends_.find(connection);
  return found == ends_.end() || !found->second.open ? nullptr : &found->second;
}

Result<UcxLink::End*> UcxLink::make_end(ucp_ep_params_t params) {
  params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {.cb = on_error, .arg = this};
  ucp_ep_h endpoint = nullptr;
  if (const ucs_status_t status = ucp_ep_create(worker_.get(), &params, &endpoint);
      status != UCS_OK) {
    return ucx_error(status, "make an endpoint");
  }
  const ConnectionId id = next_id_++;
  ids_[endpoint] = id;
  return &ends_.emplace(id, End{.id = id, .endpoint = endpoint}).first->second;
}

Result<ConnectionId> UcxLink::open(const std::string& address) {
  const Result<NetworkAddress> parsed = parse_address(address);
  if (!parsed) {
    return parsed.error();
  }
  ucp_ep_params_t params = {};
  params.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.sockaddr = {.addr = parsed->data(), .addrlen = parsed->size()};
  const Result<End*> end = make_end(params);
  if (!end) {
    return Status(end.error()).with_context("connect " + address);
  }
  return (*end)->id;
}

void UcxLink::on_request(ucp_conn_request_h request, void* link) {
  static_cast<UcxLink*>(link)->requests_.push_back(request);
}

void UcxLink::accept_requests(ILinkEvents& events) {
  for (const ucp_conn_request_h request : std::exchange(requests_, {})) {
    ucp_ep_params_t params = {};
    params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
    params.conn_request = request;
    // One that went away meanwhile is its own business.
    if (const Result<End*> end = make_end(params)) {
      events.on_accepted((*end)->id);
    }
  }
}

void UcxLink::reject_requests() {
  for (const ucp_conn_request_h request : std::exchange(requests_, {})) {
    static_cast<void>(ucp_listener_reject(listener_.get(), request));
  }
}

void UcxLink::on_error(void* link, ucp_ep_h endpoint, ucs_status_t status) {
  UcxLink& self = *static_cast<UcxLink*>(link);
  const auto found = self.ids_.find(endpoint);
  if (found != self.ids_.end()) {
    End& end = self.ends_.at(found->second);
    end.broken = true;
    self.fail(end, ucx_error(status, "the connection broke"));
  }
}

void UcxLink::fail(End& end, const Status& reason) {
  if (!end.failed) {
    end.failed = true;
    notes_.push_back({end.id, Lost{reason}});
  }
}

UcxLink::Operation& UcxLink::begin(ConnectionId connection) {
  ++ends_.at(connection).operations;
  operations_.push_front({.link = this, .connection = connection});
  operations_.front().self = operations_.begin();
  return operations_.front();
}

void UcxLink::post(End& end, Operation& operation, unsigned id, std::span<const std::byte> header,
                   std::span<const std::byte> bytes, unsigned flags) {
  ucp_request_param_t param = {};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                       UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  // The receiver learns from which endpoint it is.
  param.flags = flags | UCP_AM_SEND_FLAG_REPLY;
  param.memory_type = UCS_MEMORY_TYPE_HOST;
  param.cb.send = on_sent;
  param.user_data = &operation;
  const ucs_status_ptr_t request = ucp_am_send_nbx(end.endpoint, id, header.data(), header.size(),
                                                   bytes.data(), bytes.size(), &param);
  if (!UCS_PTR_IS_PTR(request)) {
    finish_send(operation, UCS_PTR_STATUS(request));
  }
}

void UcxLink::send(ConnectionId connection, std::vector<std::byte> batch) {
  End* const end = find(connection);
  if (end == nullptr || end->failed) {
    return;
  }
  Operation& operation = begin(connection);
  operation.batch = std::move(batch);
  // Eager whatever the size: a rendezvous could be overtaken.
  post(*end, operation, kBatchId, {}, operation.batch, UCP_AM_SEND_FLAG_EAGER);
}

void UcxLink::send_chunk(ConnectionId connection, const ChunkHeader& header, const Blob& blob) {
  End* const end = find(connection);
  if (end == nullptr || end->failed) {
    return;
  }
  Operation& operation = begin(connection);
  operation.header = header;
  operation.blob = blob;
  post(*end, operation, kChunkId, std::as_bytes(std::span(&operation.header, 1)),
       blob.bytes().subspan(header.offset, header.length), UCP_AM_SEND_FLAG_RNDV);
}

void UcxLink::on_sent(void* request, ucs_status_t status, void* operation) {
  ucp_request_free(request);
  Operation& sent = *static_cast<Operation*>(operation);
  sent.link->finish_send(sent, status);
}

void UcxLink::finish_send(Operation& operation, ucs_status_t status) {
  if (status == UCS_OK) {
    if (operation.batch.empty()) {
      notes_.push_back({operation.connection, ChunkSent{operation.header}});
    } else {
      notes_.push_back({operation.connection, BatchSent{operation.batch.size()}});
    }
  } else if (End* const end = find(operation.connection)) {
    fail(*end, ucx_error(status, "send"));
  }
  finish(operation);
}

void UcxLink::finish(Operation& operation) {
  --ends_.at(operation.connection).operations;
  operations_.erase(operation.self);
}

UcxLink::End* UcxLink::sender_of(const ucp_am_recv_param_t& param) {
  if ((param.recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) == 0) {
    return nullptr;
  }
  const auto found = ids_.find(param.reply_ep);
  End* const end = found == ids_.end() ? nullptr : find(found->second);
  return end == nullptr || end->failed ? nullptr : end;
}

ucs_status_t UcxLink::on_batch(void* link, const void* /*header*/, std::size_t /*header_length*/,
                               void* data, std::size_t length, const ucp_am_recv_param_t* param) {
  UcxLink& self = *static_cast<UcxLink*>(link);
  End* const end = self.sender_of(*param);
  if (end == nullptr || self.events_ == nullptr) {
    return UCS_OK;
  }
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) {
    self.fail(*end, {ErrorCode::kDataLoss, "it sent a message in the way of blobs"});
    return UCS_OK;
  }
  end->heard = true;
  self.events_->on_batch(end->id, {static_cast<const std::byte*>(data), length});
  return UCS_OK;
}

ucs_status_t UcxLink::on_chunk(void* link, const void* header, std::size_t header_length,
                               void* data, std::size_t length, const ucp_am_recv_param_t* param) {
  UcxLink& self = *static_cast<UcxLink*>(link);
  End* const end = self.sender_of(*param);
  if (end == nullptr || self.events_ == nullptr) {
    return UCS_OK;
  }
  ChunkHeader chunk;
  if (header_length == sizeof(chunk)) {
    std::memcpy(&chunk, header, sizeof(chunk));
  }
  if (header_length != sizeof(chunk) || chunk.length != length) {
    self.fail(*end, {ErrorCode::kDataLoss, "it sent a piece of a blob under a damaged header"});
    return UCS_OK;
  }
  self.receive(*end, chunk, data, (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0);
  return UCS_OK;
}

// Called from on_chunk(): a rendezvous that was not begun when that returns is one that nobody
// wants, and UCX tells its sender.
void UcxLink::receive(End& end, const ChunkHeader& header, void* data, bool rendezvous) {
  ChunkTarget target = events_->on_chunk(end.id, header);
  if (target.keep_alive == nullptr) {
    return;
  }
  if (!rendezvous) {
    std::memcpy(target.bytes.data(), data, target.bytes.size());
    notes_.push_back({end.id, ChunkArrived{header}});
    return;
  }
  Operation& operation = begin(end.id);
  operation.header = header;
  operation.target = std::move(target.keep_alive);
  ucp_request_param_t param = {};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  param.cb.recv_am = on_received;
  param.user_data = &operation;
  param.memory_type = UCS_MEMORY_TYPE_HOST;
  const ucs_status_ptr_t request =
      ucp_am_recv_data_nbx(worker_.get(), data, target.bytes.data(), target.bytes.size(), &param);
  if (!UCS_PTR_IS_PTR(request)) {
    finish_receive(operation, UCS_PTR_STATUS(request));
  }
}

void UcxLink::on_received(void* request, ucs_status_t status, std::size_t /*length*/,
                          void* operation) {
  ucp_request_free(request);
  Operation& received = *static_cast<Operation*>(operation);
  received.link->finish_receive(received, status);
}

void UcxLink::finish_receive(Operation& operation, ucs_status_t status) {
  if (status == UCS_OK) {
    notes_.push_back({operation.connection, ChunkArrived{operation.header}});
  } else if (End* const end = find(operation.connection)) {
    fail(*end, ucx_error(status, "receive a blob"));
  }
  finish(operation);
}

bool UcxLink::report_notes(ILinkEvents& events) {
  if (notes_.empty()) {
    return false;
  }
  for (const Note& note : std::exchange(notes_, {})) {
    End* const end = find(note.connection);
    if (end == nullptr) {
      continue;
    }
    if (const auto* const sent = std::get_if<BatchSent>(&note.what)) {
      events.on_sent(end->id, sent->bytes);
    } else if (const auto* const chunk = std::get_if<ChunkSent>(&note.what)) {
      events.on_chunk_sent(end->id, chunk->header);
    } else if (const auto* const arrived = std::get_if<ChunkArrived>(&note.what)) {
      events.on_chunk_arrived(end->id, arrived->header);
    } else {
      close(end->id, false);
      events.on_lost(note.connection, std::get<Lost>(note.what).reason);
    }
  }
  return true;
}

void UcxLink::close(ConnectionId connection, bool after_other) {
  if (End* const end = find(connection)) {
    end->open = false;
    end->after_other = after_other;
    end->close_deadline = clock_.now() + kCloseTimeout;
    to_close_.push_back(connection);
  }
}

// UCX 1.13 over TCP ends the process, by its own checks, when an endpoint is closed, or its peer
// closes, while data of a rendezvous is on its way between two that are alive. So what is under way
// is carried to its end, and force is left for peers that are gone or do not move.
void UcxLink::close_ends() {
  const Instant now = clock_.now();
  std::erase_if(to_close_, [this, now](ConnectionId id) {
    End& end = ends_.at(id);
    const bool idle = end.operations == 0;
    if (!end.broken && now < end.close_deadline && (end.after_other || !idle)) {
      return false;
    }
    ucp_request_param_t param = {};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    const bool force = end.broken || !idle || !end.heard;
    param.flags = force ? static_cast<std::uint32_t>(UCP_EP_CLOSE_FLAG_FORCE) : 0;
    // Once closed, the endpoint's address may be that of another one.
    ids_.erase(end.endpoint);
    end.closing = ucp_ep_close_nbx(end.endpoint, &param);
    closing_.push_back(id);
    return true;
  });
  std::erase_if(closing_, [this](ConnectionId id) {
    End& end = ends_.at(id);
    if (UCS_PTR_IS_PTR(end.closing)) {
      if (ucp_request_check_status(end.closing) == UCS_INPROGRESS) {
        return false;
      }
      ucp_request_free(end.closing);
    }
    // What was under way may end later than its endpoint.
    if (end.operations != 0) {
      end.closing = nullptr;
      return false;
    }
    ends_.erase(id);
    return true;
  });
}

std::string UcxLink::path(ConnectionId connection) {
  const End* const end = find(connection);
  return end == nullptr ? "" : describe_lanes(end->endpoint);
}

bool UcxLink::progress(ILinkEvents& events) {
  events_ = &events;
  bool any = ucp_worker_progress(worker_.get()) != 0;
  events_ = nullptr;
  accept_requests(events);
  any = report_notes(events) || any;
  if (!to_close_.empty() || !closing_.empty()) {
    close_ends();
  }
  return any;
}

void UcxLink::wait(Instant until) {
  if (!notes_.empty() || ucp_worker_arm(worker_.get()) != UCS_OK) {  // Busy: something has arrived.
    return;
  }
  pollfd descriptors[] = {{.fd = event_descriptor_, .events = POLLIN, .revents = 0},
                          {.fd = wake_.get(), .events = POLLIN, .revents = 0}};
  const Duration left = std::max(until - clock_.now(), Duration::zero());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  const timespec timeout = {.tv_sec = static_cast<time_t>(seconds.count()),
                            .tv_nsec = static_cast<long>((left - seconds).count())};
  if (::ppoll(descriptors, std::size(descriptors), &timeout, nullptr) > 0 &&
      descriptors[1].revents != 0) {
    wake_.clear();
  }
}

void UcxLink::drain() {
  const Instant deadline = clock_.now() + kCloseTimeout;
  bool late = false;
  do {
    late = clock_.now() >= deadline;
    while (ucp_worker_progress(worker_.get()) != 0) {
    }
    notes_.clear();
    reject_requests();
    close_ends();
  } while (!late && !(to_close_.empty() && closing_.empty()));
}

}  // namespace

Result<std::unique_ptr<detail::ILink>> make_ucx_link(const UcxTransportOptions& options) {
  auto link = std::make_unique<UcxLink>();
  PINION_RETURN_IF_ERROR(link->start(options));
  return std::unique_ptr<detail::ILink>(std::move(link));
}

}  // namespace pinion
