#pragma once

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/core/transport.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace pinion::testing_transport {

using Bytes = std::vector<std::byte>;

/// What a transport under test is made with.
struct Limits {
  Duration keepalive = std::chrono::seconds(60);  // Nobody is given up while a test is slow.
  Duration connect_timeout = std::chrono::seconds(60);
  Duration pull_timeout = std::chrono::seconds(60);
  std::uint64_t window_bytes = std::uint64_t{1} << 20;
  JobKey job_key = {};
};

/// Bytes that depend on `seed` and on their position.
inline Bytes pattern(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>((i * 31 + (i >> 8) + seed) & 0xff);
  }
  return bytes;
}

inline Bytes bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A value that another thread gives, once; a second one is a failure.
template <class T>
class Once {
 public:
  void set(T value) {
    const MutexLock lock(mutex_);
    EXPECT_FALSE(value_.has_value()) << "it was answered twice";
    value_.emplace(std::move(value));
    changed_.notify_all();
  }

  T& wait() {
    const MutexLock lock(mutex_);
    while (!value_) {
      changed_.wait(mutex_);
    }
    return *value_;
  }

 private:
  Mutex mutex_;
  std::condition_variable_any changed_;
  std::optional<T> value_;
};

using Reply = Once<Result<Bytes>>;
using Pulled = Once<Result<Blob>>;

/// Sealed blobs in memory, by their index. As a store does it checks all of a handle; what it says
/// of the length is left to the transport.
class Blobs {
 public:
  BlobHandle add(std::uint32_t host, Bytes bytes) {
    const MutexLock lock(mutex_);
    const auto owned = std::make_shared<const Bytes>(std::move(bytes));
    const BlobHandle handle = {.job = 1,
                               .generation = 1,
                               .length_bytes = owned->size(),
                               .host = host,
                               .index = static_cast<std::uint32_t>(blobs_.size())};
    blobs_.push_back(Blob(handle, {}, *owned, owned));
    return handle;
  }

  Result<Blob> open(const BlobHandle& handle) {
    const MutexLock lock(mutex_);
    if (handle.index >= blobs_.size()) {
      return Status(ErrorCode::kNotFound, "there is no blob " + std::to_string(handle.index));
    }
    const Blob& blob = blobs_[handle.index];
    BlobHandle known = blob.handle();
    known.length_bytes = handle.length_bytes;
    if (handle != known) {
      return Status(ErrorCode::kFailedPrecondition,
                    "the handle of blob " + std::to_string(handle.index) + " is of generation " +
                        std::to_string(handle.generation) + ", the blob of " +
                        std::to_string(known.generation));
    }
    return blob;
  }

  void forget_all() {
    const MutexLock lock(mutex_);
    blobs_.clear();
  }

  /// A writer for a copy of such a blob.
  BlobWriter writer(const BlobHandle& handle) {
    auto bytes = std::make_shared<Bytes>(handle.length_bytes);
    const std::span<std::byte> span = *bytes;
    return BlobWriter(span, [this, handle, bytes]() -> Result<Blob> {
      ++sealed_;
      return Blob(handle, {}, *bytes, bytes);
    });
  }

  [[nodiscard]] unsigned sealed() const { return sealed_; }

 private:
  Mutex mutex_;
  std::vector<Blob> blobs_;
  std::atomic<unsigned> sealed_ = 0;
};

/// A transport of one host and all that it said.
class Side {
 public:
  explicit Side(std::uint32_t number) : host(number) {}
  ~Side() { release(); }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  TransportHandlers handlers() {
    return {.on_message =
                [this](std::uint32_t from, std::span<const std::byte> message) {
                  pass();
                  if (on_message) {
                    on_message(from, message);
                  }
                  const MutexLock lock(mutex_);
                  messages_[from].emplace_back(message.begin(), message.end());
                  changed_.notify_all();
                },
            .on_request = [this](std::uint32_t from,
                                 std::span<const std::byte> request) -> Result<Bytes> {
              pass();
              return on_request ? on_request(from, request)
                                : Result<Bytes>(Bytes(request.begin(), request.end()));
            },
            .on_pull = [this](std::uint32_t /*from*/, const BlobHandle& handle) -> Result<Blob> {
              pass();
              return blobs.open(handle);
            },
            .on_peer =
                [this](std::uint32_t peer, const Status& reason) {
                  const MutexLock lock(mutex_);
                  peers_[peer].push_back(reason);
                  changed_.notify_all();
                },
            .on_refusal =
                [this](const Status& reason) {
                  const MutexLock lock(mutex_);
                  refusals_.push_back(reason);
                  changed_.notify_all();
                }};
  }

  /// From now on handlers of messages, requests and pulls do not return, and so nothing moves.
  void hold() {
    const MutexLock lock(mutex_);
    held_ = true;
  }
  void release() {
    const MutexLock lock(mutex_);
    held_ = false;
    changed_.notify_all();
  }
  /// Returns once a handler is held.
  void wait_until_held() {
    const MutexLock lock(mutex_);
    while (!holding_) {
      changed_.wait(mutex_);
    }
  }

  std::vector<Bytes> wait_for_messages(std::uint32_t from, std::size_t count) {
    const MutexLock lock(mutex_);
    while (messages_[from].size() < count) {
      changed_.wait(mutex_);
    }
    return messages_[from];
  }

  /// The `count`th thing that was said about `peer`, from 1.
  Status wait_for_peer(std::uint32_t peer, std::size_t count) {
    const MutexLock lock(mutex_);
    while (peers_[peer].size() < count) {
      changed_.wait(mutex_);
    }
    return peers_[peer][count - 1];
  }

  std::size_t peer_events(std::uint32_t peer) {
    const MutexLock lock(mutex_);
    return peers_[peer].size();
  }

  std::vector<Status> wait_for_refusals(std::size_t count) {
    const MutexLock lock(mutex_);
    while (refusals_.size() < count) {
      changed_.wait(mutex_);
    }
    return refusals_;
  }

  /// Sends until the peer takes it.
  void send(std::uint32_t to, std::span<const std::byte> message) {
    for (;;) {
      const Status status = transport->send(to, message);
      if (status.code() != ErrorCode::kResourceExhausted) {
        ASSERT_TRUE(status.ok()) << status.to_string();
        return;
      }
      std::this_thread::yield();
    }
  }

  std::shared_ptr<Reply> request(std::uint32_t to, std::span<const std::byte> bytes,
                                 Duration timeout = std::chrono::hours(1)) {
    auto reply = std::make_shared<Reply>();
    transport->request(to, bytes, timeout,
                       [reply](Result<Bytes> result) { reply->set(std::move(result)); });
    return reply;
  }

  std::shared_ptr<Pulled> pull(const BlobHandle& handle) {
    auto pulled = std::make_shared<Pulled>();
    transport->pull(handle, blobs.writer(handle),
                    [pulled](Result<Blob> result) { pulled->set(std::move(result)); });
    return pulled;
  }

  /// From the host that has made the blob.
  std::shared_ptr<Pulled> pull_part(const BlobPart& part) {
    auto pulled = std::make_shared<Pulled>();
    BlobHandle name = part.blob;
    name.length_bytes = part.length_bytes;
    transport->pull_from(part.blob.host, part, blobs.writer(name),
                         [pulled](Result<Blob> result) { pulled->set(std::move(result)); });
    return pulled;
  }

  const std::uint32_t host;
  Blobs blobs;
  std::function<void(std::uint32_t, std::span<const std::byte>)> on_message;
  std::function<Result<Bytes>(std::uint32_t, std::span<const std::byte>)> on_request;

 private:
  void pass() {
    const MutexLock lock(mutex_);
    holding_ = held_;
    changed_.notify_all();
    while (held_) {
      changed_.wait(mutex_);
    }
    holding_ = false;
  }

  Mutex mutex_;
  std::condition_variable_any changed_;
  bool held_ = false;
  bool holding_ = false;
  std::map<std::uint32_t, std::vector<Bytes>> messages_;
  std::map<std::uint32_t, std::vector<Status>> peers_;
  std::vector<Status> refusals_;

 public:
  std::unique_ptr<ITransport> transport;  // Ends first.
};

}  // namespace pinion::testing_transport
