#include <pinion/core/detail/link_transport.hpp>

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <utility>

#include <pinion/core/bytes.hpp>
#include <pinion/core/detail/task.hpp>
#include <pinion/core/detail/task_ring.hpp>

#include "spin.hpp"
#include "transport/engine.hpp"
#include "transport/peer_table.hpp"

namespace pinion::detail {
namespace {

constexpr std::size_t kCallsMax = 4096;

// After something happened it looks for more for so long before it sleeps: a wake-up costs more.
constexpr Duration kSpin = std::chrono::microseconds(30);

// While blobs are under way: the other side takes as long to empty what lies between the two and to
// sum a chunk up.
constexpr Duration kSpinOfPulls = std::chrono::milliseconds(1);

// Links have lost wake-ups; it looks by itself so often.
constexpr Duration kSleepMax = std::chrono::milliseconds(10);

constexpr std::uint64_t kWindowBytesMin = std::uint64_t{64} << 10;

/// The transport's thread, with a queue of calls in front of it. Calls of the thread itself are
/// made at once, so it never waits for its own queue.
class LinkTransport final : public ITransport {
 public:
  LinkTransport(std::unique_ptr<ILink> link, const LinkTransportOptions& options)
      : link_(std::move(link)), engine_(*link_, options, table_, clock_), own_host_(options.host) {}

  ~LinkTransport() override {
    if (thread_.joinable()) {
      stopping_.store(true, std::memory_order_release);
      link_->wake();
      thread_.join();
    }
  }

  Status start() {
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error& error) {
      return {ErrorCode::kResourceExhausted,
              std::string("the system gives no thread for a transport: ") + error.what()};
    }
    return {};
  }

  std::string address() const override { return link_->address(); }

  Status connect(std::uint32_t host, const std::string& address) override {
    PINION_RETURN_IF_ERROR(link_->check_address(address));
    if (host == own_host_) {
      return {ErrorCode::kInvalidArgument,
              "host " + std::to_string(host) + " is this one; it needs no connection to itself"};
    }
    PINION_RETURN_IF_ERROR(table_.begin(host));
    call([this, host, address] { engine_.connect(host, address); });
    return {};
  }

  Status send(std::uint32_t host, std::span<const std::byte> message) override {
    if (message.size() > kMessageBytesMax) {
      return {ErrorCode::kInvalidArgument, "a message of " + format_bytes(message.size()) +
                                               "; at most " + format_bytes(kMessageBytesMax) +
                                               " are sent"};
    }
    std::shared_ptr<PeerLine> line = table_.find(host);
    if (line == nullptr) {
      return {ErrorCode::kUnavailable, "host " + std::to_string(host) + " is not reachable"};
    }
    const std::uint64_t cost = credit_cost(message.size());
    if (line->take(cost)) {
      if (on_own_thread()) {
        engine_.send(*line, message);
        return {};
      }
      Task task([this, line, copy = std::vector<std::byte>(message.begin(), message.end())] {
        engine_.send(*line, copy);
      });
      if (try_call(task)) {
        return {};
      }
      line->give_back(cost);
    }
    return {ErrorCode::kResourceExhausted, "host " + std::to_string(host) +
                                               " has not taken what was sent before; try again "
                                               "later"};
  }

  void request(std::uint32_t host, std::span<const std::byte> request, Duration timeout,
               std::function<void(Result<std::vector<std::byte>>)> done) override {
    if (on_own_thread()) {
      engine_.request(host, request, timeout, std::move(done));
      return;
    }
    call([this, host, copy = std::vector<std::byte>(request.begin(), request.end()), timeout,
          done = std::move(done)]() mutable {
      engine_.request(host, copy, timeout, std::move(done));
    });
  }

  void pull_from(std::uint32_t host, const BlobPart& part, BlobWriter into,
                 std::function<void(Result<Blob>)> done) override {
    call([this, host, part, into = std::move(into), done = std::move(done)]() mutable {
      engine_.pull_from(host, part, std::move(into), std::move(done));
    });
  }

  std::vector<Peer> peers() const override { return table_.peers(); }

 private:
  [[nodiscard]] bool on_own_thread() const noexcept {
    return std::this_thread::get_id() == thread_id_.load(std::memory_order_relaxed);
  }

  // Waits while the queue is full: the thread takes from it as soon as no handler keeps it.
  template <class F>
  void call(F&& callable) {
    if (on_own_thread()) {
      callable();
      return;
    }
    Task task(std::forward<F>(callable));
    Backoff backoff;
    while (!try_call(task)) {
      backoff.wait();
    }
  }

  // Leaves the task as it is when the queue is full.
  bool try_call(Task& task) {
    if (!calls_.try_push(std::move(task))) {
      return false;
    }
    // The push comes before this load in the one order of both, and the thread looks at the queue
    // after it has stored: one of the two sees the other.
    if (sleeping_.load(std::memory_order_seq_cst) &&
        sleeping_.exchange(false, std::memory_order_seq_cst)) {
      link_->wake();
    }
    return true;
  }

  bool run_calls() {
    bool any = false;
    // No more than were there, so that those who call cannot keep it from the link.
    for (std::size_t left = calls_.size(); left > 0; --left) {
      std::optional<Task> task = calls_.try_pop();
      if (!task) {
        break;
      }
      task->run();
      any = true;
    }
    return any;
  }

  void run() {
    thread_id_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    Instant last_work = clock_.now();
    while (!stopping_.load(std::memory_order_acquire)) {
      const bool arrived = link_->progress(engine_);
      const bool called = run_calls();
      const Instant now = clock_.now();
      engine_.advance(now);
      engine_.flush();
      if (arrived || called) {
        last_work = now;
      } else if (now - last_work < kSpin || (now - last_work < kSpinOfPulls && engine_.moves())) {
        // Whoever it waits for may be waiting for this CPU.
        std::this_thread::yield();
      } else {
        sleep(std::min(engine_.next_deadline(), now + kSleepMax));
      }
    }
    run_calls();
    engine_.stop();
  }

  void sleep(Instant until) {
    sleeping_.store(true, std::memory_order_seq_cst);
    if (calls_.size() == 0) {
      link_->wait(until);
    }
    sleeping_.store(false, std::memory_order_seq_cst);
  }

  const SystemClock clock_;
  PeerTable table_;
  const std::unique_ptr<ILink> link_;
  TransportEngine engine_;
  const std::uint32_t own_host_;
  TaskRing<Task> calls_{kCallsMax};
  std::atomic<bool> sleeping_ = false;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::thread::id> thread_id_ = {};
  std::thread thread_;
};

}  // namespace

Status check_options(const LinkTransportOptions& options) {
  const std::pair<const char*, Duration> durations[] = {
      {"keepalive", options.keepalive},
      {"connect_timeout", options.connect_timeout},
      {"pull_timeout", options.pull_timeout}};
  for (const auto& [name, duration] : durations) {
    if (duration <= Duration::zero()) {
      return {ErrorCode::kInvalidArgument, std::string(name) + " is " +
                                               std::to_string(duration.count()) +
                                               " ns; it must be above 0"};
    }
  }
  if (options.window_bytes < kWindowBytesMin) {
    return {ErrorCode::kInvalidArgument, "window_bytes is " + std::to_string(options.window_bytes) +
                                             "; it must be at least " +
                                             std::to_string(kWindowBytesMin)};
  }
  return {};
}

Result<std::unique_ptr<ITransport>> make_link_transport(std::unique_ptr<ILink> link,
                                                        const LinkTransportOptions& options) {
  PINION_ASSERT(check_options(options).ok());
  auto transport = std::make_unique<LinkTransport>(std::move(link), options);
  PINION_RETURN_IF_ERROR(transport->start());
  return std::unique_ptr<ITransport>(std::move(transport));
}

}  // namespace pinion::detail
