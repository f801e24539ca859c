#include <pinion/shm/segment_table.hpp>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string>
#include <utility>

#include <pinion/shm/blob_memory.hpp>

#include "fail_point.hpp"
#include "memory_mapping.hpp"
#include "segment.hpp"
#include "segment_file.hpp"
#include "slab_table.hpp"
#include "spill_file.hpp"

namespace pinion {
namespace {

Status write_payload(int descriptor, std::span<const std::byte> bytes) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    fail_point();
    const ssize_t count = ::pwrite(descriptor, bytes.data() + written, bytes.size() - written,
                                   static_cast<off_t>(sizeof(SegmentHeader) + written));
    fail_point();
    if (count > 0) {
      written += static_cast<std::size_t>(count);
    } else if (count == 0 || errno != EINTR) {
      return Status::from_errno(count < 0 ? errno : EIO, "writing the bytes of a blob");
    }
  }
  return {};
}

Result<UniqueFd> make_sealed_segment(const BlobHandle& handle, Place home,
                                     std::span<const std::byte> bytes) {
  const std::uint64_t size_bytes = segment_size_bytes(bytes.size());
  Result<UniqueFd> file = create_segment(size_bytes);
  if (!file) {
    return file;
  }
  PINION_RETURN_IF_ERROR(reserve_segment(file->get(), size_bytes));
  PINION_RETURN_IF_ERROR(write_payload(file->get(), bytes));
  PINION_RETURN_IF_ERROR(seal_segment(file->get(), handle, home));
  return file;
}

Result<UniqueFd> make_spilled_segment(const std::string& directory, const BlobHandle& handle,
                                      Place home, std::span<const std::byte> bytes) {
  Result<UniqueFd> file = create_spill_file(directory, segment_size_bytes(bytes.size()));
  if (!file) {
    return file;
  }
  PINION_RETURN_IF_ERROR(write_payload(file->get(), bytes));
  return finish_spill_file(*std::move(file), handle, home);
}

}  // namespace

SegmentTable::SegmentTable(BlobStoreIdentity identity, std::uint32_t segments_per_client,
                           std::uint64_t slab_bytes_per_client_max,
                           std::function<std::uint64_t()> available_bytes)
    : identity_(identity),
      segments_per_client_(segments_per_client),
      slabs_(std::make_unique<SlabTable>(identity, slab_bytes_per_client_max,
                                         std::move(available_bytes))) {
  PINION_ASSERT(segments_per_client >= 1);
}

SegmentTable::~SegmentTable() = default;

std::uint64_t SegmentTable::client_count_max() const noexcept {
  return (std::uint64_t{1} << 32) / segments_per_client_;
}

std::uint32_t SegmentTable::first_segment(std::uint32_t client) const {
  PINION_ASSERT(client < client_count_max());
  return client * segments_per_client_;
}

Status SegmentTable::check_claim(std::uint32_t client, const BlobHandle& handle, Place home) const {
  if (handle.index != kOnlyIndex) {
    return Status(ErrorCode::kInvalidArgument,
                  "a segment holds one blob, with index 0; the handle says index " +
                      std::to_string(handle.index));
  }
  PINION_RETURN_IF_ERROR(check_handle(identity_, handle));
  PINION_RETURN_IF_ERROR(check_home(identity_, home));
  return check_number(client, handle.segment);
}

Status SegmentTable::check_number(std::uint32_t client, std::uint32_t segment) const {
  // A number below the range wraps around and is too large as well.
  if (client >= client_count_max() || segment - first_segment(client) >= segments_per_client_) {
    return Status(ErrorCode::kPermissionDenied, "segment " + std::to_string(segment) +
                                                    " is not one of the " +
                                                    std::to_string(segments_per_client_) +
                                                    " of client " + std::to_string(client));
  }
  const auto known = clients_.find(client);
  if (known == clients_.end()) {
    return {};
  }
  if (known->second.gone) {
    return Status(ErrorCode::kFailedPrecondition,
                  "client " + std::to_string(client) + " is gone; it publishes nothing");
  }
  const std::uint32_t number = segment - first_segment(client);
  if (number < known->second.used.size() && known->second.used[number]) {
    return Status(ErrorCode::kAlreadyExists,
                  "segment " + std::to_string(segment) + " was published before");
  }
  return {};
}

void SegmentTable::mark_used(std::uint32_t client, std::uint32_t segment) {
  const std::uint32_t number = segment - first_segment(client);
  std::vector<bool>& used = clients_[client].used;
  if (used.size() <= number) {
    used.resize(number + std::size_t{1});
  }
  used[number] = true;
}

Status SegmentTable::publish(std::uint32_t client, const BlobHandle& handle, Place home,
                             UniqueFd descriptor) {
  PINION_RETURN_IF_ERROR(check_claim(client, handle, home));
  PINION_RETURN_IF_ERROR(check_segment(descriptor.get(), handle, home));
  mark_used(client, handle.segment);
  const bool spilled = is_spill_file(descriptor.get());
  const auto [added, is_new] =
      segments_.emplace(handle.segment, Segment{.handle = handle,
                                                .home = home,
                                                .descriptor = std::move(descriptor),
                                                .client = client,
                                                .spilled = spilled,
                                                .references = {{client, 1}}});
  PINION_ASSERT(is_new);
  ++usage_.blob_count;
  bytes_like(added->second) += handle.length_bytes;
  return {};
}

std::uint64_t& SegmentTable::bytes_like(const Segment& segment) noexcept {
  return segment.spilled ? usage_.spilled_bytes : usage_.memory_bytes;
}

void SegmentTable::forget(const Segment& segment) noexcept {
  --usage_.blob_count;
  bytes_like(segment) -= segment.handle.length_bytes;
}

Status SegmentTable::check_known(const BlobHandle& handle) const {
  PINION_RETURN_IF_ERROR(check_handle(identity_, handle));
  const auto found = segments_.find(handle.segment);
  return found == segments_.end() ? no_such_blob(handle)
                                  : check_length(handle, found->second.handle);
}

Result<int> SegmentTable::admit(std::uint32_t client, std::int64_t process) {
  RowHeader numbers;
  numbers.process = process;
  numbers.first_segment = first_segment(client);
  numbers.segment_count = segments_per_client_;
  return slabs_->admit(client, numbers);
}

Result<SlabView> SegmentTable::make_slab(std::uint32_t client, std::uint32_t segment, Place home,
                                         std::uint64_t size_bytes) {
  PINION_RETURN_IF_ERROR(check_home(identity_, home));
  PINION_RETURN_IF_ERROR(check_number(client, segment));
  Result<SlabView> slab = slabs_->make(client, segment, home, size_bytes);
  if (slab) {
    mark_used(client, segment);
  }
  return slab;
}

Result<SlabView> SegmentTable::find_slab(std::uint32_t client, const BlobHandle& handle) {
  return slabs_->find(client, handle);
}

Result<int> SegmentTable::find_row(std::uint32_t client) {
  return slabs_->find_row(client);
}

void SegmentTable::give_back_slab(std::uint32_t client, std::uint32_t segment) {
  slabs_->give_back(client, segment);
}

Status SegmentTable::keep(const BlobHandle& handle) {
  if (is_earlier(handle)) {
    const Result<const Segment*> found = find_restored(handle);
    return found ? Status() : found.error();
  }
  if (handle.index != kOnlyIndex) {
    return slabs_->keep(handle);
  }
  PINION_RETURN_IF_ERROR(check_known(handle));
  segments_.at(handle.segment).kept = true;
  return {};
}

void SegmentTable::release(const BlobHandle& handle) {
  if (is_earlier(handle)) {
    if (const Result<const Segment*> found = find_restored(handle)) {
      forget(**found);
      restored_.erase(key_of(handle));
    }
  } else if (handle.index != kOnlyIndex) {
    slabs_->release(handle);
  } else if (check_known(handle).ok()) {
    forget(segments_.at(handle.segment));
    segments_.erase(handle.segment);
  }
}

Result<std::pair<int, Place>> SegmentTable::find(const BlobHandle& handle) const {
  if (is_earlier(handle)) {
    const Result<const Segment*> found = find_restored(handle);
    if (!found) {
      return found.error();
    }
    return std::pair((*found)->descriptor.get(), (*found)->home);
  }
  PINION_RETURN_IF_ERROR(check_known(handle));
  const Segment& segment = segments_.at(handle.segment);
  return std::pair(segment.descriptor.get(), segment.home);
}

Result<BlobFilePart> SegmentTable::file_part_of(const BlobHandle& handle) const {
  if (handle.index != kOnlyIndex && !is_earlier(handle)) {
    return slabs_->file_part_of(handle);
  }
  const Result<std::pair<int, Place>> found = find(handle);
  if (!found) {
    return found.error();
  }
  return payload_of(found->first, found->second);
}

Result<Blob> SegmentTable::view(const BlobHandle& handle) const {
  if (handle.index != kOnlyIndex && !is_earlier(handle)) {
    return slabs_->view(handle);
  }
  const Result<BlobFilePart> part = file_part_of(handle);
  if (!part) {
    return part.error();
  }
  if (handle.index != kOnlyIndex) {
    // It was small: the mapping would cost more than a copy, and many may be lent at one time.
    return copy_payload(part->descriptor.get(), part->offset, handle, part->home);
  }
  const auto size = static_cast<std::size_t>(handle.length_bytes);
  Result<MemoryMapping> mapping = map_sealed(part->descriptor.get(), handle);
  if (!mapping) {
    return std::move(mapping).error();
  }
  const auto mapped = std::make_shared<const MemoryMapping>(*std::move(mapping));
  return Blob(handle, part->home, mapped->bytes().last(size), mapped);
}

PageShare SegmentTable::pages_of(const BlobHandle& handle) const {
  if (!check_known(handle).ok() || segments_.at(handle.segment).spilled) {
    return {};
  }
  const std::uint64_t size_bytes = segment_size_bytes(handle.length_bytes);
  const Result<std::uint64_t> huge_bytes =
      huge_page_bytes(segments_.at(handle.segment).descriptor.get(), size_bytes);
  return huge_bytes ? PageShare{.bytes = size_bytes, .huge_bytes = *huge_bytes} : PageShare();
}

Result<const SegmentTable::Segment*> SegmentTable::find_restored(const BlobHandle& handle) const {
  const auto found = restored_.find(key_of(handle));
  if (found == restored_.end()) {
    return Status(ErrorCode::kFailedPrecondition,
                  "a blob of epoch " + std::to_string(handle.epoch) + " is asked for in epoch " +
                      std::to_string(identity_.epoch) + ", and was not kept");
  }
  PINION_RETURN_IF_ERROR(check_length(handle, found->second.handle));
  return &found->second;
}

Status SegmentTable::restore(const BlobHandle& handle, Place home, std::span<const std::byte> bytes,
                             const std::string& spill_directory) {
  if (!is_earlier(handle)) {
    return Status(ErrorCode::kFailedPrecondition,
                  "only a blob of an earlier epoch of this job is restored");
  }
  PINION_RETURN_IF_ERROR(check_home(identity_, home));
  BlobHandle known = handle;
  known.length_bytes = bytes.size();
  PINION_RETURN_IF_ERROR(check_length(handle, known));
  if (restored_.count(key_of(handle)) > 0) {
    return Status(ErrorCode::kAlreadyExists, "the blob was restored before");
  }
  Result<UniqueFd> descriptor = spill_directory.empty()
                                    ? make_sealed_segment(handle, home, bytes)
                                    : make_spilled_segment(spill_directory, handle, home, bytes);
  if (!descriptor) {
    return std::move(descriptor).error();
  }
  const auto added = restored_.emplace(key_of(handle), Segment{.handle = handle,
                                                               .home = home,
                                                               .descriptor = *std::move(descriptor),
                                                               .spilled = !spill_directory.empty(),
                                                               .kept = true});
  ++usage_.blob_count;
  bytes_like(added.first->second) += handle.length_bytes;
  return {};
}

Result<std::pair<int, Place>> SegmentTable::fetch(std::uint32_t client, const BlobHandle& handle) {
  Result<std::pair<int, Place>> found = find(handle);
  if (!found || is_earlier(handle)) {  // The job keeps what was restored.
    return found;
  }
  if (const auto known = clients_.find(client); known != clients_.end() && known->second.gone) {
    return Status(ErrorCode::kFailedPrecondition,
                  "client " + std::to_string(client) + " is gone; it fetches nothing");
  }
  ++segments_.at(handle.segment).references[client];
  return found;
}

void SegmentTable::let_go(std::uint32_t client, const BlobHandle& handle) {
  if (!check_known(handle).ok()) {
    return;
  }
  Segment& segment = segments_.at(handle.segment);
  const auto mine = segment.references.find(client);
  if (mine == segment.references.end()) {
    return;
  }
  if (--mine->second == 0) {
    segment.references.erase(mine);
  }
  if (is_unused(segment)) {
    forget(segment);
    segments_.erase(handle.segment);
  }
}

void SegmentTable::client_gone(std::uint32_t client) {
  for (auto entry = segments_.begin(); entry != segments_.end();) {
    const auto next = std::next(entry);
    Segment& segment = entry->second;
    segment.references.erase(client);
    // What the dead one made is closed for new readers, as what it made in slabs is.
    if (is_unused(segment) || (segment.client == client && !segment.kept)) {
      forget(segment);
      segments_.erase(entry);
    }
    entry = next;
  }
  clients_[client] = {.used = {}, .gone = true};
  slabs_->client_gone(client);
}

BlobStoreUsage SegmentTable::usage() const noexcept {
  const BlobStoreUsage slabs = slabs_->usage();
  BlobStoreUsage all = usage_;
  all.blob_count += slabs.blob_count;
  all.memory_bytes += slabs.memory_bytes;
  return all;
}

std::vector<SegmentState> SegmentTable::snapshot() const {
  std::vector<SegmentState> states = slabs_->snapshot();
  for (const auto& [number, segment] : segments_) {
    const auto client = clients_.find(segment.client);
    std::uint64_t reference_count = 0;
    for (const auto& [reader, count] : segment.references) {
      reference_count += count;
    }
    states.push_back({.segment = number,
                      .client = segment.client,
                      .home = segment.home,
                      .size_bytes = segment_size_bytes(segment.handle.length_bytes),
                      .blob_count = 1,
                      .blob_bytes = segment.handle.length_bytes,
                      .kept_count = segment.kept ? 1u : 0u,
                      .reference_count = reference_count,
                      .spilled = segment.spilled,
                      .owner_gone = client != clients_.end() && client->second.gone});
  }
  std::ranges::sort(states, {}, &SegmentState::segment);
  return states;
}

}  // namespace pinion
