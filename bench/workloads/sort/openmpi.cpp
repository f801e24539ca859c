// Sort by hand with MPI, as a sample sort: splitters from a sample of all ranks' keys, records that
// belong to another rank are packed and exchanged at once, and each rank sorts its range of keys as
// plain_tbb.cpp does: entries of 16 bytes in buckets by their leading bits, std::sort, and records
// gathered in that order, prefetched some way ahead. Its own records stay in the mapped file until
// then. The answer stays distributed: rank after rank.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "checksums.hpp"
#include "harness.hpp"
#include "mapped_file.hpp"
#include "mpi_world.hpp"
#include "pages.hpp"
#include "sort/records.hpp"

namespace {

using pinion::bench::kRecordBytes;
using pinion::bench::kRecordKeyBytes;
using pinion::bench::MappedFile;
using pinion::bench::MpiWorld;
using pinion::bench::Pages;

constexpr std::size_t kSampleCount = 4096;  // Of each rank.
constexpr std::size_t kBuckets = 4096;
constexpr std::size_t kPrefetchDistance = 16;

struct Entry {
  std::uint64_t prefix;
  const char* record;
};

std::uint64_t prefix_of(const char* record) {
  static_assert(std::endian::native == std::endian::little);
  std::uint64_t prefix = 0;
  std::memcpy(&prefix, record, sizeof(prefix));
  return __builtin_bswap64(prefix);
}

// The least prefix of each rank but the first.
std::vector<std::uint64_t> find_splitters(const MpiWorld& world, const char* records,
                                          std::size_t count) {
  std::array<std::uint64_t, kSampleCount> mine = {};
  for (std::size_t i = 0; i < kSampleCount && count > 0; ++i) {
    mine[i] = prefix_of(records + i * count / kSampleCount * kRecordBytes);
  }
  std::vector<std::uint64_t> all(kSampleCount * world.size());
  MPI_Allgather(mine.data(), kSampleCount, MPI_UINT64_T, all.data(), kSampleCount, MPI_UINT64_T,
                MPI_COMM_WORLD);
  std::sort(all.begin(), all.end());
  std::vector<std::uint64_t> splitters;
  for (std::size_t rank = 1; rank < world.size(); ++rank) {
    splitters.push_back(all[rank * kSampleCount]);
  }
  return splitters;
}

struct Received {
  Pages<char> records;
  std::size_t count = 0;
};

// Keeps entries of this rank's own records; packs the others and exchanges them.
Received exchange(const MpiWorld& world, const char* records, std::size_t count,
                  std::vector<Entry>& kept) {
  const std::vector<std::uint64_t> splitters = find_splitters(world, records, count);
  std::vector<std::uint8_t> owners(count);
  std::vector<int> out_counts(world.size());
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t prefix = prefix_of(records + i * kRecordBytes);
    const auto owner =
        std::upper_bound(splitters.begin(), splitters.end(), prefix) - splitters.begin();
    owners[i] = static_cast<std::uint8_t>(owner);
    ++out_counts[static_cast<std::size_t>(owner)];
  }
  kept.reserve(2 * static_cast<std::size_t>(out_counts[world.rank()]));
  out_counts[world.rank()] = 0;
  std::vector<std::size_t> next(1, 0);
  for (const int out_count : out_counts) {
    next.push_back(next.back() + static_cast<std::size_t>(out_count));
  }
  Pages<char> packed(next.back() * kRecordBytes);
  for (std::size_t i = 0; i < count; ++i) {
    const char* const record = records + i * kRecordBytes;
    if (owners[i] == world.rank()) {
      kept.push_back({prefix_of(record), record});
    } else {
      std::memcpy(packed.data() + next[owners[i]]++ * kRecordBytes, record, kRecordBytes);
    }
  }
  const std::vector<int> in_counts = world.exchange_counts(out_counts);
  Received received;
  for (const int in_count : in_counts) {
    received.count += static_cast<std::size_t>(in_count);
  }
  received.records = Pages<char>(received.count * kRecordBytes);
  world.exchange_items(packed.data(), out_counts, received.records.data(), in_counts, kRecordBytes);
  return received;
}

void sort_bucket(Entry* begin, Entry* end, char* out) {
  std::sort(begin, end, [](const Entry& left, const Entry& right) {
    if (left.prefix != right.prefix) {
      return left.prefix < right.prefix;
    }
    return std::memcmp(left.record + 8, right.record + 8, kRecordKeyBytes - 8) < 0;
  });
  for (const Entry* entry = begin; entry < end; ++entry, out += kRecordBytes) {
    if (entry + kPrefetchDistance < end) {
      __builtin_prefetch(entry[kPrefetchDistance].record);
      __builtin_prefetch(entry[kPrefetchDistance].record + 64);
    }
    std::memcpy(out, entry->record, kRecordBytes);
  }
}

Pages<char> sort_entries(const std::vector<Entry>& entries) {
  std::uint64_t least = ~std::uint64_t{0};
  std::uint64_t greatest = 0;
  for (const Entry& entry : entries) {
    least = std::min(least, entry.prefix);
    greatest = std::max(greatest, entry.prefix);
  }
  const auto bits = static_cast<unsigned>(std::bit_width(greatest - std::min(least, greatest)));
  const unsigned shift = bits > 12 ? bits - 12 : 0;
  std::vector<std::size_t> begins(kBuckets + 1);
  for (const Entry& entry : entries) {
    ++begins[((entry.prefix - least) >> shift) + 1];
  }
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    begins[bucket + 1] += begins[bucket];
  }
  Pages<Entry> bucketed(entries.size());
  std::vector<std::size_t> next = begins;
  for (const Entry& entry : entries) {
    bucketed[next[(entry.prefix - least) >> shift]++] = entry;
  }
  Pages<char> sorted(entries.size() * kRecordBytes);
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    sort_bucket(bucketed.begin() + begins[bucket], bucketed.begin() + begins[bucket + 1],
                sorted.begin() + begins[bucket] * kRecordBytes);
  }
  return sorted;
}

// The part of the checksum for records that come after `before` others.
std::uint64_t checksum_of(const char* records, std::size_t count, std::size_t before) {
  std::uint64_t checksum = pinion::bench::sorted_checksum(records, count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t prefix = 0;
    std::memcpy(&prefix, records + i * kRecordBytes, sizeof(prefix));
    checksum += before * pinion::bench::mix64(prefix);
  }
  return checksum;
}

pinion::bench::Repetition run(const MpiWorld& world, const pinion::bench::Options& options) {
  MpiWorld::wait_for_all();
  const pinion::bench::Stopwatch watch;
  const MappedFile file(options.paths.at(0));
  const std::size_t count = pinion::bench::record_count(options.paths[0], file.size());
  const std::size_t begin = world.begin_of(world.rank(), count);
  const std::size_t end = world.begin_of(world.rank() + 1, count);
  std::vector<Entry> entries;
  const Received received =
      exchange(world, file.data() + begin * kRecordBytes, end - begin, entries);
  for (std::size_t i = 0; i < received.count; ++i) {
    const char* const record = received.records.begin() + i * kRecordBytes;
    entries.push_back({prefix_of(record), record});
  }
  const Pages<char> sorted = sort_entries(entries);
  MpiWorld::wait_for_all();
  const pinion::bench::Elapsed time = watch.elapsed();
  std::uint64_t before = 0;
  const std::uint64_t size = entries.size();
  MPI_Exscan(&size, &before, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
  before = world.rank() == 0 ? 0 : before;
  return MpiWorld::sum({.time = time,
                        .bytes = (end - begin) * kRecordBytes,
                        .rows = end - begin,
                        .checksum = checksum_of(sorted.begin(), entries.size(), before)});
}

}  // namespace

int main(int argc, char** argv) {
  const MpiWorld world(argc, argv);
  return pinion::bench::run_program(
      {PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER}, argc, argv,
      [&world](const pinion::bench::Options& options) { return run(world, options); });
}
