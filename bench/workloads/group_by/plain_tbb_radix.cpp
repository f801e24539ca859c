// Group-by sum by hand with oneTBB, the strategy for many keys: all rows are first scattered into
// 64 partitions by hash, so that the table of a partition stays in the cache while it is built.

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "group_by/answer.hpp"
#include "group_by/columns.hpp"
#include "group_by/sum_table.hpp"
#include "harness.hpp"
#include "pages.hpp"

namespace {

using pinion::bench::Columns;
using pinion::bench::kPartitions;
using pinion::bench::Pages;
using pinion::bench::partition_of;
using pinion::bench::SumTable;

// Rows partition by partition; within one, block by block of the input.
struct Scattered {
  Pages<std::uint32_t> keys;
  Pages<double> values;
  std::array<std::size_t, kPartitions + 1> begins = {};
};

using Counts = std::array<std::size_t, kPartitions>;

// Where each block writes its rows of each partition; fills in `begins`.
std::vector<Counts> plan(const Columns& columns, std::size_t block_rows, std::size_t blocks,
                         Scattered& rows) {
  std::vector<Counts> next(blocks);
  tbb::parallel_for(std::size_t{0}, blocks, [&](std::size_t block) {
    Counts counts = {};
    const std::size_t end = std::min((block + 1) * block_rows, columns.rows());
    for (std::size_t row = block * block_rows; row < end; ++row) {
      ++counts[partition_of(columns.keys()[row])];
    }
    next[block] = counts;
  });
  std::size_t at = 0;
  for (std::size_t p = 0; p < kPartitions; ++p) {
    rows.begins[p] = at;
    for (Counts& counts : next) {
      const std::size_t count = counts[p];
      counts[p] = at;
      at += count;
    }
  }
  rows.begins[kPartitions] = at;
  return next;
}

void scatter_block(const Columns& columns, std::size_t begin, std::size_t end, Counts next,
                   Scattered& rows) {
  for (std::size_t row = begin; row < end; ++row) {
    const std::uint32_t key = columns.keys()[row];
    const std::size_t at = next[partition_of(key)]++;
    rows.keys[at] = key;
    rows.values[at] = columns.values()[row];
  }
}

pinion::bench::Repetition run(const pinion::bench::Options& options) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, options.workers);
  const pinion::bench::Stopwatch watch;
  const Columns columns(options.paths.at(0));
  const std::size_t blocks = 16 * options.workers;
  const std::size_t block_rows = (columns.rows() + blocks - 1) / blocks;
  Scattered rows = {.keys = Pages<std::uint32_t>(columns.rows()),
                    .values = Pages<double>(columns.rows())};
  const std::vector<Counts> next = plan(columns, block_rows, blocks, rows);
  tbb::parallel_for(std::size_t{0}, blocks, [&](std::size_t block) {
    const std::size_t end = std::min((block + 1) * block_rows, columns.rows());
    scatter_block(columns, std::min(block * block_rows, end), end, next[block], rows);
  });
  std::vector<SumTable> tables(kPartitions);
  tbb::parallel_for(std::size_t{0}, kPartitions, [&](std::size_t p) {
    for (std::size_t row = rows.begins[p]; row < rows.begins[p + 1]; ++row) {
      tables[p].add(rows.keys[row], rows.values[row]);
    }
  });
  return pinion::bench::answer_of(watch, columns.rows(), tables);
}

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_program({PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER}, argc, argv,
                                    run);
}
