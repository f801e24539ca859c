// What the transport over UCX adds to UCX: a request of 8 bytes and its reply, from handler to
// handler, and pulls of blobs, beside a program that calls UCX by hand and does the same: request,
// reply; or request, rendezvous into the destination, checksum on both sides.
//
// Expected before measuring: to and fro over the loopback takes UCX some ten microseconds, nearly
// all of it in the kernel. The transport adds to each way a frame that is written and read, a look
// into two tables and one at the clock: some hundred nanoseconds, so a few percent. A pull in
// pieces that stay in the cache between the checksum and the kernel should not be slower than one
// that goes over all its bytes twice.
//
// Both sides are threads of this process, which poll. Contenders run by turns, round after round,
// over memory that was used before; ratios are those of the medians.
//
//   transport_bench [ROUNDS]

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <ucp/api/ucp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/detail/checksum.hpp>
#include <pinion/core/transport.hpp>
#include <pinion/ucx/ucx_transport.hpp>

#include "line_round_trip.hpp"

namespace pinion {
namespace {

using Samples = std::vector<double>;

double percentile(Samples samples, double part) {
  std::ranges::sort(samples);
  return samples.at(static_cast<std::size_t>(part * static_cast<double>(samples.size() - 1)));
}

double microseconds(Duration span) {
  return std::chrono::duration<double, std::micro>(span).count();
}

/// The bytes that are pulled, and where they go: the same memory for all contenders.
struct Memory {
  explicit Memory(std::size_t size) : source(size), destination(size) {
    for (std::size_t at = 0; at < size; ++at) {
      source[at] = static_cast<std::byte>(at * 31 + (at >> 8));
    }
  }

  std::vector<std::byte> source;
  std::vector<std::byte> destination;
};

void require(bool good, const char* what) {
  if (!good) {
    std::fprintf(stderr, "transport_bench: %s failed\n", what);
    std::exit(70);
  }
}

/// Binds the calling thread, and those that it makes from now on, to a CPU. Each side has its own,
/// as hosts have: the system tends to put who is woken beside who wakes, and then both share one.
void bind_to(unsigned cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  require(::sched_setaffinity(0, sizeof(cpus), &cpus) == 0, "binding");
}

/// A way to do both things; each call fills `samples` with microseconds of single ones.
class IContender {
 public:
  virtual ~IContender() = default;
  virtual void ping(std::size_t count, Samples& samples) = 0;
  virtual void pull(Memory& memory, std::size_t count, Samples& samples) = 0;
};

class PinionContender final : public IContender {
 public:
  PinionContender() {
    TransportHandlers owner;
    owner.on_request = [](std::uint32_t, std::span<const std::byte> request) {
      return Result<std::vector<std::byte>>({request.begin(), request.end()});
    };
    owner.on_pull = [this](std::uint32_t, const BlobHandle& handle) {
      return Result<Blob>(Blob(handle, {}, memory_->source, nullptr));
    };
    bind_to(0);
    owner_ = make(1, std::move(owner));
    TransportHandlers puller;
    std::promise<void> up;
    puller.on_peer = [&up](std::uint32_t, const Status& status) {
      require(status.ok(), "connecting");
      up.set_value();
    };
    bind_to(1);
    puller_ = make(2, std::move(puller));
    require(puller_->connect(1, owner_->address()).ok(), "connecting");
    up.get_future().wait();
  }

  // Each reply sends the next request, so no other thread has a part in it.
  void ping(std::size_t count, Samples& samples) override {
    const std::uint64_t number = 0;
    const auto bytes = std::as_bytes(std::span(&number, 1));
    std::promise<void> ended;
    std::size_t left = count;
    Instant begin;
    std::function<void(Result<std::vector<std::byte>>)> next =
        [&](const Result<std::vector<std::byte>>& reply) {
          require(reply.has_value(), "a request");
          const Instant now = clock_.now();
          samples.push_back(microseconds(now - begin));
          if (--left == 0) {
            ended.set_value();
          } else {
            begin = clock_.now();
            puller_->request(1, bytes, std::chrono::seconds(60), next);
          }
        };
    begin = clock_.now();
    puller_->request(1, bytes, std::chrono::seconds(60), next);
    ended.get_future().wait();
  }

  void pull(Memory& memory, std::size_t count, Samples& samples) override {
    memory_ = &memory;
    std::promise<void> ended;
    std::size_t left = count;
    Instant begin;
    const BlobHandle handle = {.length_bytes = memory.source.size(), .host = 1};
    const auto pull = [&](std::function<void(Result<Blob>)> done) {
      begin = clock_.now();
      puller_->pull(handle,
                    BlobWriter(memory.destination,
                               [&]() -> Result<Blob> {
                                 return Blob(handle, {}, memory.destination, nullptr);
                               }),
                    std::move(done));
    };
    std::function<void(Result<Blob>)> next = [&](const Result<Blob>& blob) {
      require(blob.has_value(), "a pull");
      samples.push_back(microseconds(clock_.now() - begin));
      if (--left == 0) {
        ended.set_value();
      } else {
        pull(next);
      }
    };
    pull(next);
    ended.get_future().wait();
  }

 private:
  static std::unique_ptr<ITransport> make(std::uint32_t host, TransportHandlers handlers) {
    Result<std::unique_ptr<ITransport>> transport = create_ucx_transport(
        {.host = host, .listen_address = "127.0.0.1", .handlers = std::move(handlers)});
    return *std::move(transport);
  }

  const SystemClock clock_;
  Memory* memory_ = nullptr;
  std::unique_ptr<ITransport> owner_;
  std::unique_ptr<ITransport> puller_;
};

/// A worker of UCX, for the thread that progresses it.
class RawWorker {
 public:
  RawWorker() {
    ucp_config_t* config = nullptr;
    require(ucp_config_read(nullptr, nullptr, &config) == UCS_OK, "ucp_config_read");
    require(ucp_config_modify(config, "TLS", "tcp,self") == UCS_OK, "TLS");
    require(ucp_config_modify(config, "NET_DEVICES", "lo") == UCS_OK, "NET_DEVICES");
    ucp_params_t params = {};
    params.field_mask = UCP_PARAM_FIELD_FEATURES;
    params.features = UCP_FEATURE_AM;
    require(ucp_init(&params, config, &context_) == UCS_OK, "ucp_init");
    ucp_config_release(config);
    ucp_worker_params_t worker_params = {};
    require(ucp_worker_create(context_, &worker_params, &worker_) == UCS_OK, "ucp_worker_create");
  }
  ~RawWorker() {
    ucp_worker_destroy(worker_);
    ucp_cleanup(context_);
  }
  RawWorker(const RawWorker&) = delete;
  RawWorker& operator=(const RawWorker&) = delete;

  [[nodiscard]] ucp_worker_h get() const { return worker_; }

  void handle(unsigned id, ucp_am_recv_callback_t callback, void* argument) {
    ucp_am_handler_param_t params = {};
    params.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                        UCP_AM_HANDLER_PARAM_FIELD_ARG;
    params.id = id;
    params.cb = callback;
    params.arg = argument;
    require(ucp_worker_set_am_recv_handler(worker_, &params) == UCS_OK, "a handler");
  }

  ucp_ep_h endpoint(ucp_ep_params_t params) {
    params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
    params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    ucp_ep_h endpoint = nullptr;
    require(ucp_ep_create(worker_, &params, &endpoint) == UCS_OK, "ucp_ep_create");
    return endpoint;
  }

 private:
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
};

class RawContender final : public IContender {
 public:
  RawContender() {
    server_.handle(kPing, on_ping, this);
    server_.handle(kPull, on_pull, this);
    client_.handle(kPong, on_pong, this);
    client_.handle(kBytes, on_bytes, this);
    ucp_listener_params_t params = {};
    params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    params.sockaddr = {.addr = reinterpret_cast<sockaddr*>(&address), .addrlen = sizeof(address)};
    params.conn_handler = {.cb = on_connect, .arg = this};
    require(ucp_listener_create(server_.get(), &params, &listener_) == UCS_OK, "listening");
    ucp_listener_attr_t attributes = {};
    attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
    require(ucp_listener_query(listener_, &attributes) == UCS_OK, "listening");
    thread_ = std::thread([this] { serve(); });
    ucp_ep_params_t end = {};
    end.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
    end.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
    end.sockaddr = {.addr = reinterpret_cast<sockaddr*>(&attributes.sockaddr),
                    .addrlen = sizeof(address)};
    endpoint_ = client_.endpoint(end);
  }
  ~RawContender() override {
    stopping_ = true;
    thread_.join();
    ucp_listener_destroy(listener_);
  }
  RawContender(const RawContender&) = delete;
  RawContender& operator=(const RawContender&) = delete;

  void ping(std::size_t count, Samples& samples) override {
    awake_ = true;
    const std::uint64_t number = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const Instant begin = clock_.now();
      send(endpoint_, kPing, {}, &number, sizeof(number), UCP_AM_SEND_FLAG_EAGER);
      wait();
      samples.push_back(microseconds(clock_.now() - begin));
    }
    awake_ = false;
  }

  void pull(Memory& memory, std::size_t count, Samples& samples) override {
    memory_ = &memory;
    awake_ = true;
    const BlobHandle handle = {.length_bytes = memory.source.size()};
    for (std::size_t i = 0; i < count; ++i) {
      const Instant begin = clock_.now();
      send(endpoint_, kPull, {}, &handle, sizeof(handle), UCP_AM_SEND_FLAG_EAGER);
      wait();
      require(detail::checksum(memory.destination) == expected_, "a checksum");
      samples.push_back(microseconds(clock_.now() - begin));
    }
    awake_ = false;
  }

 private:
  static constexpr unsigned kPing = 1;
  static constexpr unsigned kPong = 2;
  static constexpr unsigned kPull = 3;
  static constexpr unsigned kBytes = 4;

  // While others are measured it leaves them the CPU.
  void serve() {
    bind_to(0);
    while (!stopping_) {
      if (!awake_ && connected_) {
        std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      ucp_worker_progress(server_.get());
    }
  }

  void wait() {
    while (!arrived_) {
      ucp_worker_progress(client_.get());
    }
    arrived_ = false;
  }

  void send(ucp_ep_h to, unsigned id, std::span<const std::byte> header, const void* bytes,
            std::size_t size, unsigned flags) {
    ucp_request_param_t param = {};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK;
    param.flags = flags | UCP_AM_SEND_FLAG_REPLY;
    param.cb.send = [](void* request, ucs_status_t, void*) { ucp_request_free(request); };
    require(
        !UCS_PTR_IS_ERR(ucp_am_send_nbx(to, id, header.data(), header.size(), bytes, size, &param)),
        "ucp_am_send_nbx");
  }

  static void on_connect(ucp_conn_request_h request, void* self) {
    RawContender& raw = *static_cast<RawContender*>(self);
    ucp_ep_params_t params = {};
    params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
    params.conn_request = request;
    raw.server_.endpoint(params);
    raw.connected_ = true;
  }
  static ucs_status_t on_ping(void* self, const void*, std::size_t, void* data, std::size_t length,
                              const ucp_am_recv_param_t* param) {
    static_cast<RawContender*>(self)->send(param->reply_ep, kPong, {}, data, length,
                                           UCP_AM_SEND_FLAG_EAGER);
    return UCS_OK;
  }
  static ucs_status_t on_pong(void* self, const void*, std::size_t, void*, std::size_t,
                              const ucp_am_recv_param_t*) {
    static_cast<RawContender*>(self)->arrived_ = true;
    return UCS_OK;
  }
  static ucs_status_t on_pull(void* self, const void*, std::size_t, void*, std::size_t,
                              const ucp_am_recv_param_t* param) {
    RawContender& raw = *static_cast<RawContender*>(self);
    raw.sum_ = detail::checksum(raw.memory_->source);
    raw.send(param->reply_ep, kBytes, std::as_bytes(std::span(&raw.sum_, 1)),
             raw.memory_->source.data(), raw.memory_->source.size(), UCP_AM_SEND_FLAG_RNDV);
    return UCS_OK;
  }
  static ucs_status_t on_bytes(void* self, const void* header, std::size_t, void* data,
                               std::size_t length, const ucp_am_recv_param_t*) {
    RawContender& raw = *static_cast<RawContender*>(self);
    std::memcpy(&raw.expected_, header, sizeof(raw.expected_));
    ucp_request_param_t param = {};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
    param.user_data = self;
    param.cb.recv_am = [](void* request, ucs_status_t status, std::size_t, void* user) {
      require(status == UCS_OK, "receiving");
      static_cast<RawContender*>(user)->arrived_ = true;
      ucp_request_free(request);
    };
    const ucs_status_ptr_t request = ucp_am_recv_data_nbx(
        raw.client_.get(), data, raw.memory_->destination.data(), length, &param);
    require(!UCS_PTR_IS_ERR(request), "ucp_am_recv_data_nbx");
    raw.arrived_ = raw.arrived_ || request == nullptr;
    return UCS_OK;
  }

  const SystemClock clock_;
  RawWorker server_;
  RawWorker client_;
  ucp_listener_h listener_ = nullptr;
  ucp_ep_h endpoint_ = nullptr;
  Memory* memory_ = nullptr;
  std::uint64_t sum_ = 0;
  std::uint64_t expected_ = 0;
  bool arrived_ = false;
  std::atomic<bool> connected_ = false;
  std::atomic<bool> awake_ = false;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

struct Row {
  const char* name;
  std::size_t bytes;  // 0: a request.
  std::size_t count;  // In one round.
};

int run(int rounds) {
  const double line_ns = bench::LinePair(0, 1).measure();
  PinionContender pinion;
  RawContender raw;
  const Row rows[] = {{"8 B request and reply", 0, 2000},  {"pull of 1 KiB", 1 << 10, 500},
                      {"pull of 8 KiB", 8 << 10, 500},     {"pull of 64 KiB", 64 << 10, 300},
                      {"pull of 256 KiB", 256 << 10, 100}, {"pull of 1 MiB", 1 << 20, 50},
                      {"pull of 8 MiB", 8 << 20, 10},      {"pull of 64 MiB", 64 << 20, 3}};
  std::printf("a line of the cache goes to and fro in %.0f ns\n", line_ns);
  std::printf("%-24s %10s %10s %8s %10s\n", "", "UCX us", "Pinion us", "ratio", "Pinion GB/s");
  for (const Row& row : rows) {
    Memory memory(std::max<std::size_t>(row.bytes, 1));
    Samples of_raw;
    Samples of_pinion;
    const std::pair<IContender*, Samples*> contenders[] = {{&raw, &of_raw}, {&pinion, &of_pinion}};
    for (int round = -1; round < rounds; ++round) {
      for (const auto& [contender, samples] : contenders) {
        if (row.bytes == 0) {
          contender->ping(row.count, *samples);
        } else {
          std::ranges::fill(memory.destination, std::byte{0});
          contender->pull(memory, row.count, *samples);
          require(memory.destination == memory.source, "comparing");
        }
        if (round < 0) {
          samples->clear();  // It was to warm up.
        }
      }
    }
    const double raw_us = percentile(of_raw, 0.5);
    const double pinion_us = percentile(of_pinion, 0.5);
    std::printf("%-24s %10.2f %10.2f %8.2f", row.name, raw_us, pinion_us,
                row.bytes == 0 ? pinion_us / raw_us : raw_us / pinion_us);
    if (row.bytes != 0) {
      std::printf(" %10.2f", static_cast<double>(row.bytes) / pinion_us / 1000);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace pinion

int main(int count, char** arguments) {
  return pinion::run(count > 1 ? std::atoi(arguments[1]) : 9);
}
