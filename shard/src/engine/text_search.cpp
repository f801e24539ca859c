#include "engine/simd_targets.hpp"

#include <pinion/shard/text.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/text_search.cpp"
// Compiles this file once for each instruction set.
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway asks.
#include <hwy/highway.h>

// A vector of positions at once is compared with the pattern's first byte and, shifted, with its
// last; where both fit, the bytes between are compared. After W. Muła, SIMD-friendly algorithms for
// substring searching (2016).

HWY_BEFORE_NAMESPACE();
namespace pinion {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using SearchBytes = hn::CappedTag<std::uint8_t, 64>;

// The search as far as it has come.
struct Search {
  const char* text;
  std::size_t size;
  const char* pattern;
  std::size_t pattern_size;
  std::uint64_t count_max;
  std::uint64_t count;
  std::size_t at;      // Matches begin here or later.
  std::size_t wasted;  // Bytes that candidates cost which were none.
};

// Looks at the candidates of one vector of positions, the first of which is `base`.
HWY_INLINE void check_candidates(Search& search, std::size_t base, std::uint64_t candidates) {
  for (; candidates != 0; candidates &= candidates - 1) {
    const std::size_t at = base + static_cast<std::size_t>(std::countr_zero(candidates));
    if (at < search.at) {
      continue;
    }
    if (std::memcmp(search.text + at, search.pattern, search.pattern_size) == 0) {
      search.at = at + search.pattern_size;
      if (++search.count == search.count_max) {
        return;
      }
    } else {
      search.wasted += search.pattern_size;
    }
  }
}

HWY_INLINE std::uint64_t candidates_at(const char* at, std::size_t last, std::uint8_t first_byte,
                                       std::uint8_t last_byte) {
  const SearchBytes d;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(at);
  const auto fits = hn::And(hn::Eq(hn::LoadU(d, bytes), hn::Set(d, first_byte)),
                            hn::Eq(hn::LoadU(d, bytes + last), hn::Set(d, last_byte)));
  std::uint64_t bits = 0;
  hn::StoreMaskBits(d, fits, reinterpret_cast<std::uint8_t*>(&bits));
  return bits;
}

// The rest of the search, by two-way string matching, whose time is linear whatever the text is.
HWY_INLINE std::uint64_t finish(Search& search) {
  while (search.count < search.count_max && search.size - search.at >= search.pattern_size) {
    const void* match = memmem(search.text + search.at, search.size - search.at, search.pattern,
                               search.pattern_size);
    if (match == nullptr) {
      break;
    }
    ++search.count;
    search.at = static_cast<std::size_t>(static_cast<const char*>(match) - search.text) +
                search.pattern_size;
  }
  return search.count;
}

// The pattern is not empty and not longer than the text.
std::uint64_t count_matches(const char* text, std::size_t size, const char* pattern,
                            std::size_t pattern_size, std::uint64_t count_max) {
  Search search = {text, size, pattern, pattern_size, count_max, 0, 0, 0};
  const std::size_t step = hn::Lanes(SearchBytes());
  const std::size_t last = pattern_size - 1;
  const std::size_t position_count = size - last;
  if (position_count < step) {
    return finish(search);
  }
  const auto first_byte = static_cast<std::uint8_t>(pattern[0]);
  const auto last_byte = static_cast<std::uint8_t>(pattern[last]);
  for (std::size_t base = 0; base < position_count; base += step) {
    // The last vector overlaps the one before it, so as not to reach behind the text.
    const std::size_t begin = std::min(base, position_count - step);
    std::uint64_t candidates = candidates_at(text + begin, last, first_byte, last_byte);
    if (candidates == 0) {
      continue;
    }
    if (pattern_size == 1 && begin == base) {
      search.count += static_cast<std::uint64_t>(std::popcount(candidates));
    } else {
      candidates &= ~std::uint64_t{0} << (base - begin);
      check_candidates(search, begin, candidates);
    }
    if (search.count >= count_max) {
      return count_max;
    }
    // Patterns of which much fits everywhere would make this quadratic.
    if (search.wasted > 8 * begin + 4096) {
      search.at = std::max(search.at, begin + step);
      return finish(search);
    }
  }
  return search.count;
}

}  // namespace HWY_NAMESPACE
}  // namespace pinion
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pinion {
namespace {

namespace exported {
HWY_EXPORT(count_matches);
}

std::uint64_t count_at_most(std::string_view text, std::string_view pattern,
                            std::uint64_t count_max) noexcept {
  if (pattern.empty()) {
    return std::min<std::uint64_t>(text.size() + 1, count_max);
  }
  if (pattern.size() > text.size()) {
    return 0;
  }
  return HWY_DYNAMIC_DISPATCH(exported::count_matches)(text.data(), text.size(), pattern.data(),
                                                       pattern.size(), count_max);
}

}  // namespace

std::uint64_t count_matches(std::string_view text, std::string_view pattern) noexcept {
  return count_at_most(text, pattern, std::numeric_limits<std::uint64_t>::max());
}

bool contains(std::string_view text, std::string_view pattern) noexcept {
  return count_at_most(text, pattern, 1) != 0;
}

}  // namespace pinion
#endif  // HWY_ONCE
