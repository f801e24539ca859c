#include "engine/shard_reader.hpp"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

#include <pinion/core/assert.hpp>

#include "engine/inflate.hpp"
#include "engine/input_source.hpp"

namespace pinion {
namespace {

// Memory is protected by pages of at least this size: what stands behind a readable byte in the
// same page is readable too.
constexpr std::uintptr_t kPageBytes = 4096;

// How large a compressed text becomes, as a first guess.
constexpr std::uint64_t kInflationGuess = 4;

// Odd, and without pattern: keeps zeros from being mixed to zero.
constexpr std::uint64_t kGoldenRatio = 0x9e3779b97f4a7c15u;

// One to one, and each bit of the answer depends on each bit of `value` (the finalizer of
// SplitMix64).
std::uint64_t mix(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

// How many bytes of `source`, as stored, lie in the range.
std::uint64_t bytes_of(const ShardRange& range, const InputSource& source) noexcept {
  return std::min(range.end, end_of(source)) - std::max(range.begin, source.begin);
}

// The shard as it lies in `blob`, if the bytes that must follow it are there. Empty if not.
std::span<const std::byte> mapped_bytes(const Blob& blob, const InputSource& source,
                                        const ShardRange& range) noexcept {
  const auto offset = static_cast<std::size_t>(range.begin - source.begin);
  const auto count = static_cast<std::size_t>(range.end - range.begin);
  const std::span<const std::byte> bytes = blob.bytes().subspan(offset, count);
  if (source.is_partition) {
    return bytes;  // No text: whoever reads it knows where it ends.
  }
  // Behind the blob, the rest of its last page is readable, whatever the page holds.
  const auto end = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size());
  const std::uint64_t to_page_end = (kPageBytes - end % kPageBytes) % kPageBytes;
  const bool has_tail = end_of(source) - range.end >= kTailBytes || to_page_end >= kTailBytes;
  return has_tail ? bytes : std::span<const std::byte>();
}

// Says what to do about a shard that does not fit; success stays success.
Status explain(Status status, const ShardRange& range) {
  if (status.ok()) {
    return status;
  }
  return std::move(status).with_context("a shard of " + std::to_string(range.end - range.begin) +
                                        " bytes does not fit in memory (make shards smaller; a "
                                        "line is never cut, whatever its length)");
}

}  // namespace

std::uint64_t shard_seed(std::uint64_t job_seed, std::uint64_t id) noexcept {
  // Mixed twice, so that shard i of a job and shard i + 1 of the job with the seed before it have
  // nothing in common.
  return mix(mix(job_seed + kGoldenRatio) ^ (id * kGoldenRatio));
}

Status ShardReader::open(const std::string& path) {
  // A step before this one may have put another file in the place of the one that is open.
  if (file_ && file_path_ == path && file_->is_at(path)) {
    return {};
  }
  file_.reset();
  Result<InputFile> opened = InputFile::open(path);
  if (!opened) {
    return std::move(opened).error();
  }
  file_.emplace(std::move(opened).value());
  file_path_ = path;
  return {};
}

void ShardReader::take_file(ShardReader& other) noexcept {
  file_.swap(other.file_);
  file_path_.swap(other.file_path_);
}

Status ShardReader::read_part(const InputListing& listing, std::size_t index,
                              const ShardRange& range) {
  const InputSource& from = listing.sources()[index];
  const auto count = static_cast<std::size_t>(bytes_of(range, from));
  const std::uint64_t offset = std::max(range.begin, from.begin) - from.begin;
  PINION_RETURN_IF_ERROR(explain(text_.reserve(count), range));
  if (lies_in_blob(from)) {
    const Result<std::size_t> copied = listing.read(index, offset, text_.room().first(count));
    if (!copied) {
      return copied.error();
    }
    PINION_ASSERT(*copied == count);
  } else {
    PINION_RETURN_IF_ERROR(open(from.path));
    PINION_RETURN_IF_ERROR(file_->read(offset, from.size_bytes, text_.room().first(count)));
    if (listing.size() > options_.page_cache_bytes_max) {
      file_->leave_page_cache(offset, count);
    }
  }
  text_.add(count);
  return {};
}

Status ShardReader::inflate_source(const StepPlan& plan, const InputSource& source) {
  const std::uint64_t begin = text_.size();
  PINION_RETURN_IF_ERROR(open(source.path));
  PINION_RETURN_IF_ERROR(inflate(*file_, source, text_));
  if (plan.listing.size() > options_.page_cache_bytes_max) {
    file_->leave_page_cache(0, source.size_bytes);
  }
  const std::uint64_t record_bytes = plan.alignment.record_bytes();
  if (const std::uint64_t size_bytes = text_.size() - begin;
      record_bytes > 0 && size_bytes % record_bytes != 0) {
    return broken_record(source.path, size_bytes, record_bytes);
  }
  return {};
}

Status ShardReader::read(const StepPlan& plan, const ShardRange& range) {
  const std::span<const InputSource> sources = plan.listing.sources();
  const std::string_view separator = plan.alignment.separator();
  const std::size_t first = source_at(sources, range.begin);
  const std::size_t last = source_at(sources, range.end - 1);
  std::uint64_t expected_bytes = (last - first) * separator.size();
  for (std::size_t index = first; index <= last; ++index) {
    const bool is_compressed = sources[index].compression != Compression::kNone;
    expected_bytes += bytes_of(range, sources[index]) * (is_compressed ? kInflationGuess : 1);
  }
  PINION_RETURN_IF_ERROR(
      explain(text_.begin(std::min(expected_bytes, text_.size_bytes_max())), range));
  for (std::size_t index = first; index <= last; ++index) {
    const InputSource& source = sources[index];
    if (index > first && !continues(sources[index - 1], source) && text_.size() > 0 &&
        !text_.ends_with(separator)) {
      PINION_RETURN_IF_ERROR(explain(text_.reserve(separator.size()), range));
      text_.append(separator);
    }
    PINION_RETURN_IF_ERROR(source.compression != Compression::kNone
                               ? inflate_source(plan, source)
                               : read_part(plan.listing, index, range));
  }
  return {};
}

Result<Shard> ShardReader::load(const StepPlan& plan, std::uint64_t id, std::uint32_t attempt,
                                std::uint64_t job_seed) {
  if (id >= plan.shards.size()) {
    return Status(ErrorCode::kOutOfRange, "shard " + std::to_string(id) + " of a plan of " +
                                              std::to_string(plan.shards.size()) +
                                              " shards was asked for");
  }
  const ShardRange& range = plan.shards[id];
  Shard::Fields fields = {.id = id,
                          .begin = range.begin,
                          .end = range.end,
                          .seed = shard_seed(job_seed, id),
                          .attempt = attempt,
                          .bytes = {}};
  if (plan.listing.kind() == InputKind::kIndices) {
    return Shard(fields);
  }

  partition_ = Blob();
  lacked_memory_ = false;
  const std::size_t first = source_at(plan.listing.sources(), range.begin);
  const InputSource& source = plan.listing.sources()[first];
  if (lies_in_blob(source) && range.end <= end_of(source)) {
    Result<Blob> blob = plan.listing.open_blob(first);
    if (!blob) {
      return std::move(blob).error();
    }
    fields.bytes = mapped_bytes(*blob, source, range);
    if (source.is_partition) {
      partition_ = std::move(*blob);
    }
    if (!fields.bytes.empty()) {
      return Shard(fields);
    }
  }
  const Status was_read = read(plan, range);
  lacked_memory_ = text_.lacked_memory();
  PINION_RETURN_IF_ERROR(was_read);
  fields.bytes = text_.finish();
  fields.lead_bytes = kLeadBytes;
  return Shard(fields);
}

}  // namespace pinion
