#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/clock.hpp>
#include <pinion/core/executor.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/core/trace.hpp>
#include <pinion/shard/protocol/coordinator.hpp>
#include <pinion/shard/protocol/wire.hpp>
#include <pinion/shm/local_blob_store.hpp>

namespace pinion::test {

/// A control link whose other end is a function.
class FakeLink final : public IControlLink {
 public:
  using OnSend = std::function<Status(std::span<const std::byte>)>;

  explicit FakeLink(OnSend on_send) : on_send_(std::move(on_send)) {}

  [[nodiscard]] Status send(std::span<const std::byte> message) override {
    return on_send_(message);
  }

  [[nodiscard]] Result<std::vector<std::byte>> receive(Instant deadline) override {
    MutexLock lock(mutex_);
    while (inbox_.empty() && !woken_ && broken_.ok() && SystemClock().now() < deadline) {
      changed_.wait_until(mutex_, deadline);
    }
    if (!broken_.ok()) {
      return broken_;
    }
    if (inbox_.empty()) {
      woken_ = false;
      return std::vector<std::byte>();
    }
    std::vector<std::byte> message = std::move(inbox_.front());
    inbox_.erase(inbox_.begin());
    return message;
  }

  void wake() noexcept override {
    MutexLock lock(mutex_);
    woken_ = true;
    changed_.notify_all();
  }

  /// Whether it was woken since it was last asked, or has last received nothing.
  [[nodiscard]] bool take_wake() {
    MutexLock lock(mutex_);
    return std::exchange(woken_, false);
  }

  void deliver(std::vector<std::byte> message) {
    MutexLock lock(mutex_);
    inbox_.push_back(std::move(message));
    changed_.notify_all();
  }

  /// Every receive() answers with `error` from here on.
  void break_with(Status error) {
    MutexLock lock(mutex_);
    broken_ = std::move(error);
    changed_.notify_all();
  }

 private:
  OnSend on_send_;
  Mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<std::vector<std::byte>> inbox_ PINION_GUARDED_BY(mutex_);
  bool woken_ PINION_GUARDED_BY(mutex_) = false;
  Status broken_ PINION_GUARDED_BY(mutex_);
};

struct FakeJobOptions {
  std::uint32_t rank_count = 1;
  std::size_t worker_count = 1;  ///< Of each rank, at each place.
  std::size_t place_count = 1;   ///< NUMA nodes 0, 1 and so on; workers are not bound to them.
  bool places_apart = false;     ///< Rank 1 begins at the node behind those of rank 0, and so on.
  std::size_t batch_shard_count = 64;
  std::uint64_t batch_bytes = 256u << 20;
  std::uint64_t store_bytes = std::uint64_t{1} << 30;
  std::uint64_t memory_bytes = std::uint64_t{4} << 30;  ///< Of each rank, beside the store.
  bool trace = false;
  // See CoordinatorOptions. No rank is left out, and nothing done twice, because it took long.
  Duration plan_patience = std::chrono::hours(1);
  Duration late_least = std::chrono::hours(1);
};

/// One rank as the engine sees it.
class FakeRank final : public IJobContext {
 public:
  FakeRank(const FakeJobOptions& options, std::uint32_t rank, IBlobStore& store,
           FakeLink::OnSend on_send)
      : store_(store),
        link_(std::move(on_send)),
        executor_(std::move(Executor::create({.groups = groups_of(options, rank)}).value())),
        trace_({.enabled = options.trace}, executor_->worker_count()),
        memory_({.budget_bytes = options.memory_bytes}),
        pages_(memory_, {.spare_bytes_max = options.memory_bytes / 4}),
        metrics_(executor_->worker_count()) {
    info_.job = 1;
    info_.seed = 42;
    info_.epoch = 1;
    info_.rank = rank;
    info_.rank_count = options.rank_count;
    info_.batch_shard_count = options.batch_shard_count;
    info_.batch_bytes = options.batch_bytes;
  }

  [[nodiscard]] const JobInfo& info() const noexcept override { return info_; }
  [[nodiscard]] Executor& executor() noexcept override { return *executor_; }
  [[nodiscard]] IBlobStore& store() noexcept override { return store_; }
  [[nodiscard]] FakeLink& control() noexcept override { return link_; }
  [[nodiscard]] Trace& trace() noexcept override { return trace_; }
  [[nodiscard]] MemoryLedger& memory() noexcept override { return memory_; }
  [[nodiscard]] PagePool& pages() noexcept override { return pages_; }
  [[nodiscard]] Metrics& metrics() noexcept override { return metrics_; }
  [[nodiscard]] IShardDevices* devices() override { return devices_; }

  /// For the steps from here on. Borrowed.
  void use_devices(IShardDevices& devices) { devices_ = &devices; }
  void use_no_devices() { devices_ = nullptr; }
  [[nodiscard]] std::uint64_t begin_step() noexcept override { return ++step_; }

 private:
  static std::vector<WorkerGroup> groups_of(const FakeJobOptions& options, std::uint32_t rank) {
    const std::size_t first = options.places_apart ? rank * options.place_count : 0;
    std::vector<WorkerGroup> groups;
    for (std::size_t place = 0; place < options.place_count; ++place) {
      groups.push_back({.place = {.index = static_cast<std::uint16_t>(first + place)},
                        .worker_count = options.worker_count});
    }
    return groups;
  }

  JobInfo info_;
  IBlobStore& store_;
  FakeLink link_;
  std::unique_ptr<Executor> executor_;
  Trace trace_;
  MemoryLedger memory_;
  PagePool pages_;
  Metrics metrics_;
  IShardDevices* devices_ = nullptr;
  std::uint64_t step_ = 0;
};

/// A job of several ranks in one process: a real coordinator, real messages through their wire
/// form, real workers, one blob store.
class FakeJob {
 public:
  using Program = std::function<void(FakeRank&)>;

  explicit FakeJob(const FakeJobOptions& options)
      : store_(make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, options.store_bytes)),
        coordinator_({.job = 1,
                      .epoch = 1,
                      .rank_count = options.rank_count,
                      .plan_patience = options.plan_patience,
                      .late_least = options.late_least}) {
    for (std::uint32_t rank = 0; rank < options.rank_count; ++rank) {
      ranks_.push_back(std::make_unique<FakeRank>(
          options, rank, *store_,
          [this](std::span<const std::byte> message) { return take(message); }));
    }
    timer_ = std::thread([this] { run_timer(); });
  }

  ~FakeJob() {
    {
      MutexLock lock(mutex_);
      ended_ = true;
      changed_.notify_all();
    }
    timer_.join();
  }

  FakeJob(const FakeJob&) = delete;
  FakeJob& operator=(const FakeJob&) = delete;

  /// Runs `program` on every rank, each on a thread of its own, until all have returned.
  void run(const Program& program) {
    for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      step(protocol::RankJoined{.rank = rank});
    }
    std::vector<std::thread> threads;
    for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      threads.emplace_back([this, rank, &program] {
        program(*ranks_[rank]);
        step(protocol::RankLeft{.rank = rank});
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  }

  [[nodiscard]] LocalBlobStore& store() { return *store_; }

  /// Blobs that the coordinator asked to keep and has not released.
  [[nodiscard]] std::size_t kept_count() {
    MutexLock lock(mutex_);
    return kept_.size();
  }

 private:
  [[nodiscard]] Status take(std::span<const std::byte> bytes) {
    Result<protocol::Decoded> decoded = protocol::decode(bytes);
    if (!decoded) {
      return std::move(decoded).error();
    }
    step(protocol::MessageReceived{decoded->envelope, std::move(decoded->message)});
    return {};
  }

  void step(const protocol::Event& event) {
    MutexLock lock(mutex_);
    step_locked(event);
    changed_.notify_all();
  }

  void step_locked(const protocol::Event& event) PINION_REQUIRES(mutex_) {
    protocol::Effects effects;
    coordinator_.step(event, SystemClock().now(), effects);
    for (const protocol::Effect& effect : effects) {
      if (const auto* send = std::get_if<protocol::Send>(&effect)) {
        FakeRank& rank = *ranks_.at(send->rank);
        rank.control().deliver(protocol::encode(
            {.job = 1, .epoch = 1, .rank = send->rank, .incarnation = 1}, send->message));
      } else if (const auto* keep = std::get_if<protocol::Keep>(&effect)) {
        const Status kept = store_->keep(keep->blob);
        EXPECT_TRUE(kept.ok()) << kept.to_string();
        kept_.emplace(key_of(keep->blob), keep->blob);
      } else if (const auto* release = std::get_if<protocol::Release>(&effect)) {
        store_->release(release->blob);
        kept_.erase(key_of(release->blob));
      }
    }
  }

  void run_timer() {
    MutexLock lock(mutex_);
    while (!ended_) {
      const Instant deadline = coordinator_.next_deadline();
      if (SystemClock().now() >= deadline) {
        step_locked(protocol::Tick{});
      } else {
        changed_.wait_until(mutex_, deadline);
      }
    }
  }

  static std::pair<std::uint64_t, std::uint64_t> key_of(const BlobHandle& blob) {
    return {(std::uint64_t{blob.segment} << 32) | blob.index, blob.generation};
  }

  std::unique_ptr<LocalBlobStore> store_;
  Mutex mutex_;
  std::condition_variable_any changed_;
  protocol::Coordinator coordinator_ PINION_GUARDED_BY(mutex_);
  std::map<std::pair<std::uint64_t, std::uint64_t>, BlobHandle> kept_ PINION_GUARDED_BY(mutex_);
  bool ended_ PINION_GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<FakeRank>> ranks_;
  std::thread timer_;
};

}  // namespace pinion::test
