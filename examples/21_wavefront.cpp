// How many letters two words have in common, in order: each cell of the table needs the one above,
// the one to the left and the one between. The graph is compiled once, and run for several pairs.

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/executor.hpp>
#include <pinion/dag/graph.hpp>

int main() {
  constexpr std::size_t kSide = 12;
  auto executor = pinion::Executor::create({.groups = {{.worker_count = 2}}}).value();
  std::string left;
  std::string above;
  // With a row and a column of zeros around it.
  std::vector<int> table((kSide + 1) * (kSide + 1));
  const auto at = [&](std::size_t row, std::size_t column) -> int& {
    return table[row * (kSide + 1) + column];
  };

  pinion::Graph graph;
  std::vector<pinion::TaskId> cells;
  for (std::size_t cell = 0; cell < kSide * kSide; ++cell) {
    const std::size_t row = cell / kSide + 1;
    const std::size_t column = cell % kSide + 1;
    cells.push_back(graph.add([&, row, column] {
      at(row, column) = left[row - 1] == above[column - 1]
                            ? at(row - 1, column - 1) + 1
                            : std::max(at(row - 1, column), at(row, column - 1));
    }));
    if (row > 1) {
      graph.add_edge(cells[cell - kSide], cells[cell]);
    }
    if (column > 1) {
      graph.add_edge(cells[cell - 1], cells[cell]);
    }
  }
  const pinion::CompiledGraph compiled = std::move(graph).compile().value();

  using Words = std::pair<const char*, const char*>;
  for (const auto& [first, second] :
       {Words("compensation", "compilations"), Words("architecture", "characterise"),
        Words("prerequisite", "presidential")}) {
    left = first;
    above = second;
    const pinion::Status status = compiled.run(*executor)->wait();
    if (!status.ok()) {
      pinion::exit_with(status);
    }
    std::printf("%s, %s: %d\n", first, second, at(kSide, kSide));
  }
}
