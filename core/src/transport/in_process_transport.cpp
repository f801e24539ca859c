#include <pinion/core/in_process_transport.hpp>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <pinion/core/detail/link.hpp>
#include <pinion/core/detail/link_transport.hpp>
#include <pinion/core/thread_annotations.hpp>

namespace pinion {
namespace {

using detail::ChunkHeader;
using detail::ConnectionId;

constexpr std::string_view kScheme = "in-process:";

constexpr std::uint64_t kChunkBytes = std::uint64_t{1} << 20;

// What arrives at one end of a connection.
struct Accepted {};
struct Batch {
  std::vector<std::byte> bytes;
};
struct Chunk {
  ChunkHeader header;
  Blob blob;
};
struct Sent {
  std::uint64_t bytes;
};
struct ChunkSent {
  ChunkHeader header;
};
struct Lost {
  Status reason;
};
struct Event {
  ConnectionId connection;
  std::variant<Accepted, Batch, Chunk, Sent, ChunkSent, Lost> what;
};

}  // namespace

/// All mailboxes and connections, under one lock.
class InProcessHub::Network {
 public:
  explicit Network(InProcessFaults faults) : faults_(std::move(faults)) {}

  const InProcessFaults& faults() const noexcept { return faults_; }

  std::uint64_t join(std::uint32_t host) {
    const MutexLock lock(mutex_);
    mailboxes_.emplace(next_id_, std::make_unique<Mailbox>(host));
    return next_id_++;
  }

  void leave(std::uint64_t mailbox) {
    const MutexLock lock(mutex_);
    std::vector<ConnectionId> ends;
    for (const auto& [id, end] : ends_) {
      if (end.mailbox == mailbox) {
        ends.push_back(id);
      }
    }
    for (const ConnectionId id : ends) {
      close_locked(id);
    }
    mailboxes_.erase(mailbox);
  }

  ConnectionId open(std::uint64_t from, std::uint64_t to) {
    const MutexLock lock(mutex_);
    const ConnectionId here = next_id_++;
    const ConnectionId there = next_id_++;
    ends_.emplace(here, make_end(from, to, there));
    if (!mailboxes_.contains(to)) {
      ends_.at(here).other = 0;
      deliver(here, Lost{{ErrorCode::kUnavailable, "nobody has that address"}}, clock_.now());
      return here;
    }
    ends_.emplace(there, make_end(to, from, here));
    send_locked(here, Accepted{});
    return here;
  }

  void send(ConnectionId from, decltype(Event::what) what) {
    const MutexLock lock(mutex_);
    send_locked(from, std::move(what));
  }

  // Tells the other end at once that what it sent is here.
  void acknowledge(ConnectionId from, decltype(Event::what) what) {
    const MutexLock lock(mutex_);
    const auto end = ends_.find(from);
    if (end != ends_.end() && !is_cut(end->second)) {
      deliver(end->second.other, std::move(what), clock_.now());
    }
  }

  void close(ConnectionId id) {
    const MutexLock lock(mutex_);
    close_locked(id);
  }

  std::vector<Event> receive(std::uint64_t mailbox) {
    const MutexLock lock(mutex_);
    std::multimap<Instant, Event>& events = mailboxes_.at(mailbox)->events;
    const auto due = events.upper_bound(clock_.now());
    std::vector<Event> received;
    for (auto at = events.begin(); at != due; ++at) {
      received.push_back(std::move(at->second));
    }
    events.erase(events.begin(), due);
    return received;
  }

  void wait(std::uint64_t mailbox, Instant until) {
    const MutexLock lock(mutex_);
    Mailbox& box = *mailboxes_.at(mailbox);
    while (!box.woken) {
      const Instant due = box.events.empty() ? until : std::min(until, box.events.begin()->first);
      if (due <= clock_.now()) {
        break;
      }
      box.changed.wait_until(mutex_, due);
    }
    box.woken = false;
  }

  void wake(std::uint64_t mailbox) {
    const MutexLock lock(mutex_);
    wake_locked(*mailboxes_.at(mailbox));
  }

  void set_cut(std::uint32_t host, bool cut) {
    const MutexLock lock(mutex_);
    if (cut) {
      cut_hosts_.insert(host);
    } else {
      cut_hosts_.erase(host);
    }
  }

 private:
  struct Mailbox {
    explicit Mailbox(std::uint32_t number) : host(number) {}

    const std::uint32_t host;
    std::multimap<Instant, Event> events = {};  // By when they are due; equal ones in order.
    bool woken = false;
    std::condition_variable_any changed = {};
  };

  struct End {
    std::uint64_t mailbox;
    std::uint32_t host;
    std::uint32_t other_host;
    ConnectionId other;  // Gone from ends_ when the other side has closed.
    std::mt19937_64 random;
    Instant last_due = {};
    bool lost_something = false;
  };

  End make_end(std::uint64_t from, std::uint64_t to, ConnectionId other) PINION_REQUIRES(mutex_) {
    const auto there = mailboxes_.find(to);
    const std::uint32_t host = mailboxes_.at(from)->host;
    const std::uint32_t other_host = there == mailboxes_.end() ? host : there->second->host;
    std::seed_seq seed{static_cast<std::uint32_t>(faults_.seed),
                       static_cast<std::uint32_t>(faults_.seed >> 32), host, other_host};
    return {from, host, other_host, other, std::mt19937_64(seed)};
  }

  bool is_cut(const End& end) const PINION_REQUIRES(mutex_) {
    return cut_hosts_.contains(end.host) || cut_hosts_.contains(end.other_host);
  }

  void wake_locked(Mailbox& box) PINION_REQUIRES(mutex_) {
    box.woken = true;
    box.changed.notify_all();
  }

  void deliver(ConnectionId to, decltype(Event::what) what, Instant due) PINION_REQUIRES(mutex_) {
    const auto end = ends_.find(to);
    if (end != ends_.end()) {
      Mailbox& box = *mailboxes_.at(end->second.mailbox);
      box.events.emplace(due, Event{to, std::move(what)});
      wake_locked(box);
    }
  }

  void send_locked(ConnectionId from, decltype(Event::what) what) PINION_REQUIRES(mutex_) {
    const auto found = ends_.find(from);
    if (found == ends_.end()) {
      return;
    }
    End& end = found->second;
    if (is_cut(end)) {
      end.lost_something = true;
      return;
    }
    const std::optional<Duration> late = lateness(end);
    if (!late || end.lost_something) {
      break_connection(from);
      return;
    }
    end.last_due = std::max(end.last_due, clock_.now() + *late);
    deliver(end.other, std::move(what), end.last_due);
  }

  // Nothing when it did not arrive however often it was tried.
  std::optional<Duration> lateness(End& end) const {
    std::uniform_real_distribution<double> part(0, 1);
    const double delay = part(end.random) * static_cast<double>(faults_.delay_max.count());
    Duration late(static_cast<Duration::rep>(delay));
    for (unsigned attempt = 1; part(end.random) < faults_.loss; ++attempt) {
      if (attempt >= faults_.attempts_max) {
        return std::nullopt;
      }
      late += faults_.retry;
    }
    return late;
  }

  void break_connection(ConnectionId id) PINION_REQUIRES(mutex_) {
    const Status reason(ErrorCode::kUnavailable, "the connection broke");
    const ConnectionId other = ends_.at(id).other;
    deliver(id, Lost{reason}, clock_.now());
    deliver(other, Lost{reason}, clock_.now());
    ends_.erase(id);
    ends_.erase(other);
  }

  void close_locked(ConnectionId id) PINION_REQUIRES(mutex_) {
    const auto found = ends_.find(id);
    if (found == ends_.end()) {
      return;
    }
    const End& end = found->second;
    if (!is_cut(end)) {
      // After all that was sent.
      deliver(end.other, Lost{{ErrorCode::kUnavailable, "the other side closed the connection"}},
              std::max(end.last_due, clock_.now()));
    }
    ends_.erase(found);
  }

  const InProcessFaults faults_;
  const SystemClock clock_;
  Mutex mutex_;
  std::map<std::uint64_t, std::unique_ptr<Mailbox>> mailboxes_ PINION_GUARDED_BY(mutex_);
  std::map<ConnectionId, End> ends_ PINION_GUARDED_BY(mutex_);
  std::set<std::uint32_t> cut_hosts_ PINION_GUARDED_BY(mutex_);
  std::uint64_t next_id_ PINION_GUARDED_BY(mutex_) = 1;
};

namespace {

std::optional<std::uint64_t> mailbox_of(std::string_view address) {
  if (!address.starts_with(kScheme)) {
    return std::nullopt;
  }
  address.remove_prefix(kScheme.size());
  std::uint64_t number = 0;
  const auto [end, error] =
      std::from_chars(address.data(), address.data() + address.size(), number);
  if (error != std::errc() || end != address.data() + address.size()) {
    return std::nullopt;
  }
  return number;
}

class InProcessLink final : public detail::ILink {
 public:
  InProcessLink(std::shared_ptr<InProcessHub::Network> network, std::uint32_t host)
      : network_(std::move(network)), mailbox_(network_->join(host)) {}
  ~InProcessLink() override { network_->leave(mailbox_); }

  std::string address() const override { return std::string(kScheme) + std::to_string(mailbox_); }

  Status check_address(const std::string& address) const override {
    if (!mailbox_of(address)) {
      return {ErrorCode::kInvalidArgument, "'" + address + "' is no address of this process; " +
                                               std::string(kScheme) + "NUMBER is expected"};
    }
    return {};
  }

  std::string version() const override { return "in-process link 1"; }

  Result<ConnectionId> open(const std::string& address) override {
    PINION_RETURN_IF_ERROR(check_address(address));
    return network_->open(mailbox_, *mailbox_of(address));
  }

  void send(ConnectionId connection, std::vector<std::byte> batch) override {
    network_->send(connection, Batch{std::move(batch)});
  }

  std::uint64_t chunk_bytes(ConnectionId /*connection*/) override { return kChunkBytes; }

  void send_chunk(ConnectionId connection, const ChunkHeader& header, const Blob& blob) override {
    network_->send(connection, Chunk{header, blob});
  }

  void close(ConnectionId connection, bool /*after_other*/) override {
    network_->close(connection);
  }

  detail::LinkPath path(ConnectionId /*connection*/) override {
    return {.name = "memory of this process"};
  }

  bool progress(detail::ILinkEvents& events) override {
    const std::vector<Event> received = network_->receive(mailbox_);
    for (const Event& event : received) {
      std::visit([&](const auto& what) { report(events, event.connection, what); }, event.what);
    }
    return !received.empty();
  }

  void wait(Instant until) override { network_->wait(mailbox_, until); }
  void wake() override { network_->wake(mailbox_); }
  bool drain() override { return true; }  // All that was sent is in the mailboxes of others.

 private:
  void report(detail::ILinkEvents& events, ConnectionId id, const Accepted& /*what*/) {
    events.on_accepted(id);
  }
  void report(detail::ILinkEvents& events, ConnectionId id, const Batch& what) {
    events.on_batch(id, what.bytes);
    network_->acknowledge(id, Sent{what.bytes.size()});
  }
  void report(detail::ILinkEvents& events, ConnectionId id, const Chunk& what) {
    const detail::ChunkTarget target = events.on_chunk(id, what.header);
    if (target.keep_alive != nullptr) {
      std::ranges::copy(what.blob.bytes().subspan(what.header.offset, what.header.length),
                        target.bytes.begin());
      events.on_chunk_arrived(id, what.header);
    }
    network_->acknowledge(id, ChunkSent{what.header});
  }
  void report(detail::ILinkEvents& events, ConnectionId id, const Sent& what) {
    events.on_sent(id, what.bytes);
  }
  void report(detail::ILinkEvents& events, ConnectionId id, const ChunkSent& what) {
    events.on_chunk_sent(id, what.header);
  }
  void report(detail::ILinkEvents& events, ConnectionId id, const Lost& what) {
    events.on_lost(id, what.reason);
  }

  const std::shared_ptr<InProcessHub::Network> network_;
  const std::uint64_t mailbox_;
};

}  // namespace

InProcessHub::InProcessHub(InProcessFaults faults)
    : network_(std::make_shared<Network>(std::move(faults))) {}

Result<std::unique_ptr<ITransport>> InProcessHub::join(const InProcessTransportOptions& options) {
  const detail::LinkTransportOptions link_options = {.host = options.host,
                                                     .keepalive = options.keepalive,
                                                     .connect_timeout = options.connect_timeout,
                                                     .pull_timeout = options.pull_timeout,
                                                     .window_bytes = options.window_bytes,
                                                     .job_key = options.job_key,
                                                     .handlers = options.handlers,
                                                     .damage = network_->faults().damage};
  PINION_RETURN_IF_ERROR(detail::check_options(link_options));
  return detail::make_link_transport(std::make_unique<InProcessLink>(network_, options.host),
                                     link_options);
}

void InProcessHub::cut(std::uint32_t host) {
  network_->set_cut(host, true);
}

void InProcessHub::mend(std::uint32_t host) {
  network_->set_cut(host, false);
}

}  // namespace pinion
