#include <pinion/gpu/staging_pool.hpp>

#include <algorithm>
#include <iterator>
#include <string>

#include <pinion/core/bytes.hpp>

namespace pinion {
namespace {

// Two copies never meet in a page, which is what devices and systems count memory by.
constexpr std::size_t kGranularity = 4096;

std::size_t whole_pages(std::size_t size_bytes) {
  return (size_bytes + kGranularity - 1) / kGranularity * kGranularity;
}

}  // namespace

StagingSlab& StagingSlab::operator=(StagingSlab&& other) noexcept {
  if (this != &other) {
    if (pool_ != nullptr) {
      pool_->give_back(bytes_);
    }
    pool_ = std::exchange(other.pool_, nullptr);
    bytes_ = std::exchange(other.bytes_, {});
  }
  return *this;
}

StagingSlab::~StagingSlab() {
  if (pool_ != nullptr) {
    pool_->give_back(bytes_);
  }
}

Result<std::unique_ptr<StagingPool>> StagingPool::create(IDevice& device, PagePool& pages,
                                                         Place place, std::uint64_t size_bytes) {
  if (size_bytes == 0) {
    return Status(ErrorCode::kInvalidArgument, "a staging pool of 0 bytes; it needs at least 1");
  }
  Result<Pages> memory = pages.take(MemoryUse::kStaging, size_bytes, place);
  if (!memory) {
    return std::move(memory).error().with_context("staging for " + device.info().name);
  }
  std::unique_ptr<StagingPool> pool(new StagingPool(device, pages, place, *std::move(memory)));
  if (ends_device(device_fault(pool->registration_status_.code()))) {
    return pool->registration_status_;
  }
  return pool;
}

StagingPool::StagingPool(IDevice& device, PagePool& pages, Place place, Pages memory)
    : device_(device), page_pool_(pages), place_(place), memory_(std::move(memory)) {
  free_.emplace(0, memory_.bytes().size());
  Result<HostRegistration> registration = device.register_host(memory_.bytes());
  if (registration) {
    registration_ = *std::move(registration);
  } else {
    registration_status_ = std::move(registration).error();
  }
}

Result<StagingSlab> StagingPool::take(std::uint64_t size_bytes) {
  if (size_bytes == 0) {
    return Status(ErrorCode::kInvalidArgument, "a staging slab of 0 bytes; it needs at least 1");
  }
  const std::size_t pool_bytes = memory_.bytes().size();
  if (size_bytes > pool_bytes) {
    return Status(ErrorCode::kOutOfRange, "a staging slab of " + format_bytes(size_bytes) +
                                              " was asked for; the pool has " +
                                              format_bytes(pool_bytes));
  }
  const auto wanted = static_cast<std::size_t>(size_bytes);
  const std::size_t taken = whole_pages(wanted);
  const MutexLock lock(mutex_);
  const auto found = std::find_if(free_.begin(), free_.end(),
                                  [taken](const auto& piece) { return piece.second >= taken; });
  if (found == free_.end()) {
    return Status(ErrorCode::kResourceExhausted, "no " + format_bytes(size_bytes) +
                                                     " of staging are free in one piece; " +
                                                     format_bytes(used_bytes_) + " of " +
                                                     format_bytes(pool_bytes) + " are in use");
  }
  const auto [offset, free_bytes] = *found;
  free_.erase(found);
  if (free_bytes > taken) {
    free_.emplace(offset + taken, free_bytes - taken);
  }
  used_bytes_ += taken;
  return StagingSlab(*this, memory_.bytes().subspan(offset, wanted));
}

void StagingPool::give_back(std::span<std::byte> bytes) {
  auto offset = static_cast<std::size_t>(bytes.data() - memory_.bytes().data());
  std::size_t size_bytes = whole_pages(bytes.size());
  const MutexLock lock(mutex_);
  used_bytes_ -= size_bytes;
  auto after = free_.lower_bound(offset);
  if (after != free_.end() && after->first == offset + size_bytes) {
    size_bytes += after->second;
    after = free_.erase(after);
  }
  if (after != free_.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second == offset) {
      before->second += size_bytes;
      return;
    }
  }
  free_.emplace_hint(after, offset, size_bytes);
}

Result<Pages> StagingPool::take_pageable(std::uint64_t size_bytes) {
  return page_pool_.take(MemoryUse::kStaging, size_bytes, place_);
}

StagingUsage StagingPool::usage() const {
  const MutexLock lock(mutex_);
  return {.size_bytes = memory_.bytes().size(), .used_bytes = used_bytes_};
}

}  // namespace pinion
