#include "engine/shard_reader.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <pinion/core/assert.hpp>

#include "engine/input_source.hpp"

namespace pinion {
namespace {

// What may be read behind a shard's last byte, so that bodies can look at whole vectors of bytes.
constexpr std::uint64_t kTailBytes = 64;

// Growing by whole steps spares bodies with shards of nearly equal size a new buffer each time.
constexpr std::uint64_t kGrowthBytes = std::uint64_t{64} << 10;

// Odd, and without pattern: keeps zeros from being mixed to zero.
constexpr std::uint64_t kGoldenRatio = 0x9e3779b97f4a7c15u;

// One to one, and each bit of the answer depends on each bit of `value` (the finalizer of
// SplitMix64).
std::uint64_t mix(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

}  // namespace

std::uint64_t shard_seed(std::uint64_t job_seed, std::uint64_t id) noexcept {
  // Mixed twice, so that shard i of a job and shard i + 1 of the job with the seed before it have
  // nothing in common.
  return mix(mix(job_seed + kGoldenRatio) ^ (id * kGoldenRatio));
}

Status ShardReader::reserve(std::uint64_t size_bytes) {
  if (size_bytes <= capacity_bytes_) {
    return {};
  }
  const std::uint64_t capacity_bytes =
      (size_bytes + kGrowthBytes - 1) / kGrowthBytes * kGrowthBytes;
  // Before the larger one is asked for: a worker never holds both.
  memory_.reset();
  capacity_bytes_ = 0;
  memory_.reset(new (std::align_val_t{64}, std::nothrow) std::byte[capacity_bytes]);
  if (memory_ == nullptr) {
    return {
        ErrorCode::kResourceExhausted,
        "no memory for a shard of " + std::to_string(size_bytes) + " bytes; make shards smaller"};
  }
  capacity_bytes_ = capacity_bytes;
  return {};
}

Status ShardReader::read(const InputListing& listing, std::size_t source, std::uint64_t offset,
                         std::span<std::byte> out) {
  const InputSource& from = listing.sources()[source];
  if (is_stream(from)) {
    const Result<std::size_t> count = listing.read(source, offset, out);
    PINION_ASSERT(!count || *count == out.size());
    return count ? Status() : count.error();
  }
  // A step before this one may have put another file in the place of the one that is open.
  if (!file_ || file_path_ != from.path || !file_->is_at(from.path)) {
    file_.reset();
    Result<InputFile> opened = InputFile::open(from.path);
    if (!opened) {
      return std::move(opened).error();
    }
    file_.emplace(std::move(opened).value());
    file_path_ = from.path;
  }
  return file_->read(offset, from.size_bytes, out);
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

  const std::span<const InputSource> sources = plan.listing.sources();
  const std::size_t first = source_at(sources, range.begin);
  const std::size_t last = source_at(sources, range.end - 1);
  PINION_RETURN_IF_ERROR(reserve(range.end - range.begin + (last - first) + kTailBytes));

  std::byte* out = memory_.get();
  for (std::size_t index = first; index <= last; ++index) {
    const InputSource& source = sources[index];
    if (index > first && !continues(sources[index - 1], source) && out[-1] != std::byte{'\n'}) {
      *out++ = std::byte{'\n'};
    }
    const std::uint64_t begin = std::max(range.begin, source.begin);
    const auto count = static_cast<std::size_t>(std::min(range.end, end_of(source)) - begin);
    PINION_RETURN_IF_ERROR(read(plan.listing, index, begin - source.begin, {out, count}));
    out += count;
  }
  std::memset(out, 0, kTailBytes);
  fields.bytes = {memory_.get(), out};
  return Shard(fields);
}

}  // namespace pinion
