#include "hosts/host_link.hpp"

#include <sodium.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include <pinion/core/bytes.hpp>
#include <pinion/runtime/version.hpp>

namespace pinion {
namespace {

constexpr Duration kHelloTimeout = std::chrono::seconds(30);

// Of strangers that are told to the owner: how many reasons there are, and how long one is. What
// strangers say is in their words.
constexpr std::size_t kRefusalsMax = 64;
constexpr std::size_t kRefusalBytesMax = 1024;

Status check_hello(const HostIdentity& identity, std::uint32_t host, const HostHello& hello) {
  if (hello.version != version()) {
    return Status(ErrorCode::kFailedPrecondition, "its agent is of Pinion " + hello.version +
                                                      ", that of host " +
                                                      std::to_string(identity.host) + " of " +
                                                      std::string(version()) + "; install one");
  }
  if (hello.host != host || host >= identity.host_count || host == identity.host) {
    return Status(ErrorCode::kInvalidArgument, "it says it is host " + std::to_string(hello.host) +
                                                   " of " + std::to_string(identity.host_count) +
                                                   ", and connected as host " +
                                                   std::to_string(host));
  }
  return {};
}

// In the account of what waits; without the fixed part empty messages were free.
std::uint64_t cost_of(const std::vector<std::byte>& message) {
  return 64 + message.size();
}

}  // namespace

JobKey job_key_of(const HostIdentity& identity) {
  static_assert(sizeof(JobKey::proof) == crypto_auth_hmacsha256_BYTES);
  const std::array<std::uint64_t, 2> job = {identity.job, identity.epoch};
  JobKey key = {.job = identity.job, .epoch = identity.epoch};
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, reinterpret_cast<const unsigned char*>(identity.token.data()),
                              identity.token.size());
  crypto_auth_hmacsha256_update(&state, reinterpret_cast<const unsigned char*>(job.data()),
                                sizeof(job));
  crypto_auth_hmacsha256_final(&state, reinterpret_cast<unsigned char*>(key.proof.data()));
  return key;
}

/// What the transport's thread and the owner's share.
class HostLink::Inbox {
 public:
  Inbox(HostIdentity identity, Serve serve, UniqueFd bell)
      : identity_(std::move(identity)), serve_(std::move(serve)), bell_(std::move(bell)) {}

  [[nodiscard]] const HostIdentity& identity() const noexcept { return identity_; }
  [[nodiscard]] int descriptor() const noexcept { return bell_.get(); }

  void add(HostEvent event) PINION_EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      events_.push_back(std::move(event));
    }
    const std::uint64_t one = 1;
    const ssize_t rung = write(bell_.get(), &one, sizeof(one));
    static_cast<void>(rung);  // Full: it rings.
  }

  [[nodiscard]] std::vector<HostEvent> take() PINION_EXCLUDES(mutex_) {
    std::uint64_t count = 0;
    const ssize_t heard = read(bell_.get(), &count, sizeof(count));
    static_cast<void>(heard);  // Silent: events may be there all the same.
    MutexLock lock(mutex_);
    return std::exchange(events_, {});
  }

  void expect(std::uint32_t host) PINION_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    expected_.insert(host);
  }
  [[nodiscard]] bool is_expected(std::uint32_t host) PINION_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return expected_.count(host) > 0;
  }
  void admit(std::uint32_t host) PINION_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    admitted_.insert(host);
  }
  [[nodiscard]] bool is_admitted(std::uint32_t host) PINION_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return admitted_.count(host) > 0;
  }
  /// Whether it was there or on its way.
  bool dismiss(std::uint32_t host) PINION_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const std::size_t known = admitted_.erase(host) + expected_.erase(host);
    return known > 0;
  }

  [[nodiscard]] TransportHandlers handlers(const std::shared_ptr<Inbox>& self) {
    return {
        .on_message = [self](std::uint32_t host,
                             std::span<const std::byte> bytes) { self->heard(host, bytes); },
        .on_request = [self](std::uint32_t host,
                             std::span<const std::byte> bytes) { return self->asked(host, bytes); },
        .on_pull = [self](std::uint32_t host, const BlobHandle& handle) -> Result<Blob> {
          return self->is_admitted(host)
                     ? self->serve_(handle)
                     : Status(ErrorCode::kUnauthenticated, "no hello came before the first pull");
        },
        .on_peer = [self](std::uint32_t host,
                          const Status& reason) { self->changed(host, reason); },
        .on_slow =
            [self](std::uint32_t host, const std::string& reason) {
              self->add(HostSlow{host, reason});
            },
        .on_refusal = [self](const Status& reason) { self->refused(reason); }};
  }

  /// For saying hello. Set before the first connection.
  void set_transport(ITransport* transport) noexcept { transport_ = transport; }

 private:
  void heard(std::uint32_t host, std::span<const std::byte> bytes) {
    if (!is_admitted(host)) {
      return;
    }
    Result<HostMessage> message = decode_host_message(bytes);
    if (!message) {
      dismiss(host);
      add(HostGone{host, std::move(message).error()});
      return;
    }
    add(HostSaid{host, *std::move(message)});
  }

  Result<std::vector<std::byte>> asked(std::uint32_t host, std::span<const std::byte> bytes) {
    Result<HostMessage> message = decode_host_message(bytes);
    const HostHello* const hello = message ? std::get_if<HostHello>(&*message) : nullptr;
    Status checked = !message           ? std::move(message).error()
                     : hello == nullptr ? Status(ErrorCode::kInvalidArgument, "it said no hello")
                                        : check_hello(identity_, host, *hello);
    if (!checked.ok()) {
      refused(Status(checked).with_context("an agent that called itself host " +
                                           std::to_string(host) + " was refused"));
      return checked;
    }
    admit(host);
    add(HostCame{host, hello->address});
    return std::vector<std::byte>();
  }

  void refused(const Status& reason) {
    const Status shortened(reason.code(),
                           std::string(reason.message().substr(0, kRefusalBytesMax)));
    if (refusals_.size() >= kRefusalsMax || !refusals_.insert(shortened.to_string()).second) {
      return;
    }
    add(StrangerRefused{shortened});
    if (refusals_.size() == kRefusalsMax) {
      add(StrangerRefused{{ErrorCode::kResourceExhausted,
                           "strangers were refused for " + std::to_string(kRefusalsMax) +
                               " reasons; more of them are refused without a word here"}});
    }
  }

  void changed(std::uint32_t host, const Status& reason) {
    if (!reason.ok()) {
      if (dismiss(host)) {
        add(HostGone{host, reason});
      }
      return;
    }
    if (!is_expected(host)) {
      return;  // It is he who says hello.
    }
    const HostHello hello{.version = std::string(version()),
                          .host = identity_.host,
                          .address = transport_->address()};
    admit(host);  // What it sends may come before its answer.
    transport_->request(host, encode(hello), kHelloTimeout,
                        [this, host](const Result<std::vector<std::byte>>& answer) {
                          if (answer) {
                            add(HostCame{host, {}});
                          } else if (dismiss(host)) {
                            add(HostGone{host, Status(answer.error())});
                          }
                        });
  }

  const HostIdentity identity_;
  const Serve serve_;
  const UniqueFd bell_;
  ITransport* transport_ = nullptr;
  std::set<std::string> refusals_;  // That were told. Of the transport's thread.
  Mutex mutex_;
  std::vector<HostEvent> events_ PINION_GUARDED_BY(mutex_);
  std::set<std::uint32_t> expected_ PINION_GUARDED_BY(mutex_);  // Those that we say hello to.
  std::set<std::uint32_t> admitted_ PINION_GUARDED_BY(mutex_);
};

Result<std::unique_ptr<HostLink>> HostLink::create(HostIdentity identity,
                                                   const MakeTransport& make_transport, Serve serve,
                                                   std::uint64_t waiting_bytes_max) {
  UniqueFd bell(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!bell.valid()) {
    return Status::from_errno(errno, "cannot make an eventfd");
  }
  const auto inbox =
      std::make_shared<Inbox>(std::move(identity), std::move(serve), std::move(bell));
  std::unique_ptr<HostLink> link(new HostLink(inbox, waiting_bytes_max));
  Result<std::unique_ptr<ITransport>> transport =
      make_transport(job_key_of(inbox->identity()), inbox->handlers(inbox));
  if (!transport) {
    return std::move(transport).error();
  }
  link->transport_ = *std::move(transport);
  inbox->set_transport(link->transport_.get());
  for (std::uint32_t host = 0; host < inbox->identity().host_count; ++host) {
    if (host != inbox->identity().host) {
      link->hosts_[host];
    }
  }
  return link;
}

HostLink::~HostLink() = default;

Status HostLink::join(std::uint32_t host, const std::string& address) {
  inbox_->expect(host);
  return transport_->connect(host, address);
}

void HostLink::give_up(std::uint32_t host, const Status& reason) {
  const auto found = hosts_.find(host);
  if (found == hosts_.end() || found->second.state == State::kGone) {
    return;
  }
  inbox_->dismiss(host);
  inbox_->add(HostGone{host, reason});
  // Whoever misses a message does not know what holds.
  found->second.state = State::kGone;
  found->second.waiting.clear();
  found->second.waiting_bytes = 0;
}

void HostLink::send(std::uint32_t host, const HostMessage& message) {
  const auto other = hosts_.find(host);
  if (other == hosts_.end() || other->second.state == State::kGone) {
    return;
  }
  OtherHost& it = other->second;
  it.waiting.push_back(encode(message));
  it.waiting_bytes += cost_of(it.waiting.back());
  flush();
  if (it.waiting_bytes > waiting_bytes_max_) {
    give_up(host,
            Status(ErrorCode::kResourceExhausted,
                   "it does not take what it is sent: " + format_bytes(it.waiting_bytes) + " in " +
                       std::to_string(it.waiting.size()) + " messages wait for it, and at most " +
                       format_bytes(waiting_bytes_max_) + " may"));
  }
}

void HostLink::send_to_all(const HostMessage& message) {
  for (const auto& [host, other] : hosts_) {
    if (other.state == State::kThere) {
      send(host, message);
    }
  }
}

bool HostLink::flush() {
  bool some_wait = false;
  for (auto& [host, other] : hosts_) {
    while (other.state == State::kThere && !other.waiting.empty()) {
      const Status sent = transport_->send(host, other.waiting.front());
      if (sent.code() == ErrorCode::kResourceExhausted) {
        some_wait = true;
        break;
      }
      if (!sent.ok() && sent.code() != ErrorCode::kUnavailable) {
        give_up(host, sent);
        break;
      }
      other.waiting_bytes -= cost_of(other.waiting.front());
      other.waiting.pop_front();  // Of one that is gone we hear.
    }
  }
  return some_wait;
}

void HostLink::pull(std::uint32_t host, const BlobPart& part, BlobWriter into,
                    std::uint64_t number) {
  Pull pull{host, part, std::move(into), number};
  const auto other = hosts_.find(host);
  if (other != hosts_.end() && other->second.state == State::kThere) {
    begin(std::move(pull));
  } else if (other != hosts_.end() && other->second.state == State::kExpected) {
    other->second.pulls.push_back(std::move(pull));
  } else {
    inbox_->add(
        BlobPulled{part, number,
                   Status(ErrorCode::kUnavailable,
                          "host " + std::to_string(host) + ", on which the blob lies, is gone")});
  }
}

void HostLink::begin(Pull pull) {
  transport_->pull_from(
      pull.host, pull.part, std::move(pull.into),
      [inbox = inbox_, part = pull.part, number = pull.number](Result<Blob> blob) {
        inbox->add(BlobPulled{part, number, blob ? Status() : std::move(blob).error()});
      });
}

int HostLink::descriptor() const noexcept {
  return inbox_->descriptor();
}

std::vector<HostEvent> HostLink::take_events() {
  std::vector<HostEvent> events = inbox_->take();
  for (const HostEvent& event : events) {
    note(event);
  }
  return events;
}

void HostLink::note(const HostEvent& event) {
  if (const auto* came = std::get_if<HostCame>(&event)) {
    OtherHost& other = hosts_[came->host];
    other.state = State::kThere;
    for (Pull& pull : std::exchange(other.pulls, {})) {
      begin(std::move(pull));
    }
    flush();
  } else if (const auto* gone = std::get_if<HostGone>(&event)) {
    OtherHost& other = hosts_[gone->host];
    other.state = State::kGone;
    other.waiting.clear();
    other.waiting_bytes = 0;
    for (const Pull& pull : std::exchange(other.pulls, {})) {
      inbox_->add(BlobPulled{pull.part, pull.number, gone->reason});
    }
  }
}

}  // namespace pinion
