#include <pinion/shm/shared_blob_store.hpp>

#include <atomic>
#include <string>
#include <utility>

#include "blob_registry.hpp"
#include "reference_row.hpp"
#include "segment.hpp"
#include "slab_reader.hpp"
#include "slab_writer.hpp"
#include "spill_file.hpp"

namespace pinion {
namespace {

// The numbers that this process may give to segments and slabs. None is used twice, also when what
// it was meant for fails later.
class SegmentNumbers {
 public:
  SegmentNumbers(std::uint32_t first, std::uint32_t count) noexcept
      : first_(first), count_(count) {}

  Result<std::uint32_t> next() {
    // Only the uniqueness of the number matters.
    const std::uint64_t number = used_count_.fetch_add(1, std::memory_order_relaxed);
    if (number >= count_) {
      return Status(ErrorCode::kResourceExhausted,
                    "all " + std::to_string(count_) + " segment numbers of this process are used");
    }
    return first_ + static_cast<std::uint32_t>(number);
  }

 private:
  const std::uint32_t first_;
  const std::uint32_t count_;
  std::atomic<std::uint64_t> used_count_ = 0;
};

struct Shared {
  Shared(const SharedBlobStoreOptions& store_options, SegmentExchange segment_exchange)
      : options(store_options),
        exchange(std::move(segment_exchange)),
        registry(std::make_shared<BlobRegistry>(store_options.memory, store_options.spill)),
        numbers(std::make_shared<SegmentNumbers>(store_options.first_segment,
                                                 store_options.segment_count)) {
    if (!exchange.slabs.make || options.row_descriptor < 0) {
      return;
    }
    // Without room to map the row, every blob has a segment of its own.
    if (Result<std::shared_ptr<ReferenceRow>> row =
            ReferenceRow::map_to_write(options.row_descriptor)) {
      slab_writer =
          std::make_shared<SlabWriter>(options.identity, exchange.slabs, options.bind_memory, *row,
                                       [counting = numbers] { return counting->next(); });
      slab_reader = std::make_unique<SlabReader>(options.identity, exchange.slabs, *row);
    }
  }

  const SharedBlobStoreOptions options;
  const SegmentExchange exchange;
  const std::shared_ptr<BlobRegistry> registry;
  const std::shared_ptr<SegmentNumbers> numbers;
  // Both or neither. Blobs own the writer, but not this.
  std::shared_ptr<SlabWriter> slab_writer;
  std::unique_ptr<SlabReader> slab_reader;
};

Result<BlobShare> take_share(const Shared& shared, std::uint64_t length_bytes) {
  const std::uint64_t held_bytes = shared.exchange.held_bytes ? shared.exchange.held_bytes() : 0;
  const std::uint64_t held_bytes_max = shared.options.held_bytes_max;
  if (held_bytes <= held_bytes_max && length_bytes <= held_bytes_max - held_bytes) {
    return shared.registry->take(length_bytes);
  }
  return shared.registry->spill(
      length_bytes,
      Status(ErrorCode::kResourceExhausted, std::to_string(length_bytes) +
                                                " bytes for blobs do not fit: the ranks "
                                                "of this host have " +
                                                std::to_string(held_bytes) + " of " +
                                                std::to_string(held_bytes_max) +
                                                " bytes in sealed segments; raise memory-bytes"));
}

Result<MemoryMapping> map_sealed(int descriptor, const BlobHandle& handle) {
  if (handle.length_bytes == 0) {
    return MemoryMapping();
  }
  return MemoryMapping::create_read_only(
      descriptor, static_cast<std::size_t>(segment_size_bytes(handle.length_bytes)));
}

// A blob on its way from create() to seal(). Dropped in between, it leaves nothing: the file has no
// name and nobody else has its descriptor.
class Writing {
 public:
  static Result<std::shared_ptr<Writing>> create(const std::shared_ptr<Shared>& shared,
                                                 std::uint64_t length_bytes, Place home,
                                                 BlobShare memory) {
    auto writing = std::make_shared<Writing>();
    writing->shared_ = shared;
    writing->home_ = home;
    writing->length_bytes_ = length_bytes;
    writing->memory_ = std::move(memory);
    PINION_RETURN_IF_ERROR(writing->allocate());
    return writing;
  }

  [[nodiscard]] std::span<std::byte> payload() const noexcept {
    return mapping_.bytes().last(static_cast<std::size_t>(length_bytes_));
  }

  Result<Blob> seal() {
    Result<std::uint32_t> segment = shared_->numbers->next();
    if (!segment) {
      return std::move(segment).error();
    }
    const BlobStoreIdentity& identity = shared_->options.identity;
    const BlobHandle handle = {.job = identity.job,
                               .generation = kOnlyGeneration,
                               .length_bytes = length_bytes_,
                               .epoch = identity.epoch,
                               .host = identity.host,
                               .segment = *segment,
                               .index = kOnlyIndex};
    // The kernel refuses the write seal while a writable mapping exists.
    mapping_ = MemoryMapping();
    PINION_RETURN_IF_ERROR(make_immutable(handle));
    Result<MemoryMapping> sealed = map_sealed(descriptor_.get(), handle);
    if (!sealed) {
      return std::move(sealed).error();
    }
    // Publishing comes last: nothing that can fail follows, so the agent never has a blob that this
    // process believes not to exist.
    PINION_RETURN_IF_ERROR(shared_->exchange.publish(handle, home_, descriptor_.get()));
    return SealedBlob::share(shared_->registry->remember(std::make_shared<const SealedBlob>(
        handle, home_, *std::move(sealed), std::move(memory_), shared_->registry)));
  }

 private:
  Status allocate() {
    const std::uint64_t size_bytes = segment_size_bytes(length_bytes_);
    const bool spilled = memory_.spilled();
    Result<UniqueFd> descriptor =
        spilled ? create_spill_file(shared_->registry->spill_directory(), size_bytes)
                : create_segment(size_bytes);
    if (!descriptor) {
      return std::move(descriptor).error();
    }
    descriptor_ = *std::move(descriptor);
    if (length_bytes_ > 0) {
      Result<MemoryMapping> mapping =
          MemoryMapping::create_shared(descriptor_.get(), static_cast<std::size_t>(size_bytes));
      if (!mapping) {
        return std::move(mapping).error();
      }
      mapping_ = *std::move(mapping);
      // Reserving takes the pages, so the binding has to be known before.
      if (shared_->options.bind_memory && !spilled) {
        PINION_RETURN_IF_ERROR(shared_->options.bind_memory(mapping_.bytes(), home_));
      }
    }
    return spilled ? Status() : reserve_segment(descriptor_.get(), size_bytes);
  }

  Status make_immutable(const BlobHandle& handle) {
    if (!memory_.spilled()) {
      return seal_segment(descriptor_.get(), handle, home_);
    }
    Result<UniqueFd> finished = finish_spill_file(std::move(descriptor_), handle, home_);
    if (!finished) {
      return std::move(finished).error();
    }
    descriptor_ = *std::move(finished);
    return {};
  }

  std::shared_ptr<Shared> shared_;
  Place home_;
  std::uint64_t length_bytes_ = 0;
  BlobShare memory_;
  UniqueFd descriptor_;
  MemoryMapping mapping_;
};

// The same for a blob in a slab.
class SlabWriting {
 public:
  SlabWriting(std::shared_ptr<SlabWriter> writer, const SlabWriter::Block& block,
              BlobShare memory) noexcept
      : writer_(std::move(writer)), block_(block), memory_(std::move(memory)) {}
  ~SlabWriting() {
    if (!sealed_) {
      writer_->abandon(block_);
    }
  }
  SlabWriting(const SlabWriting&) = delete;
  SlabWriting& operator=(const SlabWriting&) = delete;

  Blob seal() {
    sealed_ = true;
    return writer_->seal(block_, std::move(memory_));
  }

 private:
  std::shared_ptr<SlabWriter> writer_;
  SlabWriter::Block block_;
  BlobShare memory_;
  bool sealed_ = false;
};

class SharedBlobStore final : public IBlobStore {
 public:
  explicit SharedBlobStore(std::shared_ptr<Shared> shared) noexcept : shared_(std::move(shared)) {}

  Result<BlobWriter> create(std::uint64_t size_bytes, Place place) override {
    PINION_RETURN_IF_ERROR(check_home(shared_->options.identity, place));
    PINION_RETURN_IF_ERROR(check_size(size_bytes));
    Result<BlobShare> memory = take_share(*shared_, size_bytes);
    if (!memory) {
      return std::move(memory).error();
    }
    if (shared_->slab_writer && size_bytes <= kSlabBlobBytesMax && !memory->spilled()) {
      if (const auto block = shared_->slab_writer->allocate(size_bytes, place)) {
        auto small =
            std::make_shared<SlabWriting>(shared_->slab_writer, *block, *std::move(memory));
        return BlobWriter(block->bytes,
                          [small = std::move(small)]() -> Result<Blob> { return small->seal(); });
      }
    }
    Result<std::shared_ptr<Writing>> writing =
        Writing::create(shared_, size_bytes, place, *std::move(memory));
    if (!writing) {
      return std::move(writing).error();
    }
    const std::span<std::byte> payload = (*writing)->payload();
    return BlobWriter(payload, [writing = *std::move(writing)] { return writing->seal(); });
  }

  Result<Blob> open(const BlobHandle& handle) override {
    if (handle.epoch < shared_->options.identity.epoch) {
      return open_restored(handle);
    }
    if (handle.index != kOnlyIndex && shared_->slab_reader) {
      return open_in_slab(handle);
    }
    PINION_RETURN_IF_ERROR(check_handle(shared_->options.identity, handle));
    if (std::shared_ptr<const SealedBlob> living = shared_->registry->find(handle.segment)) {
      PINION_RETURN_IF_ERROR(check_length(handle, living->handle()));
      return SealedBlob::share(std::move(living));
    }
    Result<std::pair<UniqueFd, Place>> fetched = shared_->exchange.fetch(handle);
    if (!fetched) {
      return std::move(fetched).error();
    }
    const auto& [descriptor, home] = *fetched;
    PINION_RETURN_IF_ERROR(check_segment(descriptor.get(), handle, home));
    Result<MemoryMapping> mapping = map_sealed(descriptor.get(), handle);
    if (!mapping) {
      return std::move(mapping).error();
    }
    const auto opened = std::make_shared<const SealedBlob>(handle, home, *std::move(mapping),
                                                           BlobShare(), shared_->registry);
    return SealedBlob::share(shared_->registry->remember(opened));
  }

  BlobStoreUsage usage() const override { return shared_->registry->usage(); }

 private:
  // Of an earlier epoch (SegmentTable::restore()): whatever it was then, it has a segment now, and
  // one that may have the number of another.
  [[nodiscard]] Result<Blob> open_restored(const BlobHandle& handle) {
    Result<std::pair<UniqueFd, Place>> fetched = shared_->exchange.fetch(handle);
    if (!fetched) {
      return std::move(fetched).error();
    }
    const auto& [descriptor, home] = *fetched;
    PINION_RETURN_IF_ERROR(check_segment(descriptor.get(), handle, home));
    Result<MemoryMapping> mapping = map_sealed(descriptor.get(), handle);
    if (!mapping) {
      return std::move(mapping).error();
    }
    return SealedBlob::share(std::make_shared<const SealedBlob>(handle, home, *std::move(mapping),
                                                                BlobShare(), shared_->registry));
  }

  [[nodiscard]] Result<Blob> open_in_slab(const BlobHandle& handle) {
    PINION_RETURN_IF_ERROR(check_slab_handle(shared_->options.identity, handle));
    Result<std::shared_ptr<const SlabBlob>> blob = shared_->slab_writer->open(handle);
    if (blob && !*blob) {
      blob = shared_->slab_reader->open(handle);
    }
    if (!blob) {
      return std::move(blob).error();
    }
    return SlabBlob::share(*std::move(blob));
  }

  const std::shared_ptr<Shared> shared_;
};

}  // namespace

std::unique_ptr<IBlobStore> make_shared_blob_store(const SharedBlobStoreOptions& options,
                                                   SegmentExchange exchange) {
  PINION_ASSERT(exchange.publish != nullptr && exchange.fetch != nullptr);
  return std::make_unique<SharedBlobStore>(std::make_shared<Shared>(options, std::move(exchange)));
}

}  // namespace pinion
