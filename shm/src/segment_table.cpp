#include <pinion/shm/segment_table.hpp>

#include <limits>
#include <string>

#include "segment.hpp"
#include "spill_file.hpp"

namespace pinion {

SegmentTable::SegmentTable(BlobStoreIdentity identity, std::uint32_t segments_per_client)
    : identity_(identity), segments_per_client_(segments_per_client) {
  PINION_ASSERT(segments_per_client >= 1);
}

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
  // A number below the range wraps around and is too large as well.
  if (client >= client_count_max() ||
      handle.segment - first_segment(client) >= segments_per_client_) {
    return Status(ErrorCode::kPermissionDenied, "segment " + std::to_string(handle.segment) +
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
  const std::uint32_t number = handle.segment - first_segment(client);
  if (number < known->second.used.size() && known->second.used[number]) {
    return Status(ErrorCode::kAlreadyExists,
                  "segment " + std::to_string(handle.segment) + " was published before");
  }
  return {};
}

Status SegmentTable::publish(std::uint32_t client, const BlobHandle& handle, Place home,
                             UniqueFd descriptor) {
  PINION_RETURN_IF_ERROR(check_claim(client, handle, home));
  PINION_RETURN_IF_ERROR(check_segment(descriptor.get(), handle, home));
  const std::uint32_t number = handle.segment - first_segment(client);
  std::vector<bool>& used = clients_[client].used;
  if (used.size() <= number) {
    used.resize(number + std::size_t{1});
  }
  used[number] = true;
  const bool spilled = is_spill_file(descriptor.get());
  const auto [added, is_new] =
      segments_.emplace(handle.segment, Segment{.handle = handle,
                                                .home = home,
                                                .descriptor = std::move(descriptor),
                                                .client = client,
                                                .spilled = spilled});
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

Status SegmentTable::keep(const BlobHandle& handle) {
  PINION_RETURN_IF_ERROR(check_known(handle));
  segments_.at(handle.segment).kept = true;
  return {};
}

void SegmentTable::release(const BlobHandle& handle) {
  if (check_known(handle).ok()) {
    forget(segments_.at(handle.segment));
    segments_.erase(handle.segment);
  }
}

Result<std::pair<int, Place>> SegmentTable::find(const BlobHandle& handle) const {
  PINION_RETURN_IF_ERROR(check_known(handle));
  const Segment& segment = segments_.at(handle.segment);
  return std::pair(segment.descriptor.get(), segment.home);
}

void SegmentTable::client_gone(std::uint32_t client) {
  std::erase_if(segments_, [&](const auto& entry) {
    const Segment& segment = entry.second;
    if (segment.client != client || segment.kept) {
      return false;
    }
    forget(segment);
    return true;
  });
  clients_[client] = {.used = {}, .gone = true};
}

}  // namespace pinion
