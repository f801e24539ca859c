#include "engine/simd_targets.hpp"

#include <pinion/shard/text.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "engine/set_bits.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/text_kernels.cpp"
// Compiles this file once for each instruction set.
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway asks.
#include <hwy/highway.h>

// 64 bytes become one bit each: in a word or not, a delimiter or not. For words the bits are
// compared with their neighbours, and the set bits become offsets without a branch on the data:
// "bitmap, then indices" as in Langdale and Lemire, Parsing Gigabytes of JSON per Second (2019).

HWY_BEFORE_NAMESPACE();
namespace pinion {
namespace HWY_NAMESPACE {

#define PINION_TEXT_SCALAR (HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128)

constexpr std::size_t kChunkBytes = 64;

#if !PINION_TEXT_SCALAR
namespace hn = hwy::HWY_NAMESPACE;
using Bytes = hn::CappedTag<std::int8_t, kChunkBytes>;
#endif

// Letters and digits. Adding moves the last of a class to 127, so that one signed comparison finds
// the class, on every instruction set.
struct WordBytes {
#if PINION_TEXT_SCALAR
  bool operator()(char byte) const {
    const int lower = byte | 0x20;
    return (byte >= '0' && byte <= '9') || (lower >= 'a' && lower <= 'z');
  }
#else
  template <class Vector>
  HWY_INLINE hn::MFromD<Bytes> operator()(Bytes d, Vector bytes) const {
    const auto letters = hn::Add(hn::Or(bytes, hn::Set(d, 0x20)), hn::Set(d, 127 - 'z'));
    const auto digits = hn::Add(bytes, hn::Set(d, 127 - '9'));
    return hn::Or(hn::Gt(letters, hn::Set(d, 127 - ('z' - 'a' + 1))),
                  hn::Gt(digits, hn::Set(d, 127 - ('9' - '0' + 1))));
  }
#endif
};

struct OneByte {
  char wanted;
#if PINION_TEXT_SCALAR
  bool operator()(char byte) const {
    return byte == wanted;
  }
#else
  template <class Vector>
  HWY_INLINE hn::MFromD<Bytes> operator()(Bytes d, Vector bytes) const {
    return hn::Eq(bytes, hn::Set(d, static_cast<std::int8_t>(wanted)));
  }
#endif
};

// One bit for each of the 64 bytes at `at`: is it of the class?
template <class Class>
HWY_INLINE std::uint64_t bits_of_chunk(Class is_in, const char* at) {
  std::uint64_t bits = 0;
#if PINION_TEXT_SCALAR
  for (std::size_t i = 0; i < kChunkBytes; ++i) {
    bits |= std::uint64_t{is_in(at[i])} << i;
  }
#else
  const Bytes d;
  for (std::size_t i = 0; i < kChunkBytes; i += hn::Lanes(d)) {
    const auto bytes = hn::LoadU(d, reinterpret_cast<const std::int8_t*>(at + i));
    std::uint64_t part = 0;
    hn::StoreMaskBits(d, is_in(d, bytes), reinterpret_cast<std::uint8_t*>(&part));
    bits |= part << i;
  }
#endif
  return bits;
}

// The same for the last `size` bytes of a text, fewer than 64, which begins `before` bytes earlier.
template <class Class>
HWY_INLINE std::uint64_t bits_of_rest(Class is_in, const char* at, std::size_t size,
                                      std::size_t before) {
  if (before >= kChunkBytes) {
    return bits_of_chunk(is_in, at + size - kChunkBytes) >> (kChunkBytes - size);
  }
  const std::uint64_t mask = (std::uint64_t{1} << size) - 1;
#if HWY_TARGET <= HWY_AVX3
  // Faults of lanes outside the mask are suppressed.
  const Bytes d;
  const auto bytes =
      hn::MaskedLoad(hn::FirstN(d, size), d, reinterpret_cast<const std::int8_t*>(at));
  std::uint64_t bits = 0;
  hn::StoreMaskBits(d, is_in(d, bytes), reinterpret_cast<std::uint8_t*>(&bits));
  return bits & mask;
#else
  std::array<char, kChunkBytes> copy = {};
  std::memcpy(copy.data(), at, size);
  return bits_of_chunk(is_in, copy.data()) & mask;
#endif
}

// Appends `base` + the number of each set bit to `out`; may write 64 values, and returns the end of
// those that count.
HWY_INLINE std::uint16_t* append_offsets(std::uint64_t bits, std::size_t base, std::uint16_t* out) {
#if PINION_TEXT_SCALAR
  for (; bits != 0; bits &= bits - 1) {
    *out++ = static_cast<std::uint16_t>(base + static_cast<std::size_t>(std::countr_zero(bits)));
  }
#elif HWY_TARGET <= HWY_AVX3_DL
  // Compressed in a register and stored whole: Zen 4 compresses into memory by slow microcode.
  const hn::CappedTag<std::uint16_t, 32> d;
  auto offsets = hn::Add(hn::Iota(d, 0), hn::Set(d, static_cast<std::uint16_t>(base)));
  for (int half = 0; half < 2; ++half, bits >>= 32) {
    const auto mask = hn::LoadMaskBits(d, reinterpret_cast<const std::uint8_t*>(&bits));
    hn::StoreU(hn::Compress(offsets, mask), d, out);
    out += std::popcount(static_cast<std::uint32_t>(bits));
    offsets = hn::Add(offsets, hn::Set(d, 32));
  }
#else
  const hn::CappedTag<std::uint16_t, 8> d;
  const hn::Rebind<std::uint8_t, decltype(d)> narrow;
  auto first = hn::Set(d, static_cast<std::uint16_t>(base));
  for (int eighth = 0; eighth < 8; ++eighth, bits >>= 8) {
    const unsigned byte = bits & 0xFF;
    const auto set_bits = hn::PromoteTo(d, hn::Load(narrow, engine::kSetBits.of[byte]));
    hn::StoreU(hn::Add(set_bits, first), d, out);
    out += std::popcount(byte);
    first = hn::Add(first, hn::Set(d, 8));
  }
#endif
  return out;
}

// Offsets of where words begin and end, by turns. A word that goes on behind the block has no end
// yet, unless the text ends there.
HWY_INLINE std::size_t word_edges(const char* block, std::size_t size, bool is_last,
                                  std::uint16_t* offsets) {
  std::uint16_t* out = offsets;
  std::uint64_t last_bit = 0;  // 1 if the byte before the chunk was in a word.
  std::size_t at = 0;
  for (; at + kChunkBytes <= size; at += kChunkBytes) {
    const std::uint64_t bits = bits_of_chunk(WordBytes{}, block + at);
    out = append_offsets(bits ^ (bits << 1 | last_bit), at, out);
    last_bit = bits >> (kChunkBytes - 1);
  }
  if (at < size) {
    // The byte behind the rest is in no word, which ends the last one: only the text's last block
    // has a rest.
    const std::uint64_t bits = bits_of_rest(WordBytes{}, block + at, size - at, at);
    out = append_offsets(bits ^ (bits << 1 | last_bit), at, out);
  } else if (last_bit != 0 && is_last) {
    *out++ = static_cast<std::uint16_t>(size);
  }
  return static_cast<std::size_t>(out - offsets);
}

// The end of a word that goes on at `at`, and began more than a chunk before it.
HWY_INLINE const char* word_end(const char* at, const char* end) {
  while (at != end) {
    const auto size = std::min(static_cast<std::size_t>(end - at), kChunkBytes);
    const std::uint64_t bits = size == kChunkBytes
                                   ? bits_of_chunk(WordBytes{}, at)
                                   : bits_of_rest(WordBytes{}, at, size, kChunkBytes);
    const auto inside = static_cast<std::size_t>(std::countr_one(bits));
    at += inside;
    if (inside < size) {
      break;
    }
  }
  return at;
}

detail::WordBlock find_words(const char* at, const char* end, std::uint16_t* offsets) {
  for (;;) {
    const auto size = std::min(static_cast<std::size_t>(end - at), detail::kTextBlockBytes);
    const char* const next = at + size;
    const std::size_t count = word_edges(at, size, next == end, offsets);
    if (count == 1) {
      const char* const last = word_end(next, end);
      return {at, at + offsets[0], last, 0, last};
    }
    if (count > 1) {
      // A word that has no end yet is found again, as the first of the next block.
      const bool is_cut = count % 2 != 0;
      return {at, at + offsets[0], at + offsets[1], count - is_cut - 2,
              is_cut ? at + offsets[count - 1] : next};
    }
    if (next == end) {
      return {at, end, end, 0, end};
    }
    at = next;
  }
}

detail::DelimiterBlock find_delimiters(const char* at, const char* end, char delimiter,
                                       std::uint16_t* offsets) {
  const OneByte is_delimiter{delimiter};
  for (;;) {
    const auto size = std::min(static_cast<std::size_t>(end - at), detail::kTextBlockBytes);
    std::uint16_t* out = offsets;
    std::size_t done = 0;
    for (; done + kChunkBytes <= size; done += kChunkBytes) {
      out = append_offsets(bits_of_chunk(is_delimiter, at + done), done, out);
    }
    if (done < size) {
      out = append_offsets(bits_of_rest(is_delimiter, at + done, size - done, done), done, out);
    }
    if (out != offsets || at + size == end) {
      return {at, static_cast<std::size_t>(out - offsets), at + size};
    }
    at += size;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pinion
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pinion {

HWY_EXPORT(find_words);
HWY_EXPORT(find_delimiters);

namespace detail {

WordBlock find_words(const char* at, const char* end, TextOffsets& offsets) noexcept {
  return HWY_DYNAMIC_DISPATCH(find_words)(at, end, offsets.data());
}

DelimiterBlock find_delimiters(const char* at, const char* end, char delimiter,
                               TextOffsets& offsets) noexcept {
  return HWY_DYNAMIC_DISPATCH(find_delimiters)(at, end, delimiter, offsets.data());
}

}  // namespace detail
}  // namespace pinion
#endif  // HWY_ONCE
