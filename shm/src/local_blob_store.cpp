#include <pinion/shm/local_blob_store.hpp>

#include <atomic>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>

#include <pinion/core/thread_annotations.hpp>

#include "blob_registry.hpp"
#include "segment.hpp"
#include "spill_file.hpp"

namespace pinion {

struct LocalBlobStore::State {
  State(BlobStoreIdentity store_identity, MemoryLedger memory, BindMemory bind, SpillOptions spill)
      : identity(store_identity),
        bind_memory(std::move(bind)),
        registry(std::make_shared<BlobRegistry>(std::move(memory), std::move(spill))) {}

  const BlobStoreIdentity identity;
  const BindMemory bind_memory;
  // Blobs own the registry but not this state, or a kept blob would keep itself.
  const std::shared_ptr<BlobRegistry> registry;
  std::atomic<std::uint64_t> segment_count = 0;

  Mutex mutex;
  std::unordered_map<std::uint32_t, std::shared_ptr<const SealedBlob>> kept
      PINION_GUARDED_BY(mutex);

  Result<std::shared_ptr<const SealedBlob>> find(const BlobHandle& handle) const {
    PINION_RETURN_IF_ERROR(check_handle(identity, handle));
    std::shared_ptr<const SealedBlob> blob = registry->find(handle);
    if (!blob) {
      return no_such_blob(handle);
    }
    PINION_RETURN_IF_ERROR(check_length(handle, blob->handle()));
    return blob;
  }
};

namespace {

// A blob on its way from create() to seal().
struct Writing {
  BlobShare memory;
  UniqueFd file;  // Of a blob that is spilled.
  MemoryMapping mapping;

  Status allocate(const BindMemory& bind_memory, std::size_t length_bytes, Place home) {
    Result<MemoryMapping> mapped = MemoryMapping::create_private(length_bytes);
    if (!mapped) {
      return std::move(mapped).error();
    }
    mapping = *std::move(mapped);
    if (bind_memory && length_bytes > 0) {
      PINION_RETURN_IF_ERROR(bind_memory(mapping.bytes(), home));
    }
    return mapping.populate();
  }

  Status allocate_file(const std::string& directory, std::size_t length_bytes) {
    const std::uint64_t size_bytes = segment_size_bytes(length_bytes);
    Result<UniqueFd> created = create_spill_file(directory, size_bytes);
    if (!created) {
      return std::move(created).error();
    }
    file = *std::move(created);
    Result<MemoryMapping> mapped =
        MemoryMapping::create_shared(file.get(), static_cast<std::size_t>(size_bytes));
    if (!mapped) {
      return std::move(mapped).error();
    }
    mapping = *std::move(mapped);
    return {};
  }

  Status make_immutable(const BlobHandle& handle, Place home) {
    if (!file.valid()) {
      return mapping.make_read_only();
    }
    const std::size_t size_bytes = mapping.bytes().size();
    mapping = MemoryMapping();
    Result<UniqueFd> finished = finish_spill_file(std::move(file), handle, home);
    if (!finished) {
      return std::move(finished).error();
    }
    Result<MemoryMapping> mapped = MemoryMapping::create_read_only(finished->get(), size_bytes);
    if (!mapped) {
      return std::move(mapped).error();
    }
    mapping = *std::move(mapped);
    return {};
  }
};

}  // namespace

LocalBlobStore::LocalBlobStore(BlobStoreIdentity identity, MemoryLedger memory,
                               BindMemory bind_memory, SpillOptions spill)
    : state_(std::make_shared<State>(identity, std::move(memory), std::move(bind_memory),
                                     std::move(spill))) {}

LocalBlobStore::~LocalBlobStore() = default;

Result<BlobWriter> LocalBlobStore::create(std::uint64_t size_bytes, Place place) {
  PINION_RETURN_IF_ERROR(check_home(state_->identity, place));
  PINION_RETURN_IF_ERROR(check_size(size_bytes));
  Result<BlobShare> memory = state_->registry->take(size_bytes);
  if (!memory) {
    return std::move(memory).error();
  }
  auto writing = std::make_shared<Writing>();
  writing->memory = *std::move(memory);
  const auto length_bytes = static_cast<std::size_t>(size_bytes);
  PINION_RETURN_IF_ERROR(
      writing->memory.spilled()
          ? writing->allocate_file(state_->registry->spill_directory(), length_bytes)
          : writing->allocate(state_->bind_memory, length_bytes, place));

  const std::span<std::byte> bytes = writing->mapping.bytes().last(length_bytes);
  return BlobWriter(bytes, [state = state_, writing, place, size_bytes]() -> Result<Blob> {
    // Only the uniqueness of the number matters.
    const std::uint64_t number = state->segment_count.fetch_add(1, std::memory_order_relaxed);
    if (number > std::numeric_limits<std::uint32_t>::max()) {
      return Status(ErrorCode::kResourceExhausted, "all 2^32 segment numbers are used");
    }
    const BlobHandle handle = {.job = state->identity.job,
                               .generation = kOnlyGeneration,
                               .length_bytes = size_bytes,
                               .epoch = state->identity.epoch,
                               .host = state->identity.host,
                               .segment = static_cast<std::uint32_t>(number),
                               .index = kOnlyIndex};
    PINION_RETURN_IF_ERROR(writing->make_immutable(handle, place));
    return SealedBlob::share(state->registry->remember(std::make_shared<const SealedBlob>(
        handle, place, std::move(writing->mapping), std::move(writing->memory), state->registry)));
  });
}

Result<Blob> LocalBlobStore::open(const BlobHandle& handle) {
  Result<std::shared_ptr<const SealedBlob>> blob = state_->find(handle);
  if (!blob) {
    return std::move(blob).error();
  }
  return SealedBlob::share(*std::move(blob));
}

void LocalBlobStore::discard(const BlobHandle& handle, std::uint64_t offset,
                             std::uint64_t length_bytes) {
  if (const Result<std::shared_ptr<const SealedBlob>> blob = state_->find(handle)) {
    state_->registry->discard(**blob, offset, length_bytes);
  }
}

BlobStoreUsage LocalBlobStore::usage() const {
  return state_->registry->usage();
}

Status LocalBlobStore::keep(const BlobHandle& handle) {
  Result<std::shared_ptr<const SealedBlob>> blob = state_->find(handle);
  if (!blob) {
    return std::move(blob).error();
  }
  MutexLock lock(state_->mutex);
  state_->kept.try_emplace(handle.segment, *std::move(blob));
  return {};
}

void LocalBlobStore::release(const BlobHandle& handle) {
  // Outlives the lock: unmapping may take long.
  std::shared_ptr<const SealedBlob> dropped;
  MutexLock lock(state_->mutex);
  const auto found = state_->kept.find(handle.segment);
  if (found != state_->kept.end() && found->second->handle() == handle) {
    dropped = std::move(found->second);
    state_->kept.erase(found);
  }
}

std::unique_ptr<LocalBlobStore> make_local_blob_store(BlobStoreIdentity identity,
                                                      std::uint64_t budget_bytes) {
  return std::make_unique<LocalBlobStore>(identity, MemoryLedger({.budget_bytes = budget_bytes}));
}

}  // namespace pinion
