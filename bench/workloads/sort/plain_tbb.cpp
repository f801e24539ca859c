// Sort by hand with oneTBB: 16-byte entries (first 8 bytes of the key, number of the record) are
// split into 4096 buckets by their leading bits, each bucket is sorted by std::sort, and the
// records are gathered in that order, prefetched some way ahead.

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "harness.hpp"
#include "mapped_file.hpp"
#include "pages.hpp"
#include "sort/records.hpp"

namespace {

using pinion::bench::kRecordBytes;
using pinion::bench::kRecordKeyBytes;
using pinion::bench::MappedFile;
using pinion::bench::Pages;

constexpr std::size_t kBuckets = 4096;
constexpr std::size_t kPrefetchDistance = 16;

struct Entry {
  std::uint64_t prefix;
  std::uint64_t index;
};

using Counts = std::array<std::uint32_t, kBuckets>;

std::uint64_t prefix_of(const char* record) {
  static_assert(std::endian::native == std::endian::little);
  std::uint64_t prefix = 0;
  std::memcpy(&prefix, record, sizeof(prefix));
  return __builtin_bswap64(prefix);
}

// Splits the range of prefixes that occur evenly: printable keys use a part of the bits only.
struct Buckets {
  std::uint64_t least = 0;
  unsigned shift = 52;

  [[nodiscard]] std::size_t of(std::uint64_t prefix) const {
    return static_cast<std::size_t>((prefix - least) >> shift);
  }
};

Buckets find_buckets(const std::vector<std::uint64_t>& least,
                     const std::vector<std::uint64_t>& greatest) {
  const std::uint64_t first = *std::min_element(least.begin(), least.end());
  const std::uint64_t last = *std::max_element(greatest.begin(), greatest.end());
  const auto bits = static_cast<unsigned>(std::bit_width(last - first));
  return {first, bits > 12 ? bits - 12 : 0};
}

void sort_bucket(const char* records, Entry* begin, Entry* end, char* out) {
  std::sort(begin, end, [records](const Entry& left, const Entry& right) {
    if (left.prefix != right.prefix) {
      return left.prefix < right.prefix;
    }
    return std::memcmp(records + left.index * kRecordBytes + 8,
                       records + right.index * kRecordBytes + 8, kRecordKeyBytes - 8) < 0;
  });
  for (const Entry* entry = begin; entry < end; ++entry, out += kRecordBytes) {
    if (entry + kPrefetchDistance < end) {
      const char* const ahead = records + entry[kPrefetchDistance].index * kRecordBytes;
      __builtin_prefetch(ahead);
      __builtin_prefetch(ahead + 64);
    }
    std::memcpy(out, records + entry->index * kRecordBytes, kRecordBytes);
  }
}

// The entries of all records, bucket by bucket; `begins` tells where each bucket begins.
Pages<Entry> split(const char* records, std::size_t count, std::size_t blocks,
                   std::vector<std::size_t>& begins) {
  const std::size_t block_size = (count + blocks - 1) / blocks;
  const auto bound = [=](std::size_t block) { return std::min(block * block_size, count); };
  Pages<std::uint64_t> prefixes(count);
  std::vector<std::uint64_t> least(blocks, ~std::uint64_t{0});
  std::vector<std::uint64_t> greatest(blocks, 0);
  tbb::parallel_for(std::size_t{0}, blocks, [&](std::size_t block) {
    for (std::size_t i = bound(block); i < bound(block + 1); ++i) {
      prefixes[i] = prefix_of(records + i * kRecordBytes);
      least[block] = std::min(least[block], prefixes[i]);
      greatest[block] = std::max(greatest[block], prefixes[i]);
    }
  });
  const Buckets buckets = find_buckets(least, greatest);
  std::vector<Counts> next(blocks);
  tbb::parallel_for(std::size_t{0}, blocks, [&](std::size_t block) {
    for (std::size_t i = bound(block); i < bound(block + 1); ++i) {
      ++next[block][buckets.of(prefixes[i])];
    }
  });
  std::uint32_t at = 0;
  for (std::size_t b = 0; b < kBuckets; ++b) {
    begins.push_back(at);
    for (Counts& counts : next) {
      const std::uint32_t size = counts[b];
      counts[b] = at;
      at += size;
    }
  }
  begins.push_back(at);
  Pages<Entry> entries(count);
  tbb::parallel_for(std::size_t{0}, blocks, [&](std::size_t block) {
    for (std::size_t i = bound(block); i < bound(block + 1); ++i) {
      entries[next[block][buckets.of(prefixes[i])]++] = {prefixes[i], i};
    }
  });
  return entries;
}

pinion::bench::Repetition run(const pinion::bench::Options& options) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, options.workers);
  const pinion::bench::Stopwatch watch;
  const MappedFile file(options.paths.at(0));
  const std::size_t count = pinion::bench::record_count(options.paths[0], file.size());
  std::vector<std::size_t> begins;
  Pages<Entry> entries = split(file.data(), count, 8 * options.workers, begins);
  Pages<char> sorted(count * kRecordBytes);
  tbb::parallel_for(std::size_t{0}, kBuckets, [&](std::size_t b) {
    sort_bucket(file.data(), entries.begin() + begins[b], entries.begin() + begins[b + 1],
                sorted.begin() + begins[b] * kRecordBytes);
  });
  const pinion::bench::Elapsed time = watch.elapsed();
  return {.time = time,
          .bytes = file.size(),
          .rows = count,
          .checksum = pinion::bench::sorted_checksum(sorted.data(), count)};
}

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_program({PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER}, argc, argv,
                                    run);
}
