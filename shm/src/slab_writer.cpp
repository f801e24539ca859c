#include "slab_writer.hpp"

#include <algorithm>
#include <cstring>

#include "fail_point.hpp"
#include "segment.hpp"

namespace pinion {
namespace {

// A process that seals one small blob should not hold much for it.
constexpr std::uint64_t kFirstSlabBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kSlabBytes = std::uint64_t{4} << 20;

// After the agent has refused a slab, so many blobs get a segment of their own before it is asked
// again: each question costs a round trip.
constexpr std::uint32_t kSkipsAfterRefusal = 64;

constexpr std::uint64_t rounded_up(std::uint64_t length_bytes) noexcept {
  return std::max(kBlobAlignment, (length_bytes + kBlobAlignment - 1) & ~(kBlobAlignment - 1));
}

}  // namespace

SlabWriter::SlabWriter(BlobStoreIdentity identity, SlabExchange exchange, BindMemory bind_memory,
                       std::shared_ptr<ReferenceRow> row,
                       std::function<Result<std::uint32_t>()> next_segment)
    : identity_(identity),
      exchange_(std::move(exchange)),
      bind_memory_(std::move(bind_memory)),
      row_(std::move(row)),
      next_segment_(std::move(next_segment)) {}

SlabDescriptor& SlabWriter::Slab::descriptor(std::uint32_t index) const noexcept {
  return reinterpret_cast<SlabDescriptor*>(writable.bytes().data() + kSlabPageBytes)[index];
}

std::optional<SlabWriter::Block> SlabWriter::allocate(std::uint64_t length_bytes, Place home) {
  std::uint64_t dirty_bytes = 0;
  std::optional<Block> block;
  {
    MutexLock lock(mutex_);
    block = take_block(length_bytes, home);
    if (!block) {
      reclaim(home);
      block = take_block(length_bytes, home);
    }
    if (!block && grow(home)) {
      block = take_block(length_bytes, home);
    }
    if (block) {
      Slab& slab = slabs_.at(block->handle.segment);
      const Range& range = slab.ranges[block->handle.index];
      dirty_bytes = std::min(length_bytes, slab.used_end - std::min(slab.used_end, range.offset));
      slab.used_end = std::max(slab.used_end, range.offset + range.size_bytes);
    }
  }
  if (dirty_bytes > 0) {
    fail_point();
    std::memset(block->bytes.data(), 0, static_cast<std::size_t>(dirty_bytes));
    fail_point();
  }
  return block;
}

std::optional<SlabWriter::Block> SlabWriter::take_block(std::uint64_t length_bytes, Place home) {
  for (auto segment = order_.rbegin(); segment != order_.rend(); ++segment) {
    Slab& slab = slabs_.at(*segment);
    if (slab.home != home || slab.free_indices.empty()) {
      continue;
    }
    if (const std::optional<std::uint64_t> offset = slab.free.take(rounded_up(length_bytes))) {
      return begin_block(slab, *segment, length_bytes, *offset);
    }
  }
  return {};
}

SlabWriter::Block SlabWriter::begin_block(Slab& slab, std::uint32_t segment,
                                          std::uint64_t length_bytes, std::uint64_t offset) {
  const std::uint32_t index = slab.free_indices.back();
  slab.free_indices.pop_back();
  slab.ranges[index] = {.offset = offset, .size_bytes = rounded_up(length_bytes)};
  SlabDescriptor& it = slab.descriptor(index);
  const std::uint64_t generation = generation_of(it.life.load(std::memory_order_relaxed)) + 1;
  fail_point();
  it.life.store(life_of(generation, BlobPhase::kWriting), std::memory_order_release);
  fail_point();
  return {.handle = {.job = identity_.job,
                     .generation = generation,
                     .length_bytes = length_bytes,
                     .epoch = identity_.epoch,
                     .host = identity_.host,
                     .segment = segment,
                     .index = index},
          .home = slab.home,
          .bytes = slab.writable.bytes().subspan(static_cast<std::size_t>(offset),
                                                 static_cast<std::size_t>(length_bytes))};
}

Blob SlabWriter::seal(const Block& block, BlobShare share) {
  const BlobHandle& handle = block.handle;
  MutexLock lock(mutex_);
  Slab& slab = slabs_.at(handle.segment);
  const std::uint64_t offset = slab.ranges[handle.index].offset;
  const std::shared_ptr<const MappedSlab>& mapped = slab.mapped;
  auto blob = std::make_shared<const SlabBlob>(
      handle, block.home,
      mapped->bytes().subspan(static_cast<std::size_t>(offset),
                              static_cast<std::size_t>(handle.length_bytes)),
      mapped, shared_from_this(), std::move(share));
  slab.living[handle.index] = blob;
  fail_point();
  mapped->counter(handle.index).fetch_add(1, std::memory_order_relaxed);
  fail_point();
  SlabDescriptor& it = slab.descriptor(handle.index);
  it.offset.store(offset, std::memory_order_relaxed);
  fail_point();
  it.length_bytes.store(handle.length_bytes, std::memory_order_relaxed);
  fail_point();
  it.home.store(packed(block.home), std::memory_order_relaxed);
  fail_point();
  // Release pairs with the look at the life in take(): whoever finds it sealed sees the payload.
  it.life.store(life_of(handle.generation, BlobPhase::kSealed), std::memory_order_release);
  fail_point();
  return SlabBlob::share(std::move(blob));
}

void SlabWriter::abandon(const Block& block) {
  MutexLock lock(mutex_);
  Slab& slab = slabs_.at(block.handle.segment);
  fail_point();
  slab.descriptor(block.handle.index)
      .life.store(life_of(block.handle.generation, BlobPhase::kFree), std::memory_order_release);
  fail_point();
  free_block(slab, block.handle.index);
}

Result<std::shared_ptr<const SlabBlob>> SlabWriter::open(const BlobHandle& handle) {
  std::shared_ptr<const MappedSlab> mapped;
  // Outlives the lock: it may turn out to be the last, whose end takes the lock again.
  std::shared_ptr<const SlabBlob> living;
  {
    MutexLock lock(mutex_);
    const auto slab = slabs_.find(handle.segment);
    if (slab == slabs_.end()) {
      return std::shared_ptr<const SlabBlob>();
    }
    mapped = slab->second.mapped;
    living = slab->second.living[handle.index].lock();
    if (living && living->handle().generation == handle.generation) {
      PINION_RETURN_IF_ERROR(check_length(handle, living->handle()));
      return living;
    }
  }
  return SlabBlob::open(std::move(mapped), handle, shared_from_this());
}

void SlabWriter::unreferenced(const BlobHandle& handle) noexcept {
  MutexLock lock(mutex_);
  const auto slab = slabs_.find(handle.segment);
  if (slab == slabs_.end()) {
    return;
  }
  const std::uint64_t life =
      slab->second.descriptor(handle.index).life.load(std::memory_order_relaxed);
  if (generation_of(life) == handle.generation) {
    try_to_free(slab->second, handle.index, Asking::kNo);
  }
}

void SlabWriter::reclaim(Place home) {
  for (const std::uint32_t segment : order_) {
    Slab& slab = slabs_.at(segment);
    for (std::uint32_t index = 1; slab.home == home && index < kSlabDescriptorCount; ++index) {
      try_to_free(slab, index, Asking::kYes);
    }
  }
  give_back_empty_slabs(home);
}

// One stays, so that a process that makes and drops blobs does not ask for it again and again.
void SlabWriter::give_back_empty_slabs(Place home) {
  bool one_stays = false;
  std::erase_if(order_, [&](std::uint32_t segment) PINION_LOCKED_BY_CALLER {
    const Slab& slab = slabs_.at(segment);
    if (slab.home != home || !slab.free.all_free()) {
      return false;
    }
    if (!std::exchange(one_stays, true)) {
      return false;
    }
    slabs_.erase(segment);
    exchange_.give_back(segment);
    return true;
  });
}

bool SlabWriter::grow(Place home) {
  if (refusals_to_skip_ > 0) {
    --refusals_to_skip_;
    return false;
  }
  const bool has_one =
      std::any_of(order_.begin(), order_.end(), [&](std::uint32_t segment) PINION_LOCKED_BY_CALLER {
        return slabs_.at(segment).home == home;
      });
  const Result<std::uint32_t> segment = add_slab(home, has_one ? kSlabBytes : kFirstSlabBytes);
  if (!segment) {
    refusals_to_skip_ = kSkipsAfterRefusal;
    return false;
  }
  order_.push_back(*segment);
  return true;
}

Result<std::uint32_t> SlabWriter::add_slab(Place home, std::uint64_t size_bytes) {
  Result<std::uint32_t> segment = next_segment_();
  if (!segment) {
    return segment;
  }
  const Result<SlabGrant> grant = exchange_.make(*segment, home, size_bytes);
  if (!grant) {
    return grant.error();
  }
  if (Status mapped = map_slab(*segment, *grant, home, size_bytes); !mapped.ok()) {
    exchange_.give_back(*segment);
    return mapped;
  }
  return segment;
}

Status SlabWriter::map_slab(std::uint32_t segment, const SlabGrant& grant, Place home,
                            std::uint64_t size_bytes) {
  const int descriptor = grant.descriptor.get();
  Result<MemoryMapping> writable =
      MemoryMapping::create_shared(descriptor, static_cast<std::size_t>(size_bytes));
  if (!writable) {
    return std::move(writable).error();
  }
  // Reserving takes the pages, so the binding has to be known before.
  const std::span<std::byte> payload = writable->bytes().subspan(kSlabControlBytes);
  if (bind_memory_) {
    PINION_RETURN_IF_ERROR(bind_memory_(payload, home));
  }
  PINION_RETURN_IF_ERROR(reserve_segment(descriptor, size_bytes));
  Result<std::shared_ptr<const MappedSlab>> mapped =
      MappedSlab::map_own(grant, identity_, segment, row_);
  if (!mapped) {
    return std::move(mapped).error();
  }
  writable->prefault(0, writable->bytes().size(), true);
  Slab slab = {.mapped = *std::move(mapped),
               .writable = *std::move(writable),
               .home = home,
               .free = FreeRanges(kSlabControlBytes, size_bytes)};
  // The lowest is at the end, and used first.
  for (std::uint32_t index = kSlabDescriptorCount - 1; index > 0; --index) {
    slab.free_indices.push_back(index);
  }
  slab.ranges.resize(kSlabDescriptorCount);
  slab.living.resize(kSlabDescriptorCount);
  slabs_.emplace(segment, std::move(slab));
  return {};
}

bool SlabWriter::try_to_free(Slab& slab, std::uint32_t index, Asking asking) {
  SlabDescriptor& it = slab.descriptor(index);
  const std::uint64_t life = it.life.load(std::memory_order_relaxed);
  const BlobPhase phase = phase_of(life);
  if (phase != BlobPhase::kSealed && phase != BlobPhase::kRetired) {
    return false;
  }
  const std::uint64_t generation = generation_of(life);
  const bool is_free = BlobLife<>::retire(it.life, generation, [&]() PINION_LOCKED_BY_CALLER {
    return is_referenced(slab, index, generation, asking);
  });
  if (is_free) {
    free_block(slab, index);
  }
  return is_free;
}

void SlabWriter::free_block(Slab& slab, std::uint32_t index) {
  const Range& range = slab.ranges[index];
  slab.free.give_back(range.offset, range.size_bytes);
  slab.free_indices.push_back(index);
}

bool SlabWriter::is_referenced(const Slab& slab, std::uint32_t index, std::uint64_t generation,
                               Asking asking) {
  const MappedSlab& mapped = *slab.mapped;
  if (slab.descriptor(index).pinned.load(std::memory_order_seq_cst) == generation ||
      mapped.counter(index).load(std::memory_order_seq_cst) != 0) {
    return true;
  }
  const SlabHeader& header = mapped.header();
  const std::uint32_t slot_count =
      std::min(header.subscriber_slot_count.load(std::memory_order_seq_cst), kClientSlotCount);
  for (std::uint32_t slot = 0; slot < slot_count; ++slot) {
    const std::uint32_t subscriber = header.subscribers[slot].load(std::memory_order_seq_cst);
    if (subscriber == 0) {
      continue;
    }
    const ReferenceRow* const row = row_of(slot, subscriber, asking);
    // Who cannot be asked may have one.
    if (row == nullptr ||
        row->counters(mapped.slot())[index].load(std::memory_order_seq_cst) != 0) {
      return true;
    }
  }
  return false;
}

ReferenceRow* SlabWriter::row_of(std::uint32_t client_slot, std::uint32_t subscriber,
                                 Asking asking) {
  ForeignRow& known = foreign_rows_[client_slot];
  if (known.subscriber == subscriber) {
    return known.row.get();
  }
  if (asking == Asking::kNo) {
    return nullptr;
  }
  const Result<UniqueFd> descriptor = exchange_.fetch_row(subscriber - 1);
  if (!descriptor) {
    return nullptr;
  }
  Result<std::shared_ptr<ReferenceRow>> row = ReferenceRow::map_to_read(descriptor->get());
  if (!row) {
    return nullptr;
  }
  known = {.subscriber = subscriber, .row = *std::move(row)};
  return known.row.get();
}

}  // namespace pinion
