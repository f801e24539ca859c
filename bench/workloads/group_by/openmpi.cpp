// Group-by sum by hand with MPI: each rank adds an equal part of the rows up in a table of its own,
// the ranks exchange their groups by the top bits of the hash, and each adds up those that it owns.
// The answer stays distributed.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "checksums.hpp"
#include "group_by/columns.hpp"
#include "group_by/sum_table.hpp"
#include "harness.hpp"
#include "mpi_world.hpp"

namespace {

using pinion::bench::Columns;
using pinion::bench::MpiWorld;
using pinion::bench::SumTable;

pinion::bench::Repetition run(const MpiWorld& world, const pinion::bench::Options& options) {
  MpiWorld::wait_for_all();
  const pinion::bench::Stopwatch watch;
  const Columns columns(options.paths.at(0));
  const std::size_t begin = world.begin_of(world.rank(), columns.rows());
  const std::size_t end = world.begin_of(world.rank() + 1, columns.rows());
  SumTable table;
  for (std::size_t row = begin; row < end; ++row) {
    table.add(columns.keys()[row], columns.values()[row]);
  }
  std::vector<std::vector<SumTable::Entry>> out(world.size());
  for (std::vector<SumTable::Entry>& entries : out) {
    entries.reserve(table.size() / world.size() * 5 / 4);
  }
  table.for_each([&](const SumTable::Entry& entry) {
    out[world.owner_of(pinion::bench::hash_of(entry.key()))].push_back(entry);
  });
  const std::vector<SumTable::Entry> in = world.exchange(out);
  SumTable owned(in.size());
  for (const SumTable::Entry& entry : in) {
    owned.add(entry.key(), entry.sum);
  }
  MpiWorld::wait_for_all();
  pinion::bench::Repetition mine = {.time = watch.elapsed(), .rows = end - begin};
  owned.for_each([&](const SumTable::Entry& entry) {
    mine.checksum += pinion::bench::group_part(entry.key(), entry.sum);
  });
  return MpiWorld::sum(mine);
}

}  // namespace

int main(int argc, char** argv) {
  const MpiWorld world(argc, argv);
  return pinion::bench::run_program(
      {PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER}, argc, argv,
      [&world](const pinion::bench::Options& options) { return run(world, options); });
}
