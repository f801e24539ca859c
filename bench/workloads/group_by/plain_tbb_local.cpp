// Group-by sum by hand with oneTBB, the strategy for few keys: a table for each thread, then a
// merge of 64 partitions by the top bits of the hash.

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/enumerable_thread_specific.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "group_by/answer.hpp"
#include "group_by/columns.hpp"
#include "group_by/sum_table.hpp"
#include "harness.hpp"

namespace {

using pinion::bench::Columns;
using pinion::bench::kPartitions;
using pinion::bench::SumTable;

constexpr std::size_t kBlockRows = std::size_t{1} << 19;

using ThreadTables = tbb::enumerable_thread_specific<SumTable>;

std::vector<SumTable> merge(const ThreadTables& tables) {
  using Parts = std::array<std::vector<SumTable::Entry>, kPartitions>;
  std::vector<const SumTable*> sources;
  for (const SumTable& table : tables) {
    sources.push_back(&table);
  }
  std::vector<Parts> parts(sources.size());
  tbb::parallel_for(std::size_t{0}, sources.size(), [&](std::size_t t) {
    for (auto& part : parts[t]) {
      part.reserve(sources[t]->size() / kPartitions * 5 / 4);
    }
    sources[t]->for_each([&](const SumTable::Entry& entry) {
      parts[t][pinion::bench::partition_of(entry.key())].push_back(entry);
    });
  });
  std::vector<SumTable> merged(kPartitions);
  tbb::parallel_for(std::size_t{0}, kPartitions, [&](std::size_t p) {
    std::size_t size = 0;
    for (const Parts& source : parts) {
      size += source[p].size();
    }
    merged[p].reserve(size);
    for (const Parts& source : parts) {
      for (const SumTable::Entry& entry : source[p]) {
        merged[p].add(entry.key(), entry.sum);
      }
    }
  });
  return merged;
}

pinion::bench::Repetition run(const pinion::bench::Options& options) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, options.workers);
  const pinion::bench::Stopwatch watch;
  const Columns columns(options.paths.at(0));
  const std::uint32_t* const keys = columns.keys();
  const double* const values = columns.values();
  ThreadTables tables;
  tbb::parallel_for(tbb::blocked_range<std::size_t>(0, columns.rows(), kBlockRows),
                    [&](const tbb::blocked_range<std::size_t>& rows) {
                      SumTable& table = tables.local();
                      for (std::size_t row = rows.begin(); row < rows.end(); ++row) {
                        table.add(keys[row], values[row]);
                      }
                    });
  const std::vector<SumTable> merged = merge(tables);
  return pinion::bench::answer_of(watch, columns.rows(), merged);
}

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_program({PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER}, argc, argv,
                                    run);
}
