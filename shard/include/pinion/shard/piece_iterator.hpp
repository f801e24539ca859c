#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

namespace pinion {

/// Iterates over elements that lie in pieces, piece after piece. `Pieces` is a cheap value that
/// looks at them: count(), size(piece), and at(piece, index) for an element, by value.
///
/// Lifetime: as long as what Pieces borrows.
template <class Pieces, class Value>
class PieceIterator {
 public:
  // NOLINTBEGIN(readability-identifier-naming): the names that std::forward_iterator asks for.
  using iterator_concept = std::forward_iterator_tag;
  using iterator_category = std::input_iterator_tag;
  using value_type = Value;
  using difference_type = std::ptrdiff_t;
  using pointer = void;
  using reference = Value;
  // NOLINTEND(readability-identifier-naming)

  PieceIterator() noexcept = default;

  /// At the first element of that piece, or of those behind it.
  PieceIterator(Pieces pieces, std::size_t piece) noexcept : pieces_(pieces), piece_(piece) {
    skip_ended_pieces();
  }

  [[nodiscard]] Value operator*() const noexcept(noexcept(pieces_.at(0, 0))) {
    return pieces_.at(piece_, index_);
  }
  PieceIterator& operator++() noexcept {
    ++index_;
    skip_ended_pieces();
    return *this;
  }
  PieceIterator operator++(int) noexcept {
    PieceIterator before = *this;
    ++*this;
    return before;
  }

  /// Goes on by `count` elements, and over whole pieces at once.
  /// Precondition: so many are left.
  void skip(std::size_t count) noexcept {
    while (count > 0) {
      const std::size_t step = std::min(count, pieces_.size(piece_) - index_);
      index_ += step;
      count -= step;
      skip_ended_pieces();
    }
  }

  friend bool operator==(const PieceIterator& left, const PieceIterator& right) noexcept {
    return left.piece_ == right.piece_ && left.index_ == right.index_;
  }

 private:
  void skip_ended_pieces() noexcept {
    while (piece_ < pieces_.count() && index_ == pieces_.size(piece_)) {
      ++piece_;
      index_ = 0;
    }
  }

  Pieces pieces_ = {};
  std::size_t piece_ = 0;
  std::size_t index_ = 0;
};

}  // namespace pinion
