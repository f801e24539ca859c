#include <pinion/shard/shard_runs.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include <pinion/core/assert.hpp>
#include <pinion/shard/partitioned_blob.hpp>

namespace pinion {
namespace {

constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kMagic = 0x534e'5552'4e49'5031;  // "1PINRUNS" in memory.

struct Header {
  std::uint64_t magic;
  std::uint64_t run_count;
  std::uint32_t record_width;
  std::uint32_t reserved;
};
static_assert(sizeof(Header) == 24);

struct RunSlot {
  std::uint64_t shard;
  std::uint64_t offset;
  std::uint64_t record_count;
  std::uint64_t byte_count;
};
static_assert(sizeof(RunSlot) == 32);

Status damaged(const std::string& what) {
  return Status(ErrorCode::kDataLoss, "sealed records are damaged: " + what);
}

constexpr std::uint64_t align_up(std::uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

std::uint64_t size_of(const ShardRun& run) {
  return run.ends.size_bytes() + run.bytes.size();
}

std::uint64_t length_of(std::span<const ShardRun* const> runs) {
  std::uint64_t end = sizeof(Header) + runs.size() * sizeof(RunSlot);
  for (const ShardRun* run : runs) {
    end = align_up(end) + size_of(*run);
  }
  return end;
}

void write(std::span<std::byte> out, RecordWidth width, std::span<const ShardRun* const> runs) {
  const Header header = {
      .magic = kMagic, .run_count = runs.size(), .record_width = width, .reserved = 0};
  std::memcpy(out.data(), &header, sizeof(header));
  std::uint64_t end = sizeof(Header) + runs.size() * sizeof(RunSlot);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const ShardRun& run = *runs[i];
    const RunSlot slot = {.shard = run.shard,
                          .offset = align_up(end),
                          .record_count = run.record_count,
                          .byte_count = run.bytes.size()};
    std::memcpy(out.data() + sizeof(Header) + i * sizeof(RunSlot), &slot, sizeof(slot));
    std::ranges::copy(std::as_bytes(run.ends), out.begin() + std::ptrdiff_t(slot.offset));
    std::ranges::copy(run.bytes, out.begin() + std::ptrdiff_t(slot.offset + run.ends.size_bytes()));
    end = slot.offset + size_of(run);
  }
}

// The run that a slot says it is; null data when the slot leads outside or contradicts itself.
Result<ShardRun> open_run(std::span<const std::byte> partition, const RunSlot& slot,
                          RecordWidth width) {
  const auto refused = [&] { return damaged("the run of shard " + std::to_string(slot.shard)); };
  if (slot.offset > partition.size() || slot.offset % kAlignment != 0 ||
      slot.byte_count > partition.size() - slot.offset) {
    return refused();
  }
  const std::uint64_t room = partition.size() - slot.offset - slot.byte_count;
  ShardRun run = {.shard = slot.shard, .record_count = slot.record_count};
  std::uint64_t ends_bytes = 0;
  if (width == 0) {
    if (slot.record_count > room / sizeof(std::uint64_t)) {
      return refused();
    }
    ends_bytes = slot.record_count * sizeof(std::uint64_t);
    run.ends = {reinterpret_cast<const std::uint64_t*>(partition.data() + slot.offset),
                slot.record_count};
    const std::uint64_t last = run.ends.empty() ? 0 : run.ends.back();
    if (!std::ranges::is_sorted(run.ends) || last != slot.byte_count) {
      return refused();
    }
  } else if (slot.byte_count % width != 0 || slot.byte_count / width != slot.record_count) {
    return refused();
  }
  run.bytes = partition.subspan(slot.offset + ends_bytes, slot.byte_count);
  return run;
}

}  // namespace

Result<std::vector<ShardRun>> open_shard_runs(std::span<const std::byte> partition,
                                              RecordWidth width) {
  Header header;
  if (partition.size() < sizeof(header) ||
      reinterpret_cast<std::uintptr_t>(partition.data()) % kAlignment != 0) {
    return damaged("a partition of " + std::to_string(partition.size()) +
                   " bytes has no header, or is not aligned");
  }
  std::memcpy(&header, partition.data(), sizeof(header));
  const std::uint64_t run_count_max = (partition.size() - sizeof(header)) / sizeof(RunSlot);
  if (header.magic != kMagic || header.record_width != width || header.reserved != 0 ||
      header.run_count > run_count_max) {
    return damaged("a partition of " + std::to_string(partition.size()) +
                   " bytes does not begin with a header for records of " + std::to_string(width) +
                   " bytes");
  }
  std::vector<ShardRun> runs;
  runs.reserve(header.run_count);
  for (std::uint64_t i = 0; i < header.run_count; ++i) {
    RunSlot slot;
    std::memcpy(&slot, partition.data() + sizeof(header) + i * sizeof(slot), sizeof(slot));
    Result<ShardRun> run = open_run(partition, slot, width);
    if (!run) {
      return Status(run.error());
    }
    if (!runs.empty() && runs.back().shard >= run->shard) {
      return damaged("the runs are not in the order of their shards");
    }
    runs.push_back(*run);
  }
  return runs;
}

Status sort_shard_runs(std::vector<ShardRun>& runs) {
  std::ranges::sort(runs, {}, &ShardRun::shard);
  const auto twice = std::ranges::adjacent_find(runs, {}, &ShardRun::shard);
  if (twice != runs.end()) {
    return damaged("shard " + std::to_string(twice->shard) + " is there twice");
  }
  return {};
}

Result<Blob> seal_shard_runs(IBlobStore& store, Place place, std::uint32_t partition_count,
                             RecordWidth width, std::span<const ShardRun> runs) {
  PINION_ASSERT(partition_count > 0);
  std::vector<std::vector<const ShardRun*>> members(partition_count);
  for (const ShardRun& run : runs) {
    members[run.shard % partition_count].push_back(&run);
  }
  std::vector<std::uint64_t> lengths;
  lengths.reserve(members.size());
  for (const auto& partition : members) {
    lengths.push_back(length_of(partition));
  }
  const PartitionedLayout layout = layout_partitions(lengths);
  Result<BlobWriter> writer = store.create(layout.size_bytes, place);
  if (!writer) {
    return std::move(writer).error();
  }
  write_partition_table(writer->bytes(), layout);
  for (std::uint32_t i = 0; i < partition_count; ++i) {
    write(partition_of(writer->bytes(), layout, i), width, members[i]);
  }
  return writer->seal();
}

}  // namespace pinion
