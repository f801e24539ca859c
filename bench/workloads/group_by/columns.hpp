#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "mapped_file.hpp"

namespace pinion::bench {

/// The mapped columns of a group-by file: all keys, then all values.
class Columns {
 public:
  explicit Columns(const std::string& path) : file_(path), rows_(file_.size() / kRowBytes) {
    if (file_.size() % (2 * kRowBytes) != 0) {
      throw std::invalid_argument(path + " has " + std::to_string(file_.size()) +
                                  " bytes; expected an even number of rows of 12");
    }
  }

  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] const std::uint32_t* keys() const noexcept {
    return reinterpret_cast<const std::uint32_t*>(file_.data());
  }
  [[nodiscard]] const double* values() const noexcept {
    return reinterpret_cast<const double*>(file_.data() + rows_ * sizeof(std::uint32_t));
  }

 private:
  static constexpr std::size_t kRowBytes = sizeof(std::uint32_t) + sizeof(double);

  MappedFile file_;
  std::size_t rows_;
};

}  // namespace pinion::bench
