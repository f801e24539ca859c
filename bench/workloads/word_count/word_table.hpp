#pragma once

// The tables of the plain programs: words of up to 16 bytes inline, longer ones by pointer.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "pages.hpp"
#include "word_count/word_scanner.hpp"

namespace pinion::bench {

__extension__ using Wide = unsigned __int128;

inline std::uint64_t fold(std::uint64_t left, std::uint64_t right) noexcept {
  const Wide product = static_cast<Wide>(left) * right;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

inline std::uint64_t hash_of(const ShortWord& word) noexcept {
  return fold(word.low ^ 0x9E3779B97F4A7C15u, word.high ^ 0xC2B2AE3D27D4EB4Fu);
}

struct LongWord {
  const char* begin = nullptr;
  std::size_t size = 0;
  std::uint64_t hash = 0;

  friend bool operator==(const LongWord& left, const LongWord& right) noexcept {
    return left.hash == right.hash && left.size == right.size &&
           std::memcmp(left.begin, right.begin, left.size) == 0;
  }
};

inline LongWord make_long_word(const char* begin, std::size_t size) noexcept {
  const ShortWord first = load_short_word(begin, 16);
  std::uint64_t hash = hash_of(first) + size;
  for (std::size_t i = 16; i < size; i += 16) {
    // The last piece overlaps the one before.
    const std::size_t at = size - i < 16 ? size - 16 : i;
    const ShortWord piece = load_short_word(begin + at, 16);
    hash = fold(hash ^ piece.low ^ 0x9E3779B97F4A7C15u, piece.high ^ 0xC2B2AE3D27D4EB4Fu);
  }
  return {begin, size, hash};
}

inline std::uint64_t hash_of(const LongWord& word) noexcept {
  return word.hash;
}

/// Open addressing with linear probing, at most half full. The low bits of the hash choose the
/// slot; the top ones are left to who merges.
template <class Word>
class Table {
 public:
  struct Entry {
    Word word;
    std::uint64_t count;  // 0: empty.
  };

  void reserve(std::size_t words) {
    std::size_t slots = 1024;
    while (slots < 2 * words) {
      slots *= 2;
    }
    if (slots > entries_.size()) {
      rehash(slots);
    }
  }

  void add(const Word& word, std::uint64_t hash, std::uint64_t count) {
    for (std::size_t i = hash & mask_;; i = (i + 1) & mask_) {
      Entry& entry = entries_[i];
      if (entry.count == 0) {
        entry = {word, count};
        if (++used_ > entries_.size() / 2) {
          rehash(2 * entries_.size());
        }
        return;
      }
      if (entry.word == word) {
        entry.count += count;
        return;
      }
    }
  }

  [[nodiscard]] std::size_t size() const noexcept { return used_; }

  template <class Visit>
  void for_each(Visit visit) const {
    for (const Entry& entry : entries_) {
      if (entry.count != 0) {
        visit(entry);
      }
    }
  }

 private:
  void rehash(std::size_t slots) {
    const Pages<Entry> old = std::exchange(entries_, Pages<Entry>(slots));
    mask_ = slots - 1;
    for (const Entry& entry : old) {
      if (entry.count != 0) {
        std::size_t i = hash_of(entry.word) & mask_;
        while (entries_[i].count != 0) {
          i = (i + 1) & mask_;
        }
        entries_[i] = entry;
      }
    }
  }

  Pages<Entry> entries_;
  std::size_t mask_ = 0;
  std::size_t used_ = 0;
};

/// The words of a text, the short ones apart.
struct WordCounts {
  Table<ShortWord> short_words;
  Table<LongWord> long_words;

  WordCounts() {
    short_words.reserve(std::size_t{1} << 15);
    long_words.reserve(std::size_t{1} << 10);
  }

  void count(std::string_view text) {
    for_each_word(text.data(), text.data() + text.size(),
                  [this](const char* begin, const char* end) {
                    const auto size = static_cast<std::size_t>(end - begin);
                    if (size <= 16) {
                      const ShortWord word = load_short_word(begin, size);
                      short_words.add(word, hash_of(word), 1);
                    } else {
                      const LongWord word = make_long_word(begin, size);
                      long_words.add(word, word.hash, 1);
                    }
                  });
  }
};

}  // namespace pinion::bench
