#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <string_view>

namespace pinion {
namespace detail {

/// True for the bytes of [A-Za-z0-9].
inline constexpr std::array<bool, 256> kWordBytes = [] {
  std::array<bool, 256> table = {};
  for (std::size_t byte = 0; byte < table.size(); ++byte) {
    table[byte] = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
                  (byte >= 'a' && byte <= 'z');
  }
  return table;
}();

/// The first byte of [at, end) that is in a word (`Inside`) or outside all words; `end` if none is.
template <bool Inside>
[[nodiscard]] inline const char* find_word_byte(const char* at, const char* end) noexcept {
  while (at != end && kWordBytes[static_cast<unsigned char>(*at)] != Inside) {
    ++at;
  }
  return at;
}

}  // namespace detail

/// The words of a text in order: its longest runs of ASCII letters and digits, never empty. Every
/// other byte separates, zero bytes and those from 0x80 on included. Made by words().
///
/// Thread safety: immutable.
/// Lifetime: borrows the text, and so does every word.
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
    explicit Iterator(std::string_view text) noexcept : end_(text.data() + text.size()) {
      find(text.data());
    }

    [[nodiscard]] std::string_view operator*() const noexcept {
      return {word_, static_cast<std::size_t>(word_end_ - word_)};
    }
    Iterator& operator++() noexcept {
      find(word_end_);
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
    void find(const char* from) noexcept {
      word_ = detail::find_word_byte<true>(from, end_);
      word_end_ = detail::find_word_byte<false>(word_, end_);
    }

    const char* word_ = nullptr;
    const char* word_end_ = nullptr;
    const char* end_ = nullptr;
  };

  explicit Words(std::string_view text) noexcept : text_(text) {}

  [[nodiscard]] Iterator begin() const noexcept { return Iterator(text_); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::string_view text_;
};

/// The lines of a text in order, without their line feeds. A carriage return before a line feed
/// stays part of the line. What follows the last line feed is a line if it is not empty. Made by
/// lines().
///
/// Thread safety: immutable.
/// Lifetime: borrows the text, and so does every line.
class Lines {
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
    explicit Iterator(std::string_view text) noexcept
        : line_(text.data()), line_end_(text.data()), end_(text.data() + text.size()) {
      find();
    }

    [[nodiscard]] std::string_view operator*() const noexcept {
      return {line_, static_cast<std::size_t>(line_end_ - line_)};
    }
    Iterator& operator++() noexcept {
      line_ = line_end_ == end_ ? end_ : line_end_ + 1;
      find();
      return *this;
    }
    Iterator operator++(int) noexcept {
      Iterator before = *this;
      ++*this;
      return before;
    }

    friend bool operator==(const Iterator& left, const Iterator& right) noexcept {
      return left.line_ == right.line_;
    }
    friend bool operator==(const Iterator& at, std::default_sentinel_t) noexcept {
      return at.line_ == at.end_;
    }

   private:
    // A line begins before end_: an empty one still has its line feed there.
    void find() noexcept {
      if (line_ == end_) {
        line_end_ = end_;
        return;
      }
      const void* feed = std::memchr(line_, '\n', static_cast<std::size_t>(end_ - line_));
      line_end_ = feed == nullptr ? end_ : static_cast<const char*>(feed);
    }

    const char* line_ = nullptr;
    const char* line_end_ = nullptr;
    const char* end_ = nullptr;
  };

  explicit Lines(std::string_view text) noexcept : text_(text) {}

  [[nodiscard]] Iterator begin() const noexcept { return Iterator(text_); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::string_view text_;
};

[[nodiscard]] inline Words words(std::string_view text) noexcept {
  return Words(text);
}
[[nodiscard]] inline Lines lines(std::string_view text) noexcept {
  return Lines(text);
}

}  // namespace pinion
