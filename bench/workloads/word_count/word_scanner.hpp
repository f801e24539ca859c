#pragma once

// The plain program's tokeniser and key loading: AVX-512BW, AVX2 or scalar, by what the program is
// compiled for.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace pinion::bench {

/// A bit for each of the 64 bytes at `block` that is an ASCII letter or digit.
#if defined(__AVX512BW__)
inline std::uint64_t word_mask(__m512i block) noexcept {
  const __m512i folded = _mm512_or_si512(block, _mm512_set1_epi8(0x20));
  const __m512i letter = _mm512_sub_epi8(folded, _mm512_set1_epi8('a'));
  const __m512i digit = _mm512_sub_epi8(block, _mm512_set1_epi8('0'));
  return _mm512_cmplt_epu8_mask(letter, _mm512_set1_epi8(26)) |
         _mm512_cmplt_epu8_mask(digit, _mm512_set1_epi8(10));
}
inline std::uint64_t word_mask(const char* block) noexcept {
  return word_mask(_mm512_loadu_si512(block));
}
#elif defined(__AVX2__)
inline std::uint64_t word_mask_32(const char* block) noexcept {
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block));
  const __m256i folded = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
  const __m256i letter = _mm256_sub_epi8(folded, _mm256_set1_epi8('a'));
  const __m256i digit = _mm256_sub_epi8(bytes, _mm256_set1_epi8('0'));
  const __m256i is_letter =
      _mm256_cmpeq_epi8(_mm256_min_epu8(letter, _mm256_set1_epi8(25)), letter);
  const __m256i is_digit = _mm256_cmpeq_epi8(_mm256_min_epu8(digit, _mm256_set1_epi8(9)), digit);
  return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_or_si256(is_letter, is_digit)));
}
inline std::uint64_t word_mask(const char* block) noexcept {
  return word_mask_32(block) | word_mask_32(block + 32) << 32;
}
#else
inline std::uint64_t word_mask(const char* block) noexcept {
  std::uint64_t mask = 0;
  for (unsigned i = 0; i < 64; ++i) {
    const auto letter =
        static_cast<unsigned char>(static_cast<unsigned char>(block[i] | 0x20) - 'a');
    const auto digit = static_cast<unsigned char>(static_cast<unsigned char>(block[i]) - '0');
    mask |= std::uint64_t{letter < 26 || digit < 10} << i;
  }
  return mask;
}
#endif

inline bool is_word_byte(char byte) noexcept {
  const auto letter = static_cast<unsigned char>(static_cast<unsigned char>(byte | 0x20) - 'a');
  const auto digit = static_cast<unsigned char>(static_cast<unsigned char>(byte) - '0');
  return letter < 26 || digit < 10;
}

/// Calls `visit(begin, end)` for each longest run of ASCII letters and digits in [begin, end).
/// Reads no byte outside of it.
template <class Visit>
void for_each_word(const char* begin, const char* end, Visit visit) {
  const char* open = nullptr;  // Where the word begins that reaches into this block.
  for (const char* block = begin; block < end; block += 64) {
    const auto left = static_cast<std::size_t>(end - block);
    std::uint64_t mask = 0;
    if (left >= 64) {
      mask = word_mask(block);
    } else {
      char padded[64] = {};
      std::memcpy(padded, block, left);
      mask = word_mask(padded);
    }
    const std::uint64_t before = mask << 1 | (open != nullptr ? 1u : 0u);
    std::uint64_t begins = mask & ~before;
    std::uint64_t ends = ~mask & before;
    if (open != nullptr && ends != 0) {
      visit(open, block + std::countr_zero(ends));
      ends &= ends - 1;
      open = nullptr;
    }
    while (ends != 0) {
      visit(block + std::countr_zero(begins), block + std::countr_zero(ends));
      begins &= begins - 1;
      ends &= ends - 1;
    }
    if (begins != 0) {
      open = block + std::countr_zero(begins);
    }
  }
  if (open != nullptr) {
    visit(open, end);
  }
}

/// A word of at most 16 letters and digits as a number: none of them is zero, so padding with zeros
/// is unique.
struct ShortWord {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  friend bool operator==(const ShortWord&, const ShortWord&) = default;
};

inline ShortWord load_short_word(const char* begin, std::size_t size) noexcept {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  // A masked load does not touch what it leaves out.
  const auto bytes = static_cast<__mmask16>((1u << size) - 1u);
  const __m128i word = _mm_maskz_loadu_epi8(bytes, begin);
  return {static_cast<std::uint64_t>(_mm_cvtsi128_si64(word)),
          static_cast<std::uint64_t>(_mm_extract_epi64(word, 1))};
#else
  ShortWord word;
  std::memcpy(&word, begin, size);
  return word;
#endif
}

}  // namespace pinion::bench
