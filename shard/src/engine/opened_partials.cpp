#include "engine/opened_partials.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

namespace pinion::engine {
namespace {

// Smaller partitions would cost more in messages than in bytes.
constexpr std::uint64_t kPartBytesMin = std::uint64_t{4} << 10;

// How many are asked for at once: a host gives so many to another at the same time.
constexpr std::size_t kPartsAtOnce = 256;

Status no_such_partition(std::uint32_t index, std::size_t count) {
  return Status(ErrorCode::kDataLoss, "partition " + std::to_string(index) +
                                          " is asked for of a partial that has " +
                                          std::to_string(count));
}

Result<Blob> partition_of_whole(const Blob& whole, std::uint32_t index) {
  const Result<std::span<const std::byte>> bytes = partition_of(whole.bytes(), index);
  if (!bytes) {
    return bytes.error();
  }
  const auto offset = static_cast<std::uint64_t>(bytes->data() - whole.bytes().data());
  return Blob::part_of(whole, offset, bytes->size());
}

}  // namespace

bool OpenedPartials::is_far(const BlobHandle& handle) const {
  return host_with(handle, at_.epoch) != at_.host;
}

bool OpenedPartials::comes_in_parts(const BlobHandle& handle, std::uint32_t partition_count) const {
  return is_far(handle) && partition_count > 0 &&
         handle.length_bytes / partition_count >= kPartBytesMin;
}

Result<OpenedPartials> OpenedPartials::open(const PartialsAt& at,
                                            const protocol::MergeInputs& inputs,
                                            std::uint32_t partition_count) {
  OpenedPartials opened(at);
  opened.partials_.reserve(inputs.partials.size());
  for (const BlobHandle& handle : inputs.partials) {
    opened.partials_.push_back({.handle = handle, .whole = {}, .slots = {}});
  }
  opened.combined_ = inputs.combined;
  PINION_RETURN_IF_ERROR(opened.take_members(partition_count));
  for (Partial& partial : opened.partials_) {
    if (opened.is_needed(partial, partition_count) &&
        !opened.comes_in_parts(partial.handle, partition_count)) {
      Result<Blob> blob = at.store.open(partial.handle);
      if (!blob) {
        return std::move(blob).error();
      }
      partial.whole = *std::move(blob);
    }
  }
  PINION_RETURN_IF_ERROR(opened.open_tables(partition_count));
  return opened;
}

Status OpenedPartials::take_members(std::uint32_t partition_count) {
  for (std::size_t number = 0; number < combined_.size(); ++number) {
    const protocol::CombinedPartials& one = combined_[number];
    if (one.outputs.size() != partition_count) {
      return Status(ErrorCode::kInternal,
                    "combined partials have " + std::to_string(one.outputs.size()) +
                        " partitions, the step has " + std::to_string(partition_count));
    }
    for (const std::uint32_t member : one.members) {
      partials_[member].combined.push_back(number);
    }
  }
  return {};
}

// Whether there is a partition that has to be read of the partial itself.
bool OpenedPartials::is_needed(const Partial& partial, std::uint32_t partition_count) const {
  if (partial.combined.empty()) {
    return true;
  }
  for (std::uint32_t index = 0; index < partition_count; ++index) {
    if (find_combined(partial, index) == nullptr) {
      return true;
    }
  }
  return false;
}

// Null where the partition is not combined.
const protocol::CombinedPartials* OpenedPartials::find_combined(const Partial& partial,
                                                                std::uint32_t index) const {
  for (const std::size_t number : partial.combined) {
    const protocol::CombinedPartials& one = combined_[number];
    if (index < one.outputs.size() && one.outputs[index] != BlobHandle{}) {
      return &one;
    }
  }
  return nullptr;
}

// It stands for the other members.
bool OpenedPartials::is_first(const protocol::CombinedPartials& of, const Partial& partial) const {
  return &partial == &partials_[of.members.front()];
}

Status OpenedPartials::open_tables(std::uint32_t partition_count) {
  std::vector<Partial*> far;
  std::vector<BlobPart> parts;
  for (Partial& partial : partials_) {
    if (is_needed(partial, partition_count) && comes_in_parts(partial.handle, partition_count)) {
      far.push_back(&partial);
      parts.push_back(
          {.blob = partial.handle, .length_bytes = partition_table_bytes(partition_count)});
    }
  }
  const Result<std::vector<Blob>> tables = wait_for(begin(parts));
  if (!tables) {
    return tables.error();
  }
  for (std::size_t i = 0; i < far.size(); ++i) {
    Result<std::vector<PartitionSlot>> slots =
        read_partition_table((*tables)[i].bytes(), far[i]->handle.length_bytes);
    if (!slots) {
      return std::move(slots).error();
    }
    far[i]->slots = *std::move(slots);
  }
  return {};
}

OpenedPartials::Coming OpenedPartials::begin(const std::vector<BlobPart>& parts) const {
  Coming coming;
  for (std::size_t i = 0; i < parts.size(); i += kPartsAtOnce) {
    const auto begin = parts.begin() + static_cast<std::ptrdiff_t>(i);
    const auto count = static_cast<std::ptrdiff_t>(std::min(kPartsAtOnce, parts.size() - i));
    coming.waits.push_back(at_.store.open_parts({begin, begin + count}));
  }
  for (const BlobPart& part : parts) {
    coming.size_bytes += part.length_bytes;
  }
  return coming;
}

Result<std::vector<Blob>> OpenedPartials::wait_for(const Coming& coming) {
  std::vector<Blob> blobs;
  for (const Wait& wait : coming.waits) {
    Result<std::vector<Blob>> some = wait();
    if (!some) {
      return some;
    }
    blobs.insert(blobs.end(), some->begin(), some->end());
  }
  return blobs;
}

// What has no bytes need not come.
std::vector<BlobPart> OpenedPartials::far_parts(std::uint32_t index) const {
  std::vector<BlobPart> parts;
  for (const Partial& partial : partials_) {
    if (const protocol::CombinedPartials* const combined = find_combined(partial, index)) {
      if (is_first(*combined, partial) && is_far(combined->outputs[index])) {
        parts.push_back(BlobPart::whole(combined->outputs[index]));
      }
    } else if (index < partial.slots.size() && partial.slots[index].length > 0) {
      parts.push_back({.blob = partial.handle,
                       .offset = partial.slots[index].offset,
                       .length_bytes = partial.slots[index].length});
    }
  }
  return parts;
}

void OpenedPartials::expect(std::uint32_t index) const {
  const std::vector<BlobPart> parts = far_parts(index);
  std::uint64_t size_bytes = 0;
  for (const BlobPart& part : parts) {
    size_bytes += part.length_bytes;
  }
  MutexLock lock(expected_->mutex);
  if (size_bytes == 0 || expected_->coming.contains(index) ||
      expected_->size_bytes + size_bytes > at_.expected_bytes_max) {
    return;
  }
  expected_->size_bytes += size_bytes;
  expected_->coming.emplace(index, begin(parts));
}

void OpenedPartials::forget_expected() const {
  std::map<std::uint32_t, Coming> forgotten;
  MutexLock lock(expected_->mutex);
  forgotten.swap(expected_->coming);
  expected_->size_bytes = 0;
}

Result<std::vector<Blob>> OpenedPartials::partition(std::uint32_t index) const {
  Coming coming;
  {
    MutexLock lock(expected_->mutex);
    if (auto ready = expected_->coming.extract(index)) {
      coming = std::move(ready.mapped());
      expected_->size_bytes -= coming.size_bytes;
    }
  }
  if (coming.waits.empty()) {
    coming = begin(far_parts(index));
  }
  Result<std::vector<Blob>> far = wait_for(coming);
  if (!far) {
    return far;
  }
  std::vector<Blob> blobs;
  blobs.reserve(partials_.size());
  std::span<Blob> left(*far);
  for (const Partial& partial : partials_) {
    const protocol::CombinedPartials* const combined = find_combined(partial, index);
    if (combined != nullptr && !is_first(*combined, partial)) {
      continue;
    }
    Result<Blob> part = part_of(partial, index, left);
    if (!part) {
      return std::move(part).error();
    }
    blobs.push_back(*std::move(part));
  }
  return blobs;
}

// Takes those that are far from the front of `far`.
Result<Blob> OpenedPartials::part_of(const Partial& partial, std::uint32_t index,
                                     std::span<Blob>& far) const {
  const auto next_far = [&far] {
    Blob blob = std::move(far.front());
    far = far.subspan(1);
    return blob;
  };
  if (const protocol::CombinedPartials* const combined = find_combined(partial, index)) {
    const BlobHandle& output = combined->outputs[index];
    Result<Blob> whole = is_far(output) ? Result<Blob>(next_far()) : at_.store.open(output);
    if (!whole) {
      return whole;
    }
    return partition_of_whole(*whole, 0);
  }
  if (partial.slots.empty()) {
    return partition_of_whole(partial.whole, index);
  }
  if (index >= partial.slots.size()) {
    return no_such_partition(index, partial.slots.size());
  }
  return partial.slots[index].length > 0 ? next_far() : Blob();
}

}  // namespace pinion::engine
