#pragma once

#include <cstddef>
#include <vector>

#include "checksums.hpp"
#include "group_by/sum_table.hpp"
#include "harness.hpp"

namespace pinion::bench {

/// Call it when the tables are complete.
[[nodiscard]] inline Repetition answer_of(const Stopwatch& watch, std::size_t rows,
                                          const std::vector<SumTable>& tables) {
  Repetition repetition = {.time = watch.elapsed(), .rows = rows};
  for (const SumTable& table : tables) {
    table.for_each([&](const SumTable::Entry& entry) {
      repetition.checksum += group_part(entry.key(), entry.sum);
    });
  }
  return repetition;
}

}  // namespace pinion::bench
