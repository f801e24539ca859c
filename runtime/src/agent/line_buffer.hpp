#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace pinion {

/// What a rank has written to one of its outputs: whole lines can be taken, the line that it is
/// writing waits for its end. Thread safety: none.
class LineBuffer {
 public:
  /// A longer line is given out in pieces of at least this size.
  static constexpr std::size_t kLineBytesMax = 1u << 20;

  /// Every line, and every piece of a longer one, will begin with `tag`.
  explicit LineBuffer(std::string tag = {}) : tag_(std::move(tag)) {}

  void append(std::string_view bytes) { bytes_ += bytes; }

  /// Takes the whole lines, or a piece of a line that is too long. Often empty.
  [[nodiscard]] std::string take_lines();

  /// Takes everything: also the last line, which has no end.
  [[nodiscard]] std::string take_rest();

 private:
  [[nodiscard]] std::string take(std::size_t count);

  std::string tag_;
  std::string bytes_;
};

/// Text on its way to an output that several write to. Thread safety: none.
class LineQueue {
 public:
  /// Adds text, which begins a line: where the text before it ended in the midst of one, that line
  /// is ended first. So no line has text of two writers, and nothing is added behind the last.
  void put(std::string_view text);

  /// The bytes to write next; empty: none.
  [[nodiscard]] std::string_view front() const noexcept {
    return std::string_view(bytes_).substr(taken_);
  }

  /// Takes bytes off the front. Precondition: that many are there.
  void pop(std::size_t count);

  void clear();

  /// All that was ever put, with the ends of lines that were added.
  [[nodiscard]] std::uint64_t put_bytes() const noexcept { return put_bytes_; }

  /// Whether what was put last has ended its line.
  [[nodiscard]] bool at_line_begin() const noexcept { return !in_line_; }

 private:
  std::string bytes_;
  std::size_t taken_ = 0;
  std::uint64_t put_bytes_ = 0;
  bool in_line_ = false;
};

}  // namespace pinion
