#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace pinion {

/// The cells of a line.
using TextRow = std::vector<std::string>;

/// One line a row, columns two spaces apart, without a column that is empty in all rows. The column
/// `right` is aligned to the right.
[[nodiscard]] std::vector<std::string> align(const std::vector<TextRow>& rows,
                                             std::optional<std::size_t> right = {});

}  // namespace pinion
