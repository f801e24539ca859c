#include "text_columns.hpp"

#include <algorithm>

namespace pinion {

std::vector<std::string> align(const std::vector<TextRow>& rows, std::optional<std::size_t> right) {
  std::vector<std::size_t> widths;
  for (const TextRow& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], row[column].size());
    }
  }
  std::vector<std::string> lines;
  for (const TextRow& row : rows) {
    std::string line;
    for (std::size_t column = 0; column < row.size(); ++column) {
      if (widths[column] == 0) {
        continue;
      }
      const std::string padding(widths[column] - row[column].size(), ' ');
      line += line.empty() ? "" : "  ";
      line += column == right ? padding + row[column] : row[column] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace pinion
