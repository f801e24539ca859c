#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

namespace pinion {
namespace detail {

/// What the kernels look at in one call; an offset in it fits 16 bits, its end included.
inline constexpr std::size_t kTextBlockBytes = 4096;

/// What a kernel writes: offsets of one block. The kernels store whole vectors, so there is room
/// for one behind the most that a block can have.
using TextOffsets = std::array<std::uint16_t, kTextBlockBytes + 64>;

/// Offsets that a range keeps for its iterators: those of the block that one of them looked at
/// last. A copy begins without any.
struct TextScratch {
  // The offsets begin without a value: clearing them would cost more than a short text takes.
  TextScratch() noexcept {}  // NOLINT(modernize-use-equals-default)
  TextScratch(const TextScratch&) noexcept : TextScratch() {}
  // Forgetting is right for itself too. NOLINTNEXTLINE(bugprone-unhandled-self-assignment)
  TextScratch& operator=(const TextScratch&) noexcept {
    block = nullptr;
    return *this;
  }
  ~TextScratch() = default;

  const char* block = nullptr;
  TextOffsets offsets;
};

/// The next words of a text. The first is given by itself, as one that is longer than a block has
/// no offsets. Those behind it have two each, from `block`, which begin at the third. After the
/// last word both ends of `word` are the text's end.
struct WordBlock {
  const char* block;
  const char* word;
  const char* word_end;
  std::size_t offset_count;  // Without those of the first word.
  const char* next;          // Where to look on.
};

/// The next delimiters of a text: each has one offset from `block`. None only at the text's end.
struct DelimiterBlock {
  const char* block;
  std::size_t offset_count;
  const char* next;  // Where to look on.
};

/// Both look at no byte outside [at, end); `at` < `end`, and not inside a word.
[[nodiscard]] WordBlock find_words(const char* at, const char* end, TextOffsets& offsets) noexcept;
[[nodiscard]] DelimiterBlock find_delimiters(const char* at, const char* end, char delimiter,
                                             TextOffsets& offsets) noexcept;

}  // namespace detail

/// The words of a text in order: its longest runs of ASCII letters and digits, never empty. Every
/// other byte separates, zero bytes and those from 0x80 on included. Made by words().
///
/// The text is looked at in blocks, 16 to 64 bytes at once, whatever the loop does with the words;
/// no byte outside the text is read. An iterator is a few pointers, and cheap to copy; copies that
/// are used by turns look at their block again each time.
///
/// Thread safety: iterating is no const use, as the range keeps the current block for its
/// iterators:
///   one thread at a time. Other threads make ranges of their own, which costs nothing.
/// Lifetime: borrows the text, and so does every word. Iterators live as long as the range.
class Words {
 public:
  class Iterator {
   public:
    // NOLINTBEGIN(readability-identifier-naming): the names that std::forward_iterator asks for.
    using iterator_concept = std::forward_iterator_tag;
    using iterator_category = std::input_iterator_tag;
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    // NOLINTEND(readability-identifier-naming)

    Iterator() = default;
    Iterator(std::string_view text, detail::TextScratch& scratch) noexcept
        : next_(text.data()), end_(text.data() + text.size()), scratch_(&scratch) {
      find();
    }

    [[nodiscard]] std::string_view operator*() const noexcept {
      return {word_, static_cast<std::size_t>(word_end_ - word_)};
    }
    Iterator& operator++() noexcept {
      if (at_ == limit_) {
        find();
        return *this;
      }
      if (scratch_->block != block_) {
        // Another iterator has looked elsewhere. The same block gives the same offsets.
        scratch_->block = detail::find_words(block_, end_, scratch_->offsets).block;
      }
      word_ = block_ + at_[0];
      word_end_ = block_ + at_[1];
      at_ += 2;
      return *this;
    }
    Iterator operator++(int) noexcept {
      Iterator before = *this;
      ++*this;
      return before;
    }

    friend bool operator==(const Iterator& left, const Iterator& right) noexcept {
      return left.word_ == right.word_;
    }
    friend bool operator==(const Iterator& at, std::default_sentinel_t) noexcept {
      return at.word_ == at.end_;
    }

   private:
    // Inlined by force: were it called, the iterator could not live in registers, and the loop
    // would wait for memory at each word.
    [[gnu::always_inline]] void find() noexcept {
      if (next_ == end_) {
        word_ = word_end_ = end_;
        return;
      }
      const detail::WordBlock found = detail::find_words(next_, end_, scratch_->offsets);
      block_ = scratch_->block = found.block;
      word_ = found.word;
      word_end_ = found.word_end;
      at_ = scratch_->offsets.data() + 2;
      limit_ = at_ + found.offset_count;
      next_ = found.next;
    }

    const char* word_ = nullptr;
    const char* word_end_ = nullptr;
    const std::uint16_t* at_ = nullptr;  // Of the next word.
    const std::uint16_t* limit_ = nullptr;
    const char* block_ = nullptr;
    const char* next_ = nullptr;
    const char* end_ = nullptr;
    detail::TextScratch* scratch_ = nullptr;
  };

  explicit Words(std::string_view text) noexcept : text_(text) {}

  [[nodiscard]] Iterator begin() const noexcept { return {text_, scratch_}; }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::string_view text_;
  mutable detail::TextScratch scratch_;
};

namespace detail {

/// What lies between the delimiters of a text. `LastMayBeEmpty` says whether nothing behind the
/// last delimiter is a piece too.
template <bool LastMayBeEmpty>
class Pieces {
 public:
  class Iterator {
   public:
    // NOLINTBEGIN(readability-identifier-naming): the names that std::forward_iterator asks for.
    using iterator_concept = std::forward_iterator_tag;
    using iterator_category = std::input_iterator_tag;
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    // NOLINTEND(readability-identifier-naming)

    Iterator() = default;
    Iterator(std::string_view text, char delimiter, TextScratch& scratch) noexcept
        : piece_(text.data()),
          next_(text.data()),
          end_(text.data() + text.size()),
          scratch_(&scratch),
          delimiter_(delimiter),
          done_(!LastMayBeEmpty && text.empty()) {
      find();
    }

    [[nodiscard]] std::string_view operator*() const noexcept {
      return {piece_, static_cast<std::size_t>(piece_end_ - piece_)};
    }
    Iterator& operator++() noexcept {
      if (at_ == limit_) {
        step_over_delimiter();
        find();
        return *this;
      }
      if (scratch_->block != block_) {
        // Another iterator has looked elsewhere. The same block gives the same offsets.
        scratch_->block = find_delimiters(block_, end_, delimiter_, scratch_->offsets).block;
      }
      piece_ = piece_end_ + 1;
      piece_end_ = block_ + *at_++;
      return *this;
    }
    Iterator operator++(int) noexcept {
      Iterator before = *this;
      ++*this;
      return before;
    }

    friend bool operator==(const Iterator& left, const Iterator& right) noexcept {
      return left.piece_ == right.piece_ && left.done_ == right.done_;
    }
    friend bool operator==(const Iterator& at, std::default_sentinel_t) noexcept {
      return at.done_;
    }

   private:
    void step_over_delimiter() noexcept {
      done_ = piece_end_ == end_;
      piece_ = done_ ? end_ : piece_end_ + 1;
      done_ = done_ || (!LastMayBeEmpty && piece_ == end_);
    }

    // The end of the piece, in a block that was not looked at yet. Inlined by force, as in Words.
    [[gnu::always_inline]] void find() noexcept {
      if (next_ == end_) {
        piece_end_ = end_;
        return;
      }
      const DelimiterBlock found = find_delimiters(next_, end_, delimiter_, scratch_->offsets);
      block_ = scratch_->block = found.block;
      at_ = scratch_->offsets.data();
      limit_ = at_ + found.offset_count;
      next_ = found.next;
      piece_end_ = at_ == limit_ ? end_ : block_ + *at_++;
    }

    const char* piece_ = nullptr;
    const char* piece_end_ = nullptr;
    const std::uint16_t* at_ = nullptr;  // Of the next piece's end.
    const std::uint16_t* limit_ = nullptr;
    const char* block_ = nullptr;
    const char* next_ = nullptr;
    const char* end_ = nullptr;
    TextScratch* scratch_ = nullptr;
    char delimiter_ = '\n';
    bool done_ = true;
  };

  Pieces(std::string_view text, char delimiter) noexcept : text_(text), delimiter_(delimiter) {}

  [[nodiscard]] Iterator begin() const noexcept { return {text_, delimiter_, scratch_}; }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::string_view text_;
  char delimiter_;
  mutable TextScratch scratch_;
};

}  // namespace detail

/// The lines of a text in order, without their line feeds. A carriage return before a line feed
/// stays part of the line. What follows the last line feed is a line if it is not empty. Made by
/// lines().
///
/// Speed, thread safety and lifetime: as for Words.
class Lines : public detail::Pieces<false> {
 public:
  explicit Lines(std::string_view text) noexcept : Pieces(text, '\n') {}
};

/// The fields of a text in order, without the delimiters between them: always one more than there
/// are delimiters, so that of "" there is one, which is empty, and of "a," there are two. Quotes
/// and backslashes are bytes as others: a format that has them needs a parser of its own. Made by
/// fields().
///
/// Speed, thread safety and lifetime: as for Words.
class Fields : public detail::Pieces<true> {
 public:
  Fields(std::string_view text, char delimiter) noexcept : Pieces(text, delimiter) {}
};

[[nodiscard]] inline Words words(std::string_view text) noexcept {
  return Words(text);
}
[[nodiscard]] inline Lines lines(std::string_view text) noexcept {
  return Lines(text);
}
[[nodiscard]] inline Fields fields(std::string_view text, char delimiter) noexcept {
  return {text, delimiter};
}

/// How often `pattern` is in `text`, counted from the left without overlaps: "aa" is twice in
/// "aaaaa". An empty pattern is before each byte and at the end. Time: one pass over the text.
///
/// Thread safety: any thread. No byte outside the text and the pattern is read.
[[nodiscard]] std::uint64_t count_matches(std::string_view text, std::string_view pattern) noexcept;

/// True if `pattern` is in `text`; an empty one always is. As count_matches() otherwise.
[[nodiscard]] bool contains(std::string_view text, std::string_view pattern) noexcept;

}  // namespace pinion
