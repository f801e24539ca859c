#include "slab_table.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "fail_point.hpp"
#include "segment.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kSlabBytesMin = kSlabControlBytes + kSlabPageBytes;
constexpr std::uint64_t kSlabBytesMax = std::uint64_t{64} << 20;

Status no_room(const std::string& what) {
  return Status(ErrorCode::kResourceExhausted, what);
}

Status pin(SlabDescriptor& it, const BlobHandle& handle) {
  if (BlobLife<>::pin(it.pinned, it.life, handle.generation)) {
    return {};
  }
  const Status refused = check_life(it.life.load(std::memory_order_relaxed), handle);
  return refused.ok() ? no_such_blob(handle) : refused;
}

// Of one that is pinned.
Status check_sealed_length(const SlabDescriptor& it, const BlobHandle& handle) {
  BlobHandle sealed = handle;
  sealed.length_bytes = it.length_bytes.load(std::memory_order_relaxed);
  return check_length(handle, sealed);
}

}  // namespace

SlabHeader& SlabTable::Slab::header() const noexcept {
  return *reinterpret_cast<SlabHeader*>(control.bytes().data());
}

SlabDescriptor& SlabTable::Slab::descriptor(std::uint32_t index) const noexcept {
  PINION_ASSERT(index > 0 && index < kSlabDescriptorCount);
  return reinterpret_cast<SlabDescriptor*>(control.bytes().data() + kSlabPageBytes)[index];
}

Result<int> SlabTable::admit(std::uint32_t client, RowHeader numbers) {
  PINION_ASSERT(clients_.count(client) == 0);
  std::vector<bool> taken(kClientSlotCount);
  for (const auto& [number, it] : clients_) {
    taken[it.slot] = true;
  }
  const auto slot =
      static_cast<std::uint32_t>(std::find(taken.begin(), taken.end(), false) - taken.begin());
  if (slot == kClientSlotCount) {
    return no_room("the host has " + std::to_string(kClientSlotCount) +
                   " processes with references already");
  }
  numbers.magic = kRowMagic;
  numbers.job = identity_.job;
  numbers.layout_version = kSlabLayoutVersion;
  numbers.client = client;
  numbers.client_slot = slot;
  Result<UniqueFd> file = ReferenceRow::create_file(numbers);
  if (!file) {
    return std::move(file).error();
  }
  Result<std::shared_ptr<ReferenceRow>> row = ReferenceRow::map_to_write(file->get());
  if (!row) {
    return std::move(row).error();
  }
  const int descriptor = file->get();
  clients_.emplace(client, Client{.row_file = *std::move(file),
                                  .row = *std::move(row),
                                  .slot = slot,
                                  .reserved = std::vector<bool>(kSlabSlotCount)});
  return descriptor;
}

Result<SlabTable::Client*> SlabTable::known(std::uint32_t client) {
  const auto found = clients_.find(client);
  if (found == clients_.end()) {
    return Status(ErrorCode::kFailedPrecondition,
                  "client " + std::to_string(client) + " has no references here, or is gone");
  }
  return &found->second;
}

bool SlabTable::has_marks(std::uint32_t slab_slot) const {
  return std::any_of(clients_.begin(), clients_.end(), [&](const auto& entry) {
    const Client& client = entry.second;
    const ReferenceRow::Counter* const counters = client.row->counters(slab_slot);
    return client.reserved[slab_slot] &&
           std::any_of(counters, counters + kSlabDescriptorCount, [](const auto& counter) {
             return counter.load(std::memory_order_acquire) != 0;
           });
  });
}

// A slot whose slab is gone may still have marks of who reads on in it.
Result<std::uint32_t> SlabTable::free_slab_slot() const {
  std::vector<bool> taken(kSlabSlotCount);
  for (const auto& [segment, slab] : slabs_) {
    taken[slab.slot] = true;
  }
  for (std::uint32_t slot = 0; slot < kSlabSlotCount; ++slot) {
    if (!taken[slot] && !has_marks(slot)) {
      return slot;
    }
  }
  return no_room("all " + std::to_string(kSlabSlotCount) + " slabs of this host are in use");
}

Status SlabTable::reserve_counters(Client& client, std::uint32_t slab_slot) {
  if (client.reserved[slab_slot]) {
    return {};
  }
  if (::fallocate(client.row_file.get(), 0, static_cast<off_t>(row_offset(slab_slot)),
                  static_cast<off_t>(kRowSlabBytes)) != 0) {
    return Status::from_errno(errno, "reserving memory for references");
  }
  client.reserved[slab_slot] = true;
  return {};
}

Result<SlabView> SlabTable::make(std::uint32_t client, std::uint32_t segment, Place home,
                                 std::uint64_t size_bytes) {
  const Result<Client*> owner = known(client);
  if (!owner) {
    return owner.error();
  }
  if (size_bytes < kSlabBytesMin || size_bytes > kSlabBytesMax ||
      size_bytes % kSlabPageBytes != 0) {
    return Status(ErrorCode::kInvalidArgument,
                  "a slab of " + std::to_string(size_bytes) + " bytes was asked for; it has " +
                      std::to_string(kSlabBytesMin) + " to " + std::to_string(kSlabBytesMax) +
                      " in whole pages");
  }
  if (size_bytes > bytes_per_client_max_ ||
      (*owner)->slab_bytes > bytes_per_client_max_ - size_bytes) {
    return no_room("the slabs of client " + std::to_string(client) + " have " +
                   std::to_string((*owner)->slab_bytes) + " of " +
                   std::to_string(bytes_per_client_max_) + " bytes");
  }
  PINION_RETURN_IF_ERROR(system_room_.take(size_bytes));
  const Result<std::uint32_t> slot = free_slab_slot();
  if (!slot) {
    return slot.error();
  }
  PINION_RETURN_IF_ERROR(reserve_counters(**owner, *slot));
  Result<UniqueFd> file = create_fixed_file(size_bytes, "pinion-slab");
  if (!file) {
    return std::move(file).error();
  }
  // The payload is the writer's to bind to its place and then to reserve.
  PINION_RETURN_IF_ERROR(reserve_segment(file->get(), kSlabControlBytes));
  Result<MemoryMapping> control = MemoryMapping::create_shared(file->get(), kSlabControlBytes);
  if (!control) {
    return std::move(control).error();
  }
  Slab slab = {.file = *std::move(file),
               .control = *std::move(control),
               .home = home,
               .size_bytes = size_bytes,
               .client = client,
               .slot = *slot};
  fail_point();
  SlabHeader& header = *new (slab.control.bytes().data()) SlabHeader();
  header.magic = kSlabMagic;
  header.job = identity_.job;
  header.size_bytes = size_bytes;
  header.layout_version = kSlabLayoutVersion;
  header.epoch = identity_.epoch;
  header.host = identity_.host;
  header.segment = segment;
  header.slot = *slot;
  header.client = client;
  header.home = packed(home);
  fail_point();
  (*owner)->slab_bytes += size_bytes;
  usage_.memory_bytes += size_bytes;
  const SlabView view = {.descriptor = slab.file.get(), .home = home, .slot = *slot};
  slabs_.insert_or_assign(segment, std::move(slab));
  return view;
}

Result<SlabView> SlabTable::find(std::uint32_t client, const BlobHandle& handle) {
  const Result<Slabs::iterator> found = find_handle(handle);
  if (!found) {
    return found.error();
  }
  const Result<Client*> reader = known(client);
  if (!reader) {
    return reader.error();
  }
  Slab& slab = (*found)->second;
  PINION_RETURN_IF_ERROR(seal_against_new_writers(slab.file.get()));
  PINION_RETURN_IF_ERROR(reserve_counters(**reader, slab.slot));
  SlabHeader& header = slab.header();
  const std::uint32_t slot = (*reader)->slot;
  // Before the client has the slab, and so before any reference: see SlabHeader.
  fail_point();
  header.subscribers[slot].store(client + 1, std::memory_order_seq_cst);
  fail_point();
  if (header.subscriber_slot_count.load(std::memory_order_relaxed) <= slot) {
    header.subscriber_slot_count.store(slot + 1, std::memory_order_seq_cst);
    fail_point();
  }
  return SlabView{.descriptor = slab.file.get(), .home = slab.home, .slot = slab.slot};
}

Result<int> SlabTable::find_row(std::uint32_t client) {
  const auto found = clients_.find(client);
  if (found == clients_.end()) {
    return Status(ErrorCode::kNotFound, "client " + std::to_string(client) + " is gone");
  }
  PINION_RETURN_IF_ERROR(seal_against_new_writers(found->second.row_file.get()));
  return found->second.row_file.get();
}

void SlabTable::give_back(std::uint32_t client, std::uint32_t segment) {
  const auto slab = slabs_.find(segment);
  if (slab != slabs_.end() && slab->second.client == client && slab->second.kept.empty()) {
    drop(slab);
  }
}

Result<SlabTable::Slabs::iterator> SlabTable::find_handle(const BlobHandle& handle) {
  PINION_RETURN_IF_ERROR(check_slab_handle(identity_, handle));
  const auto slab = slabs_.find(handle.segment);
  return slab == slabs_.end() ? Result<Slabs::iterator>(no_such_blob(handle)) : slab;
}

Status SlabTable::keep(const BlobHandle& handle) {
  const Result<Slabs::iterator> found = find_handle(handle);
  if (!found) {
    return found.error();
  }
  Slab& slab = (*found)->second;
  SlabDescriptor& it = slab.descriptor(handle.index);
  PINION_RETURN_IF_ERROR(pin(it, handle));
  const bool is_new = slab.kept.count(handle.index) == 0;
  if (Status same = check_sealed_length(it, handle); !same.ok()) {
    if (is_new) {
      BlobLife<>::unpin(it.pinned);
    }
    return same;
  }
  usage_.blob_count += is_new ? 1 : 0;
  slab.kept.insert_or_assign(handle.index, handle);
  return {};
}

Result<const SlabTable::Slab*> SlabTable::slab_of(const BlobHandle& handle) const {
  PINION_RETURN_IF_ERROR(check_slab_handle(identity_, handle));
  const auto found = slabs_.find(handle.segment);
  return found == slabs_.end() ? Result<const Slab*>(no_such_blob(handle)) : &found->second;
}

// The client wrote where it lies. It may say what it likes, as long as that is in its slab.
Result<std::uint64_t> SlabTable::Slab::offset_of(const BlobHandle& handle) const {
  const std::uint64_t offset = descriptor(handle.index).offset.load(std::memory_order_relaxed);
  if (!can_lie_at(offset, handle.length_bytes, size_bytes)) {
    return Status(ErrorCode::kDataLoss, "a blob of " + std::to_string(handle.length_bytes) +
                                            " bytes cannot lie at byte " + std::to_string(offset) +
                                            " of a slab of " + std::to_string(size_bytes));
  }
  return offset;
}

Result<BlobFilePart> SlabTable::file_part_of(const BlobHandle& handle) const {
  const Result<const Slab*> slab = slab_of(handle);
  if (!slab) {
    return slab.error();
  }
  const auto kept = (*slab)->kept.find(handle.index);
  if (kept == (*slab)->kept.end() || kept->second != handle) {
    return no_such_blob(handle);
  }
  const Result<std::uint64_t> offset = (*slab)->offset_of(handle);
  if (!offset) {
    return offset.error();
  }
  UniqueFd descriptor(::fcntl((*slab)->file.get(), F_DUPFD_CLOEXEC, 0));
  if (!descriptor.valid()) {
    return Status::from_errno(errno, "duplicating the descriptor of a slab");
  }
  return BlobFilePart{
      .descriptor = std::move(descriptor), .offset = *offset, .home = (*slab)->home};
}

Result<Blob> SlabTable::Slab::copy(const BlobHandle& handle) const {
  const Result<std::uint64_t> offset = offset_of(handle);
  return offset ? copy_payload(file.get(), *offset, handle, home) : offset.error();
}

Result<Blob> SlabTable::view(const BlobHandle& handle) const {
  const Result<const Slab*> slab = slab_of(handle);
  if (!slab) {
    return slab.error();
  }
  if (const auto kept = (*slab)->kept.find(handle.index); kept != (*slab)->kept.end()) {
    PINION_RETURN_IF_ERROR(
        check_life(life_of(kept->second.generation, BlobPhase::kSealed), handle));
    PINION_RETURN_IF_ERROR(check_length(handle, kept->second));
    return (*slab)->copy(handle);
  }
  // Nobody but this thread pins, so that the pin is ours until we end it. What a death leaves:
  // ours, after the pin is stored and before it is ended, the pin, for which the writer lets that
  // memory be; the job is over then. At any other instruction, nothing. That of the writer, the
  // bytes: who would write there is dead, and this thread hears of it later. That of whoever pulls,
  // nothing: what is lent to him is the copy.
  SlabDescriptor& it = (*slab)->descriptor(handle.index);
  PINION_RETURN_IF_ERROR(pin(it, handle));
  Status same = check_sealed_length(it, handle);
  Result<Blob> copied = same.ok() ? (*slab)->copy(handle) : std::move(same);
  BlobLife<>::unpin(it.pinned);
  return copied;
}

void SlabTable::release(const BlobHandle& handle) {
  const Result<Slabs::iterator> found = find_handle(handle);
  if (!found) {
    return;
  }
  Slab& slab = (*found)->second;
  const auto kept = slab.kept.find(handle.index);
  if (kept != slab.kept.end()) {
    if (kept->second != handle) {
      return;
    }
    slab.kept.erase(kept);
    --usage_.blob_count;
  } else if (slab.descriptor(handle.index).length_bytes.load(std::memory_order_relaxed) !=
             handle.length_bytes) {
    return;
  }
  unpin(slab, handle);
  if (slab.owner_gone && slab.kept.empty()) {
    drop(*found);
  }
}

void SlabTable::unpin(Slab& slab, const BlobHandle& handle) {
  SlabDescriptor& it = slab.descriptor(handle.index);
  // Closed first: a blob that the job has let go of is not found again.
  BlobLife<>::close(it.life, handle.generation);
  std::uint64_t expected = handle.generation;
  fail_point();
  it.pinned.compare_exchange_strong(expected, 0, std::memory_order_release,
                                    std::memory_order_relaxed);
  fail_point();
}

void SlabTable::client_gone(std::uint32_t client) {
  for (auto slab = slabs_.begin(); slab != slabs_.end();) {
    const auto next = std::next(slab);
    if (slab->second.client == client) {
      take_over(slab->second);
      if (slab->second.kept.empty()) {
        drop(slab);
      }
    }
    slab = next;
  }
  const auto found = clients_.find(client);
  if (found == clients_.end()) {
    return;
  }
  const Client& gone = found->second;
  for (std::uint32_t slot = 0; slot < kSlabSlotCount; ++slot) {
    if (gone.reserved[slot]) {
      ReferenceRow::Counter* const counters = gone.row->counters(slot);
      std::for_each(counters, counters + kSlabDescriptorCount, [](auto& counter) {
        fail_point();
        counter.store(0, std::memory_order_release);
      });
      fail_point();
    }
  }
  for (auto& [segment, slab] : slabs_) {
    std::uint32_t subscriber = client + 1;
    fail_point();
    slab.header().subscribers[gone.slot].compare_exchange_strong(
        subscriber, 0, std::memory_order_release, std::memory_order_relaxed);
    fail_point();
  }
  clients_.erase(found);
}

// From here on this process is the writer: what the job keeps stays as it is, the rest is closed,
// and no memory is used again.
void SlabTable::take_over(Slab& slab) {
  slab.owner_gone = true;
  for (std::uint32_t index = 1; index < kSlabDescriptorCount; ++index) {
    BlobLife<>::Word& life = slab.descriptor(index).life;
    if (slab.kept.count(index) == 0) {
      BlobLife<>::close(life, generation_of(life.load(std::memory_order_relaxed)));
    }
  }
}

void SlabTable::drop(Slabs::iterator slab) {
  if (const auto owner = clients_.find(slab->second.client); owner != clients_.end()) {
    owner->second.slab_bytes -= slab->second.size_bytes;
  }
  usage_.memory_bytes -= slab->second.size_bytes;
  usage_.blob_count -= slab->second.kept.size();
  fail_point();
  // Release pairs with the acquire of readers, which then unmap it.
  slab->second.header().closed.store(1, std::memory_order_release);
  fail_point();
  slabs_.erase(slab);
}

std::vector<SegmentState> SlabTable::snapshot() const {
  std::vector<SegmentState> states;
  for (const auto& [segment, slab] : slabs_) {
    SegmentState state = {.segment = segment,
                          .client = slab.client,
                          .home = slab.home,
                          .size_bytes = slab.size_bytes,
                          .kept_count = slab.kept.size(),
                          .is_slab = true,
                          .owner_gone = slab.owner_gone};
    for (std::uint32_t index = 1; index < kSlabDescriptorCount; ++index) {
      const SlabDescriptor& it = slab.descriptor(index);
      const BlobPhase phase = phase_of(it.life.load(std::memory_order_acquire));
      if (phase == BlobPhase::kSealed) {
        ++state.blob_count;
        state.blob_bytes += it.length_bytes.load(std::memory_order_relaxed);
      }
      state.retired_count += phase == BlobPhase::kRetired ? 1 : 0;
      for (const auto& [number, client] : clients_) {
        if (client.reserved[slab.slot]) {
          state.reference_count +=
              client.row->counters(slab.slot)[index].load(std::memory_order_relaxed);
        }
      }
    }
    states.push_back(state);
  }
  return states;
}

}  // namespace pinion
