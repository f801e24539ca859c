#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <ucp/api/ucp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include <pinion/core/detail/checksum.hpp>

namespace pinion::bench {

// UCX by hand, over TCP, as one who writes no more than a request and its reply, and a pull: a
// request, a checksum over all bytes, a rendezvous into the destination, and a checksum there. Ends
// the process where something goes wrong. Each object is for one thread.

inline void require_ucx(bool good, const char* what) {
  if (!good) {
    std::fprintf(stderr, "UCX by hand: %s failed\n", what);
    std::exit(70);
  }
}

inline sockaddr_in raw_address(const char* ip, std::uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  require_ucx(::inet_pton(AF_INET, ip, &address.sin_addr) == 1, "reading an address");
  return address;
}

/// A worker of UCX on a network device.
class RawWorker {
 public:
  explicit RawWorker(const char* device) {
    ucp_config_t* config = nullptr;
    require_ucx(ucp_config_read(nullptr, nullptr, &config) == UCS_OK, "ucp_config_read");
    require_ucx(ucp_config_modify(config, "TLS", "tcp,self") == UCS_OK, "TLS");
    require_ucx(ucp_config_modify(config, "NET_DEVICES", device) == UCS_OK, "NET_DEVICES");
    ucp_params_t params = {};
    params.field_mask = UCP_PARAM_FIELD_FEATURES;
    params.features = UCP_FEATURE_AM;
    require_ucx(ucp_init(&params, config, &context_) == UCS_OK, "ucp_init");
    ucp_config_release(config);
    ucp_worker_params_t worker_params = {};
    require_ucx(ucp_worker_create(context_, &worker_params, &worker_) == UCS_OK,
                "ucp_worker_create");
  }
  ~RawWorker() {
    ucp_worker_destroy(worker_);
    ucp_cleanup(context_);
  }
  RawWorker(const RawWorker&) = delete;
  RawWorker& operator=(const RawWorker&) = delete;

  [[nodiscard]] ucp_worker_h get() const { return worker_; }
  void progress() { ucp_worker_progress(worker_); }

  void handle(unsigned id, ucp_am_recv_callback_t callback, void* argument) {
    ucp_am_handler_param_t params = {};
    params.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                        UCP_AM_HANDLER_PARAM_FIELD_ARG;
    params.id = id;
    params.cb = callback;
    params.arg = argument;
    require_ucx(ucp_worker_set_am_recv_handler(worker_, &params) == UCS_OK, "a handler");
  }

  ucp_ep_h endpoint(ucp_ep_params_t params) {
    params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
    params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    ucp_ep_h endpoint = nullptr;
    require_ucx(ucp_ep_create(worker_, &params, &endpoint) == UCS_OK, "ucp_ep_create");
    return endpoint;
  }

  /// The bytes, header included, must stay until the message has arrived.
  static void send(ucp_ep_h to, unsigned id, std::span<const std::byte> header,
                   std::span<const std::byte> bytes, unsigned flags) {
    ucp_request_param_t param = {};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK;
    param.flags = flags | UCP_AM_SEND_FLAG_REPLY;
    param.cb.send = [](void* request, ucs_status_t, void*) { ucp_request_free(request); };
    require_ucx(!UCS_PTR_IS_ERR(ucp_am_send_nbx(to, id, header.data(), header.size(), bytes.data(),
                                                bytes.size(), &param)),
                "ucp_am_send_nbx");
  }

 private:
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
};

// Active messages.
inline constexpr unsigned kRawPing = 1;
inline constexpr unsigned kRawPong = 2;
inline constexpr unsigned kRawPull = 3;
inline constexpr unsigned kRawBytes = 4;

inline constexpr std::size_t kRawPullsMax = 16;

/// A pull: bytes of the source, and under which number they are answered, below kRawPullsMax.
struct RawPull {
  std::uint64_t number;
  std::uint64_t offset;
  std::uint64_t length;
};

/// What comes before the bytes of an answer.
struct RawHead {
  std::uint64_t number;
  std::uint64_t checksum;
};

/// Answers requests with their bytes, and pulls with those of a source.
class RawOwner {
 public:
  RawOwner(const char* device, const char* ip) : worker_(device) {
    worker_.handle(kRawPing, on_ping, this);
    worker_.handle(kRawPull, on_pull, this);
    const sockaddr_in address = raw_address(ip, 0);
    ucp_listener_params_t params = {};
    params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
    params.sockaddr = {.addr = reinterpret_cast<const sockaddr*>(&address),
                       .addrlen = sizeof(address)};
    params.conn_handler = {.cb = on_connect, .arg = this};
    require_ucx(ucp_listener_create(worker_.get(), &params, &listener_) == UCS_OK, "listening");
  }
  ~RawOwner() { ucp_listener_destroy(listener_); }
  RawOwner(const RawOwner&) = delete;
  RawOwner& operator=(const RawOwner&) = delete;

  [[nodiscard]] std::uint16_t port() const {
    ucp_listener_attr_t attributes = {};
    attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
    require_ucx(ucp_listener_query(listener_, &attributes) == UCS_OK, "listening");
    sockaddr_in address = {};
    std::memcpy(&address, &attributes.sockaddr, sizeof(address));
    return ntohs(address.sin_port);
  }

  /// Must stay while it is pulled; not while somebody pulls. From any thread, if the pulls that
  /// follow come after it.
  void set_source(std::span<const std::byte> source) { source_ = source; }

  [[nodiscard]] bool connected() const { return connected_; }
  void progress() { worker_.progress(); }

 private:
  static void on_connect(ucp_conn_request_h request, void* self) {
    RawOwner& owner = *static_cast<RawOwner*>(self);
    ucp_ep_params_t params = {};
    params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
    params.conn_request = request;
    owner.worker_.endpoint(params);
    owner.connected_ = true;
  }
  static ucs_status_t on_ping(void* self, const void*, std::size_t, void* data, std::size_t length,
                              const ucp_am_recv_param_t* param) {
    RawOwner& owner = *static_cast<RawOwner*>(self);
    require_ucx(length == sizeof(owner.ping_), "a request");
    std::memcpy(&owner.ping_, data, length);
    RawWorker::send(param->reply_ep, kRawPong, {}, std::as_bytes(std::span(&owner.ping_, 1)),
                    UCP_AM_SEND_FLAG_EAGER);
    return UCS_OK;
  }
  static ucs_status_t on_pull(void* self, const void*, std::size_t, void* data, std::size_t length,
                              const ucp_am_recv_param_t* param) {
    RawOwner& owner = *static_cast<RawOwner*>(self);
    RawPull pull = {};
    require_ucx(length == sizeof(pull), "a pull");
    std::memcpy(&pull, data, length);
    const std::span<const std::byte> bytes = owner.source_.subspan(pull.offset, pull.length);
    RawHead& head = owner.heads_.at(pull.number);
    head = {pull.number, detail::checksum(bytes)};
    RawWorker::send(param->reply_ep, kRawBytes, std::as_bytes(std::span(&head, 1)), bytes,
                    UCP_AM_SEND_FLAG_RNDV);
    return UCS_OK;
  }

  RawWorker worker_;
  ucp_listener_h listener_ = nullptr;
  std::span<const std::byte> source_;
  std::uint64_t ping_ = 0;
  std::array<RawHead, kRawPullsMax> heads_ = {};
  bool connected_ = false;
};

/// Asks a RawOwner, and pulls from it.
class RawPuller {
 public:
  RawPuller(const char* device, const char* ip, std::uint16_t port) : worker_(device) {
    worker_.handle(kRawPong, on_pong, this);
    worker_.handle(kRawBytes, on_bytes, this);
    const sockaddr_in address = raw_address(ip, port);
    ucp_ep_params_t params = {};
    params.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
    params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
    params.sockaddr = {.addr = reinterpret_cast<const sockaddr*>(&address),
                       .addrlen = sizeof(address)};
    endpoint_ = worker_.endpoint(params);
  }
  RawPuller(const RawPuller&) = delete;
  RawPuller& operator=(const RawPuller&) = delete;

  /// Sends 8 bytes and waits for the reply.
  void ping() {
    const std::uint64_t number = 0;
    left_ = 1;
    RawWorker::send(endpoint_, kRawPing, {}, std::as_bytes(std::span(&number, 1)),
                    UCP_AM_SEND_FLAG_EAGER);
    wait();
  }

  /// Pulls `destinations.size()` parts of equal size, the first ones of the source, at once, and
  /// verifies each when it is there. At most kRawPullsMax.
  void pull(std::span<const std::span<std::byte>> destinations) {
    std::array<RawPull, kRawPullsMax> pulls = {};
    left_ = destinations.size();
    for (std::size_t i = 0; i < destinations.size(); ++i) {
      arrivals_.at(i) = {this, destinations[i], 0};
      pulls.at(i) = {i, i * destinations[i].size(), destinations[i].size()};
      RawWorker::send(endpoint_, kRawPull, {}, std::as_bytes(std::span(&pulls.at(i), 1)),
                      UCP_AM_SEND_FLAG_EAGER);
    }
    wait();
  }

 private:
  struct Arrival {
    RawPuller* puller;
    std::span<std::byte> destination;
    std::uint64_t checksum;

    void finish() {
      require_ucx(detail::checksum(destination) == checksum, "a checksum");
      --puller->left_;
    }
  };

  void wait() {
    while (left_ > 0) {
      worker_.progress();
    }
  }

  static ucs_status_t on_pong(void* self, const void*, std::size_t, void*, std::size_t,
                              const ucp_am_recv_param_t*) {
    --static_cast<RawPuller*>(self)->left_;
    return UCS_OK;
  }
  static ucs_status_t on_bytes(void* self, const void* header, std::size_t header_length,
                               void* data, std::size_t length, const ucp_am_recv_param_t*) {
    RawPuller& puller = *static_cast<RawPuller*>(self);
    RawHead head = {};
    require_ucx(header_length == sizeof(head), "an answer");
    std::memcpy(&head, header, sizeof(head));
    Arrival& arrival = puller.arrivals_.at(head.number);
    require_ucx(length == arrival.destination.size(), "an answer");
    arrival.checksum = head.checksum;
    ucp_request_param_t param = {};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
    param.user_data = &arrival;
    param.cb.recv_am = [](void* request, ucs_status_t status, std::size_t, void* user) {
      require_ucx(status == UCS_OK, "receiving");
      ucp_request_free(request);
      static_cast<Arrival*>(user)->finish();
    };
    const ucs_status_ptr_t request = ucp_am_recv_data_nbx(
        puller.worker_.get(), data, arrival.destination.data(), length, &param);
    require_ucx(!UCS_PTR_IS_ERR(request), "ucp_am_recv_data_nbx");
    if (request == nullptr) {
      arrival.finish();
    }
    return UCS_OK;
  }

  RawWorker worker_;
  ucp_ep_h endpoint_ = nullptr;
  std::array<Arrival, kRawPullsMax> arrivals_ = {};
  std::size_t left_ = 0;
};

}  // namespace pinion::bench
