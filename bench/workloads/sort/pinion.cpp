// Sort with Pinion: records are copied once into the blobs of their batches, range of keys after
// range; each range is brought together, sorted in cache and written into its own blob, and what it
// was merged from is given back.

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

#include <pinion/core/bytes.hpp>
#include <pinion/shard/sort.hpp>

#include "harness.hpp"
#include "job.hpp"
#include "sort/records.hpp"

namespace {

using namespace pinion::literals;
using pinion::bench::kRecordBytes;
using pinion::bench::kRecordKeyBytes;

// Large enough that its cost of leasing does not show, small enough that workers
// end together.
constexpr std::uint64_t kShardBytes = 40'000 * kRecordBytes;

// That of records.hpp, of records that lie in several partitions.
std::uint64_t checksum_of(const pinion::SortedResult& sorted) {
  std::uint64_t checksum = 0;
  std::uint64_t count = 0;
  std::string_view last;
  for (const std::string_view record : sorted) {
    if (last.substr(0, kRecordKeyBytes) > record.substr(0, kRecordKeyBytes)) {
      throw std::runtime_error("record " + std::to_string(count) + " is out of order");
    }
    std::uint64_t prefix = 0;
    std::memcpy(&prefix, record.data(), sizeof(prefix));
    checksum += pinion::bench::record_hash(record.data(), kRecordBytes) +
                ++count * pinion::bench::mix64(prefix);
    last = record;
  }
  return checksum;
}

pinion::bench::Repetition run(pinion::Job& job, const pinion::bench::Options& options) {
  const pinion::bench::Stopwatch watch;
  const pinion::SortedResult sorted =
      pinion::sort(job, pinion::files(options.paths), pinion::by_bytes(kShardBytes),
                   pinion::fixed_records(kRecordBytes, {.offset = 0, .length = kRecordKeyBytes}))
          .value();
  const auto time = watch.elapsed();
  return {.time = time,
          .bytes = sorted.size() * kRecordBytes,
          .rows = sorted.size(),
          .checksum = checksum_of(sorted)};
}

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_job({"sort", "pinion"}, argc, argv, run);
}
