#include <pinion/shm/copy_table.hpp>

#include <list>
#include <map>
#include <unordered_map>

#include "blob_name.hpp"
#include "segment.hpp"
#include "segment_file.hpp"
#include "slab_layout.hpp"
#include "spill_file.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kSpareBytes = std::uint64_t{32} << 20;  // What the system is left with.

struct Copy {
  BlobHandle handle;
  Place home;
  UniqueFd segment;
  bool spilled = false;
  bool released = false;
  std::map<std::uint32_t, std::uint64_t> references = {};  // By client; none is 0.
  std::list<BlobName>::iterator unused = {};               // Where it is without references.
};

}  // namespace

struct CopyTable::State {
  explicit State(CopyTableOptions of_owner) : options(std::move(of_owner)) {}

  [[nodiscard]] Copy* find(const BlobHandle& handle) {
    const auto found = copies.find(BlobName(handle));
    return found == copies.end() ? nullptr : &found->second;
  }

  [[nodiscard]] std::uint64_t& bytes_like(const Copy& copy) noexcept {
    return copy.spilled ? usage.spilled_bytes : usage.memory_bytes;
  }

  // Precondition: it is among the unused.
  void drop(const BlobName& name) {
    const Copy& copy = copies.at(name);
    --usage.blob_count;
    bytes_like(copy) -= copy.handle.length_bytes;
    unused.erase(copy.unused);
    copies.erase(name);
  }

  void lost_reference(Copy& copy) {
    if (!copy.references.empty()) {
      return;
    }
    const BlobName name(copy.handle);
    copy.unused = unused.insert(unused.end(), name);
    if (copy.released) {
      drop(name);
    }
  }

  [[nodiscard]] bool fits(std::uint64_t bytes) const {
    return usage.memory_bytes <= options.memory_bytes_max &&
           bytes <= options.memory_bytes_max - usage.memory_bytes;
  }

  // Whether memory has room then.
  bool make_room(std::uint64_t bytes) {
    for (auto name = unused.begin(); name != unused.end() && !fits(bytes);) {
      const BlobName oldest = *name++;
      if (!copies.at(oldest).spilled) {
        drop(oldest);
      }
    }
    if (!fits(bytes)) {
      return false;
    }
    const std::uint64_t available =
        options.available_bytes ? options.available_bytes() : bytes + kSpareBytes;
    return available >= kSpareBytes && bytes <= available - kSpareBytes;
  }

  const CopyTableOptions options;
  std::unordered_map<BlobName, Copy, BlobName::Hash> copies;
  std::list<BlobName> unused;  // Without references, those first that were not read for longest.
  BlobStoreUsage usage;
};

CopyTable::CopyTable(CopyTableOptions options)
    : state_(std::make_unique<State>(std::move(options))) {}

CopyTable::~CopyTable() = default;

Status CopyTable::check(const BlobHandle& handle) const {
  return check_copy_handle(state_->options.identity, state_->options.host_count, handle);
}

Result<BlobCopy> CopyTable::make(const BlobHandle& handle, Place home, const BlobMemory* memory) {
  PINION_RETURN_IF_ERROR(check(handle));
  const bool fits = state_->make_room(handle.length_bytes);
  const std::string& directory = state_->options.spill_directory;
  if (!fits && directory.empty()) {
    return Status(ErrorCode::kResourceExhausted,
                  "no room for a copy of a blob of " + std::to_string(handle.length_bytes) +
                      " bytes: copies of other hosts' blobs have " +
                      std::to_string(state_->usage.memory_bytes) +
                      " bytes here; raise memory-bytes, or set spill-directory");
  }
  Result<SegmentFile> made = SegmentFile::create(
      {.length_bytes = handle.length_bytes,
       .home = home,
       .spill_directory = fits ? "" : directory,
       .blob_memory = handle.length_bytes >= kSlabBlobBytesMax ? memory : nullptr});
  if (!made) {
    return std::move(made).error();
  }
  const auto file = std::make_shared<SegmentFile>(*std::move(made));
  const auto segment = std::make_shared<UniqueFd>();
  const auto seal = [file, segment, handle, home]() -> Result<Blob> {
    Result<UniqueFd> sealed = file->finish(handle);
    if (!sealed) {
      return std::move(sealed).error();
    }
    *segment = *std::move(sealed);
    return Blob(handle, home, {}, nullptr);
  };
  BlobWriter writer(file->payload(), seal);
  return BlobCopy{.writer = std::move(writer), .segment = segment};
}

Status CopyTable::add(const BlobHandle& handle, Place home, UniqueFd segment) {
  PINION_RETURN_IF_ERROR(check(handle));
  PINION_RETURN_IF_ERROR(check_segment(segment.get(), handle, home));
  if (has(handle)) {
    return Status(ErrorCode::kAlreadyExists, "a copy of that blob is here");
  }
  const BlobName name(handle);
  Copy copy{.handle = handle, .home = home, .segment = std::move(segment)};
  copy.spilled = is_spill_file(copy.segment.get());
  copy.unused = state_->unused.insert(state_->unused.end(), name);
  ++state_->usage.blob_count;
  state_->bytes_like(copy) += handle.length_bytes;
  state_->copies.emplace(name, std::move(copy));
  return {};
}

bool CopyTable::has(const BlobHandle& handle) const {
  return state_->find(handle) != nullptr;
}

Result<std::pair<int, Place>> CopyTable::fetch(std::uint32_t client, const BlobHandle& handle) {
  PINION_RETURN_IF_ERROR(check(handle));
  Copy* const copy = state_->find(handle);
  if (copy == nullptr || copy->released) {
    return no_such_blob(handle);
  }
  PINION_RETURN_IF_ERROR(check_length(handle, copy->handle));
  if (copy->references.empty()) {
    state_->unused.erase(copy->unused);
  }
  ++copy->references[client];
  return std::pair(copy->segment.get(), copy->home);
}

Result<BlobFilePart> CopyTable::file_part_of(const BlobHandle& handle) const {
  PINION_RETURN_IF_ERROR(check(handle));
  const Copy* const copy = state_->find(handle);
  if (copy == nullptr) {
    return no_such_blob(handle);
  }
  PINION_RETURN_IF_ERROR(check_length(handle, copy->handle));
  return payload_of(copy->segment.get(), copy->home);
}

Status CopyTable::read(const BlobPart& part, std::span<std::byte> into) const {
  const Result<BlobFilePart> file = file_part_of(part.blob);
  return file ? read_payload(file->descriptor.get(), file->offset + part.offset, into)
              : file.error();
}

void CopyTable::let_go(std::uint32_t client, const BlobHandle& handle) {
  Copy* const copy = state_->find(handle);
  if (copy == nullptr) {
    return;
  }
  const auto mine = copy->references.find(client);
  if (mine == copy->references.end()) {
    return;
  }
  if (--mine->second == 0) {
    copy->references.erase(mine);
    state_->lost_reference(*copy);
  }
}

void CopyTable::release(const BlobHandle& handle) {
  Copy* const copy = state_->find(handle);
  if (copy == nullptr) {
    return;
  }
  copy->released = true;
  if (copy->references.empty()) {
    state_->drop(BlobName(handle));
  }
}

void CopyTable::client_gone(std::uint32_t client) {
  for (auto entry = state_->copies.begin(); entry != state_->copies.end();) {
    Copy& copy = entry->second;
    ++entry;  // The copy may go.
    if (copy.references.erase(client) > 0) {
      state_->lost_reference(copy);
    }
  }
}

BlobStoreUsage CopyTable::usage() const noexcept {
  return state_->usage;
}

}  // namespace pinion
