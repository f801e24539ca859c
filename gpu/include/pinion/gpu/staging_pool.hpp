#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include <pinion/core/device.hpp>
#include <pinion/core/page_pool.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>

namespace pinion {

class StagingPool;

/// Host memory on the way to a device or from it. Movable, not copyable; its end gives it back.
///
/// Thread safety: distinct objects are independent.
/// Lifetime: must not outlive its pool, nor end before the copies in it are complete.
class StagingSlab {
 public:
  StagingSlab() noexcept = default;
  StagingSlab(StagingSlab&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), bytes_(std::exchange(other.bytes_, {})) {}
  StagingSlab& operator=(StagingSlab&& other) noexcept;
  ~StagingSlab();

  /// As many as were asked for, from the beginning of a page.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

 private:
  friend class StagingPool;
  StagingSlab(StagingPool& pool, std::span<std::byte> bytes) noexcept
      : pool_(&pool), bytes_(bytes) {}

  StagingPool* pool_ = nullptr;
  std::span<std::byte> bytes_;
};

/// How much of a pool is in use. A snapshot.
struct StagingUsage {
  std::uint64_t size_bytes = 0;
  std::uint64_t used_bytes = 0;  ///< In whole pages.
};

/// Host memory at one place for the copies of one device: taken once from a PagePool, where it is
/// charged as staging, and registered once with the device. A system that refuses to register it
/// makes copies slower and nothing else; registration() says why.
///
/// Thread safety: all members may be called from any thread.
/// Lifetime: outlives its slabs. Borrows the device and the pages.
class StagingPool {
 public:
  /// Errors: kInvalidArgument for 0 bytes; those of PagePool::take(); those of a device that does
  ///   nothing any more.
  [[nodiscard]] static Result<std::unique_ptr<StagingPool>> create(IDevice& device, PagePool& pages,
                                                                   Place place,
                                                                   std::uint64_t size_bytes);
  StagingPool(const StagingPool&) = delete;
  StagingPool& operator=(const StagingPool&) = delete;

  /// Errors: kInvalidArgument for 0 bytes; kResourceExhausted when no such piece is free;
  ///   kOutOfRange when the pool is smaller than that.
  [[nodiscard]] Result<StagingSlab> take(std::uint64_t size_bytes) PINION_EXCLUDES(mutex_);

  /// Memory at the same place that is not registered, for what finds no room in the pool.
  /// Errors: those of PagePool::take().
  [[nodiscard]] Result<Pages> take_pageable(std::uint64_t size_bytes);

  [[nodiscard]] IDevice& device() const noexcept { return device_; }

  /// Success, or why the device does not read and write the pool by itself.
  [[nodiscard]] const Status& registration() const noexcept { return registration_status_; }
  [[nodiscard]] StagingUsage usage() const PINION_EXCLUDES(mutex_);

 private:
  friend class StagingSlab;
  StagingPool(IDevice& device, PagePool& pages, Place place, Pages memory);
  void give_back(std::span<std::byte> bytes) PINION_EXCLUDES(mutex_);

  IDevice& device_;
  PagePool& page_pool_;
  const Place place_;
  const Pages memory_;
  HostRegistration registration_;
  Status registration_status_;

  mutable Mutex mutex_;
  // Sizes by offset; neighbours are joined.
  std::map<std::size_t, std::size_t> free_ PINION_GUARDED_BY(mutex_);
  std::size_t used_bytes_ PINION_GUARDED_BY(mutex_) = 0;
};

}  // namespace pinion
