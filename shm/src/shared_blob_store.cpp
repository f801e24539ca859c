#include <pinion/shm/shared_blob_store.hpp>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include <pinion/shm/part_room.hpp>

#include "blob_registry.hpp"
#include "reference_row.hpp"
#include "segment.hpp"
#include "segment_file.hpp"
#include "slab_reader.hpp"
#include "slab_writer.hpp"
#include "system_room.hpp"

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
                                                 store_options.segment_count)),
        system_room(store_options.available_bytes) {
    if (exchange.let_go) {
      // What a forked child drops are copies of our references.
      registry->set_listener(
          [let_go = exchange.let_go, process = ::getpid()](const BlobHandle& handle) {
            if (::getpid() == process) {
              let_go(handle);
            }
          });
    }
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
  SystemRoom system_room;
  // Both or neither. Blobs own the writer, but not this.
  std::shared_ptr<SlabWriter> slab_writer;
  std::unique_ptr<SlabReader> slab_reader;
};

Result<BlobShare> take_share(const Shared& shared, std::uint64_t length_bytes) {
  const SegmentExchange& exchange = shared.exchange;
  const std::uint64_t held_bytes_max = shared.options.held_bytes_max;
  std::uint64_t held_bytes = exchange.held_bytes ? exchange.held_bytes() : 0;
  const auto fits = [&] {
    return held_bytes <= held_bytes_max && length_bytes <= held_bytes_max - held_bytes;
  };
  if (!fits() && exchange.ask_held_bytes) {
    held_bytes = exchange.ask_held_bytes();  // What was said last may be long ago.
  }
  if (fits()) {
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

// A blob with a segment of its own on its way from create() to seal().
class Writing {
 public:
  static Result<std::shared_ptr<Writing>> create(const std::shared_ptr<Shared>& shared,
                                                 std::uint64_t length_bytes, Place home,
                                                 BlobShare memory) {
    const SharedBlobStoreOptions& options = shared->options;
    const bool is_large = length_bytes >= options.blob_memory_bytes_min;
    Result<SegmentFile> file = SegmentFile::create(
        {.length_bytes = length_bytes,
         .home = home,
         .spill_directory = memory.spilled() ? shared->registry->spill_directory() : "",
         .blob_memory = is_large ? options.blob_memory.get() : nullptr,
         .bind_memory = options.bind_memory,
         .for_each_at = options.for_each_at});
    if (!file) {
      return std::move(file).error();
    }
    return std::make_shared<Writing>(shared, length_bytes, home, std::move(memory),
                                     *std::move(file));
  }

  Writing(std::shared_ptr<Shared> shared, std::uint64_t length_bytes, Place home, BlobShare memory,
          SegmentFile file) noexcept
      : shared_(std::move(shared)),
        home_(home),
        length_bytes_(length_bytes),
        memory_(std::move(memory)),
        file_(std::move(file)) {}

  [[nodiscard]] std::span<std::byte> payload() const noexcept { return file_.payload(); }

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
    const Result<UniqueFd> descriptor = file_.finish(handle);
    if (!descriptor) {
      return descriptor.error();
    }
    Result<MemoryMapping> sealed = map_sealed(descriptor->get(), handle);
    if (!sealed) {
      return std::move(sealed).error();
    }
    // Publishing comes last: nothing that can fail follows, so the agent never has a blob that this
    // process believes not to exist.
    PINION_RETURN_IF_ERROR(shared_->exchange.publish(handle, home_, descriptor->get()));
    return SealedBlob::share(shared_->registry->remember(std::make_shared<const SealedBlob>(
        handle, home_, *std::move(sealed), std::move(memory_), shared_->registry)));
  }

 private:
  std::shared_ptr<Shared> shared_;
  Place home_;
  std::uint64_t length_bytes_ = 0;
  BlobShare memory_;
  SegmentFile file_;
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

// Parts of other hosts' blobs that come into memory of this process. The share is given back after
// the pages.
struct PartsUnderWay {
  std::vector<BlobPart> parts;
  std::vector<std::uint64_t> offsets;
  std::uint64_t size_bytes;
  Place home;
  BlobShare memory;
  UniqueFd room;
  std::function<Status()> wait;
  MemoryMapping mapping = {};
};

Result<std::vector<Blob>> blobs_of(const std::shared_ptr<PartsUnderWay>& coming) {
  const Status arrived = std::exchange(coming->wait, nullptr)();
  PINION_RETURN_IF_ERROR(arrived);
  Result<MemoryMapping> mapping = MemoryMapping::create_read_only(
      coming->room.get(), static_cast<std::size_t>(coming->size_bytes));
  if (!mapping) {
    return std::move(mapping).error();
  }
  coming->mapping = *std::move(mapping);
  coming->room.reset();
  std::vector<Blob> blobs;
  blobs.reserve(coming->parts.size());
  for (std::size_t i = 0; i < coming->parts.size(); ++i) {
    const BlobPart& part = coming->parts[i];
    blobs.emplace_back(part.blob, coming->home,
                       coming->mapping.bytes().subspan(static_cast<std::size_t>(coming->offsets[i]),
                                                       static_cast<std::size_t>(part.length_bytes)),
                       coming);
  }
  return blobs;
}

class SharedBlobStore final : public IBlobStore {
 public:
  explicit SharedBlobStore(std::shared_ptr<Shared> shared) noexcept : shared_(std::move(shared)) {}
  ~SharedBlobStore() override { shared_->registry->set_listener({}); }

  Result<BlobWriter> create(std::uint64_t size_bytes, Place place) override {
    PINION_RETURN_IF_ERROR(check_home(shared_->options.identity, place));
    PINION_RETURN_IF_ERROR(check_size(size_bytes));
    Result<BlobWriter> made = try_to_create(size_bytes, place);
    return is_refused(made) && may_wait_for(size_bytes) ? wait_to_create(size_bytes, place)
                                                        : std::move(made);
  }

  Result<Blob> open(const BlobHandle& handle) override {
    if (handle.epoch < shared_->options.identity.epoch) {
      return open_restored(handle);
    }
    if (handle.host != shared_->options.identity.host) {
      return open_copy(handle);
    }
    if (handle.index != kOnlyIndex && shared_->slab_reader) {
      return open_in_slab(handle);
    }
    PINION_RETURN_IF_ERROR(check_handle(shared_->options.identity, handle));
    return find_or_fetch(handle);
  }

  std::function<Result<std::vector<Blob>>()> open_parts(std::vector<BlobPart> parts) override {
    Result<std::shared_ptr<PartsUnderWay>> coming = fetch_parts(parts);
    if (coming && *coming == nullptr) {
      return IBlobStore::open_parts(std::move(parts));
    }
    return [coming = std::move(coming)]() -> Result<std::vector<Blob>> {
      return coming ? blobs_of(*coming) : Status(coming.error());
    };
  }

  BlobStoreUsage usage() const override { return shared_->registry->usage(); }

 private:
  static constexpr Duration kWaitStep = std::chrono::milliseconds(10);

  [[nodiscard]] static bool is_refused(const Result<BlobWriter>& made) {
    return !made && made.error().code() == ErrorCode::kResourceExhausted;
  }

  [[nodiscard]] bool may_wait_for(std::uint64_t size_bytes) const {
    const SharedBlobStoreOptions& options = shared_->options;
    return options.memory_wait > Duration::zero() && size_bytes <= options.held_bytes_max &&
           size_bytes <= options.memory.limit_of(MemoryUse::kBlobs);
  }

  [[nodiscard]] Result<BlobWriter> wait_to_create(std::uint64_t size_bytes, Place place) {
    const SystemClock clock;
    const Instant deadline = clock.now() + shared_->options.memory_wait;
    while (true) {
      // Some of what takes memory tells nobody when it gives it back, so nobody waits for long.
      shared_->registry->wait_for_room(std::min(deadline, clock.now() + kWaitStep));
      const bool is_last = clock.now() >= deadline;
      Result<BlobWriter> made = try_to_create(size_bytes, place);
      if (!is_refused(made)) {
        return made;
      }
      if (is_last) {
        return std::move(made).error().with_context(
            "no room came while it was waited for (memory-wait-seconds)");
      }
    }
  }

  [[nodiscard]] Result<BlobWriter> try_to_create(std::uint64_t size_bytes, Place place) {
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
    Result<std::shared_ptr<Writing>> writing = start_writing(size_bytes, place, *std::move(memory));
    if (!writing) {
      return std::move(writing).error();
    }
    const std::span<std::byte> payload = (*writing)->payload();
    return BlobWriter(payload, [writing = *std::move(writing)] { return writing->seal(); });
  }

  // In a file on disk where the system has no such memory. Of what lies in slabs the agent asks it.
  [[nodiscard]] Result<std::shared_ptr<Writing>> start_writing(std::uint64_t size_bytes,
                                                               Place place, BlobShare memory) {
    if (memory.spilled()) {
      return Writing::create(shared_, size_bytes, place, std::move(memory));
    }
    Status refusal = shared_->system_room.take(size_bytes);
    if (refusal.ok()) {
      Result<std::shared_ptr<Writing>> writing =
          Writing::create(shared_, size_bytes, place, std::move(memory));
      if (writing || writing.error().code() != ErrorCode::kResourceExhausted) {
        return writing;
      }
      refusal = std::move(writing).error();
    }
    Result<BlobShare> room = shared_->registry->spill(size_bytes, std::move(refusal));
    if (!room) {
      return std::move(room).error();
    }
    return Writing::create(shared_, size_bytes, place, *std::move(room));
  }

  // What another host made is here in a segment of its own, whatever it was there.
  [[nodiscard]] Result<Blob> open_copy(const BlobHandle& handle) {
    PINION_RETURN_IF_ERROR(
        check_copy_handle(shared_->options.identity, shared_->options.host_count, handle));
    return find_or_fetch(handle);
  }

  // Null where the blobs are to be opened whole: here they are, or no memory is left for parts
  // alone, while copies of whole blobs can be in files.
  [[nodiscard]] Result<std::shared_ptr<PartsUnderWay>> fetch_parts(
      const std::vector<BlobPart>& parts) {
    const BlobStoreIdentity& identity = shared_->options.identity;
    for (const BlobPart& part : parts) {
      if (!shared_->exchange.fetch_parts || host_with(part.blob, identity.epoch) == identity.host) {
        return std::shared_ptr<PartsUnderWay>();
      }
      PINION_RETURN_IF_ERROR(check_copy_handle(identity, shared_->options.host_count, part.blob));
    }
    Result<PartRoomLayout> layout = PartRoomLayout::of(parts);
    if (!layout) {
      return std::move(layout).error();
    }
    const std::uint64_t size_bytes = layout->size_bytes;
    Result<BlobShare> memory = take_share(*shared_, size_bytes);
    if (size_bytes == 0 || !memory || memory->spilled() ||
        !shared_->system_room.take(size_bytes).ok()) {
      return std::shared_ptr<PartsUnderWay>();
    }
    Result<UniqueFd> room = make_part_room(size_bytes);
    if (!room) {
      return std::shared_ptr<PartsUnderWay>();
    }
    std::function<Status()> wait = shared_->exchange.fetch_parts(parts, room->get());
    return std::make_shared<PartsUnderWay>(PartsUnderWay{.parts = parts,
                                                         .offsets = std::move(layout->offsets),
                                                         .size_bytes = size_bytes,
                                                         .home = {.host = identity.host},
                                                         .memory = *std::move(memory),
                                                         .room = *std::move(room),
                                                         .wait = std::move(wait)});
  }

  [[nodiscard]] Result<Blob> find_or_fetch(const BlobHandle& handle) {
    if (std::shared_ptr<const SealedBlob> living = shared_->registry->find(handle)) {
      PINION_RETURN_IF_ERROR(check_length(handle, living->handle()));
      return SealedBlob::share(std::move(living));
    }
    Result<std::shared_ptr<const SealedBlob>> fetched = fetch(handle);
    if (!fetched) {
      return std::move(fetched).error();
    }
    return SealedBlob::share(shared_->registry->remember(*std::move(fetched)));
  }

  // A mapping of a segment, which is known to the agent as a reference of this process.
  [[nodiscard]] Result<std::shared_ptr<const SealedBlob>> fetch(const BlobHandle& handle) {
    const Result<std::pair<UniqueFd, Place>> fetched = shared_->exchange.fetch(handle);
    if (!fetched) {
      return fetched.error();
    }
    const auto& [descriptor, home] = *fetched;
    Status checked = check_segment(descriptor.get(), handle, home);
    Result<MemoryMapping> mapping =
        checked.ok() ? map_sealed(descriptor.get(), handle) : std::move(checked);
    if (!mapping) {
      if (shared_->exchange.let_go) {
        shared_->exchange.let_go(handle);
      }
      return std::move(mapping).error();
    }
    return std::make_shared<const SealedBlob>(handle, home, *std::move(mapping), BlobShare(),
                                              shared_->registry);
  }

  // Of an earlier epoch (SegmentTable::restore()): whatever it was then, it has a segment now, and
  // one that may have the number of another.
  [[nodiscard]] Result<Blob> open_restored(const BlobHandle& handle) {
    Result<std::shared_ptr<const SealedBlob>> fetched = fetch(handle);
    if (!fetched) {
      return std::move(fetched).error();
    }
    return SealedBlob::share(*std::move(fetched));
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
