#include "ucx_link.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "ucx_worker_link.hpp"

// Connections: how they are made, what becomes of them, and waiting. What goes over them is in
// ucx_messages.cpp.

namespace pinion {
namespace {

using detail::ConnectionId;
using detail::ILinkEvents;

// How long what a closed connection was given may take to leave.
constexpr Duration kCloseTimeout = std::chrono::seconds(1);

}  // namespace

Status UcxWorkerLink::start(const UcxTransportOptions& options, std::optional<ChunkWay> way) {
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
  way_ = way;
  const bool reads = way == ChunkWay::kGet || std::ranges::any_of(options.transports, is_rdma);
  Result<UcpContext> context = make_ucp_context(options, place->device, reads);
  if (!context) {
    return context.error();
  }
  context_ = *std::move(context);
  Result<UcpWorker> worker = make_ucp_worker(context_.get());
  if (!worker) {
    return worker.error();
  }
  worker_ = *std::move(worker);
  if (const ucs_status_t status = ucx().ucp_worker_get_efd(worker_.get(), &event_descriptor_);
      status != UCS_OK) {
    return ucx_error(status, "get the descriptor to wait for");
  }
  PINION_RETURN_IF_ERROR(set_handlers());
  return listen(*place);
}

Status UcxWorkerLink::listen(ListenPlace& place) {
  ucp_listener_params_t params = {};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr = {.addr = place.address.data(), .addrlen = place.address.size()};
  params.conn_handler = {.cb = on_request, .arg = this};
  ucp_listener_h listener = nullptr;
  if (const ucs_status_t status = ucx().ucp_listener_create(worker_.get(), &params, &listener);
      status != UCS_OK) {
    return ucx_error(status, "listen at " + format_address(place.address));
  }
  listener_.reset(listener);
  ucp_listener_attr_t attributes = {};
  attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  if (const ucs_status_t status = ucx().ucp_listener_query(listener, &attributes);
      status != UCS_OK) {
    return ucx_error(status, "ask for the port");
  }
  address_ = format_address({attributes.sockaddr});
  return {};
}

UcxWorkerLink::~UcxWorkerLink() {
  reject_requests();
  listener_.reset();
  // UCX frees what was closing with the endpoint, but not for those who may still look at it.
  for (const ConnectionId id : closing_) {
    if (void* const request = ends_.at(id).closing; UCS_PTR_IS_PTR(request)) {
      ucx().ucp_request_free(request);
    }
  }
  // Ends every endpoint, and calls back for what they had under way.
  worker_.reset();
}

UcxWorkerLink::End* UcxWorkerLink::find(ConnectionId connection) {
  const auto found = ends_.find(connection);
  return found == ends_.end() || !found->second.open ? nullptr : &found->second;
}

Result<UcxWorkerLink::End*> UcxWorkerLink::make_end(ucp_ep_params_t params) {
  params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {.cb = on_error, .arg = this};
  ucp_ep_h endpoint = nullptr;
  if (const ucs_status_t status = ucx().ucp_ep_create(worker_.get(), &params, &endpoint);
      status != UCS_OK) {
    return ucx_error(status, "make an endpoint");
  }
  const ConnectionId id = next_id_++;
  ids_[endpoint] = id;
  return &ends_.emplace(id, End{.id = id, .endpoint = endpoint}).first->second;
}

Result<ConnectionId> UcxWorkerLink::open(const std::string& address) {
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
  (*end)->opened = true;
  return (*end)->id;
}

void UcxWorkerLink::on_request(ucp_conn_request_h request, void* link) {
  static_cast<UcxWorkerLink*>(link)->requests_.push_back(request);
}

void UcxWorkerLink::accept_requests(ILinkEvents& events) {
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

void UcxWorkerLink::reject_requests() {
  for (const ucp_conn_request_h request : std::exchange(requests_, {})) {
    static_cast<void>(ucx().ucp_listener_reject(listener_.get(), request));
  }
}

void UcxWorkerLink::on_error(void* link, ucp_ep_h endpoint, ucs_status_t status) {
  UcxWorkerLink& self = *static_cast<UcxWorkerLink*>(link);
  const auto found = self.ids_.find(endpoint);
  if (found != self.ids_.end()) {
    End& end = self.ends_.at(found->second);
    end.broken = true;
    self.fail(end, ucx_error(status, "the connection broke"));
  }
}

void UcxWorkerLink::fail(End& end, const Status& reason) {
  if (!end.failed) {
    end.failed = true;
    notes_.push_back({end.id, Lost{reason}});
  }
}

bool UcxWorkerLink::report_notes(ILinkEvents& events) {
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

void UcxWorkerLink::close(ConnectionId connection, bool after_other) {
  if (End* const end = find(connection)) {
    if (after_other && end->heard && !end->failed) {
      say_waiting(*end);
    }
    end->open = false;
    end->after_other = after_other;
    end->close_deadline = clock_.now() + kCloseTimeout;
    to_close_.push_back(connection);
  }
}

// UCX 1.13 ends the process, by its own checks, when an endpoint is closed, or its peer closes,
// while something that takes several round trips is on its way between two that are alive. So what
// is under way is carried to its end, and force is left for peers that are gone or do not move.
// Where both sides wait for each other, neither begins anything any more, and the one that has
// opened the connection goes first.
void UcxWorkerLink::close_ends() {
  const Instant now = clock_.now();
  std::erase_if(to_close_, [this, now](ConnectionId id) {
    End& end = ends_.at(id);
    const bool idle = end.operations == 0;
    const bool waits = end.after_other && !(end.opened && end.other_waits);
    if (!end.broken && (waits || !idle)) {
      if (now < end.close_deadline) {
        return false;
      }
      cut_off_ = true;
    }
    ucp_request_param_t param = {};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    const bool force = end.broken || !idle || !end.heard;
    param.flags = force ? static_cast<std::uint32_t>(UCP_EP_CLOSE_FLAG_FORCE) : 0;
    end.closed = true;
    forget_offers(id);
    // Once closed, the endpoint's address may be that of another one.
    ids_.erase(end.endpoint);
    end.closing = ucx().ucp_ep_close_nbx(end.endpoint, &param);
    closing_.push_back(id);
    return true;
  });
  std::erase_if(closing_, [this](ConnectionId id) {
    End& end = ends_.at(id);
    if (UCS_PTR_IS_PTR(end.closing)) {
      if (ucx().ucp_request_check_status(end.closing) == UCS_INPROGRESS) {
        return false;
      }
      ucx().ucp_request_free(end.closing);
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

detail::LinkPath UcxWorkerLink::path(ConnectionId connection) {
  const End* const end = find(connection);
  return end == nullptr ? detail::LinkPath() : path_of(lanes_of_endpoint(end->endpoint));
}

bool UcxWorkerLink::progress(ILinkEvents& events) {
  events_ = &events;
  bool any = ucx().ucp_worker_progress(worker_.get()) != 0;
  events_ = nullptr;
  accept_requests(events);
  any = report_notes(events) || any;
  if (!to_close_.empty() || !closing_.empty()) {
    close_ends();
  }
  return any;
}

void UcxWorkerLink::wait(Instant until) {
  if (!notes_.empty() ||
      ucx().ucp_worker_arm(worker_.get()) != UCS_OK) {  // Busy: something has arrived.
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

bool UcxWorkerLink::drain() {
  const Instant deadline = clock_.now() + kCloseTimeout;
  bool late = false;
  do {
    late = clock_.now() >= deadline;
    while (ucx().ucp_worker_progress(worker_.get()) != 0) {
    }
    notes_.clear();
    reject_requests();
    close_ends();
  } while (!late && !(to_close_.empty() && closing_.empty()));
  return !cut_off_ && to_close_.empty() && closing_.empty();
}

Result<std::unique_ptr<detail::ILink>> make_ucx_link(const UcxTransportOptions& options,
                                                     std::optional<ChunkWay> way) {
  PINION_RETURN_IF_ERROR(load_ucx());
  auto link = std::make_unique<UcxWorkerLink>();
  PINION_RETURN_IF_ERROR(link->start(options, way));
  return std::unique_ptr<detail::ILink>(std::move(link));
}

}  // namespace pinion
