#include "engine/delimiter_finder.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <span>

#include <pinion/core/assert.hpp>

#include "engine/input_source.hpp"

namespace pinion {
namespace {

// Around a cut the rest of a record is read. Most end within the first block; one without end is
// read in blocks that grow to the last one.
constexpr std::uint64_t kFirstBlockBytes = 4096;
constexpr std::uint64_t kLastBlockBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kGrowth = 4;

constexpr std::size_t kNotFound = std::numeric_limits<std::size_t>::max();

std::size_t find_in(std::span<const std::byte> block, std::size_t from,
                    std::string_view delimiter) noexcept {
  const void* const found =
      ::memmem(block.data() + from, block.size() - from, delimiter.data(), delimiter.size());
  return found == nullptr
             ? kNotFound
             : static_cast<std::size_t>(static_cast<const std::byte*>(found) - block.data());
}

}  // namespace

bool overlaps_itself(std::string_view delimiter) noexcept {
  for (std::size_t shift = 1; shift < delimiter.size(); ++shift) {
    if (delimiter.substr(shift) == delimiter.substr(0, delimiter.size() - shift)) {
      return true;
    }
  }
  return false;
}

Status DelimiterFinder::load(std::uint64_t from, std::size_t count) {
  block_.resize(count);
  for (std::span<std::byte> out(block_); !out.empty();) {
    const std::size_t source = source_at(input_.sources(), from);
    const Result<std::size_t> got = input_.read(source, from - input_.sources()[source].begin, out);
    if (!got) {
      return got.error();
    }
    PINION_ASSERT(*got > 0);
    out = out.subspan(*got);
    from += *got;
  }
  return {};
}

// One past the first delimiter that begins at `from` or behind; `end` if there is none.
Result<std::uint64_t> DelimiterFinder::find(std::uint64_t from, std::uint64_t end) {
  std::uint64_t block_bytes = kFirstBlockBytes;
  while (end - from >= delimiter_.size()) {
    const auto count = static_cast<std::size_t>(std::min(block_bytes, end - from));
    PINION_RETURN_IF_ERROR(load(from, count));
    if (const std::size_t at = find_in(block_, 0, delimiter_); at != kNotFound) {
      return from + at + delimiter_.size();
    }
    // The next block begins with what may be the begin of a delimiter.
    from += count - (delimiter_.size() - 1);
    block_bytes = std::min(block_bytes * kGrowth, kLastBlockBytes);
  }
  return end;
}

Result<std::uint64_t> DelimiterFinder::first_end(std::uint64_t begin, std::uint64_t at_least,
                                                 std::uint64_t end) {
  PINION_ASSERT(begin < at_least && at_least <= end);
  const std::uint64_t size = delimiter_.size();
  if (overlaps_) {
    return find_counting(begin, at_least, end);
  }
  // Where delimiters cannot overlap, each that stands there ends a record.
  return find(at_least - begin > size ? at_least - size : begin, end);
}

// Which of several delimiters that overlap end a record depends on where counting began. It begins
// afresh wherever no delimiter is in progress, so that is looked for, backwards from the cut.
Result<std::uint64_t> DelimiterFinder::find_counting(std::uint64_t begin, std::uint64_t at_least,
                                                     std::uint64_t end) {
  const std::uint64_t size = delimiter_.size();
  const std::uint64_t last = at_least - begin > size ? at_least - size : begin;
  const std::uint64_t window_end = std::min(end, at_least + size);
  for (std::uint64_t back = kFirstBlockBytes;; back *= kGrowth) {
    const std::uint64_t window = last - begin > back ? last - back : begin;
    PINION_RETURN_IF_ERROR(load(window, static_cast<std::size_t>(window_end - window)));
    // What stands before the window may reach size - 1 bytes into it.
    const std::uint64_t fresh = first_fresh(window == begin ? 0 : size - 1, last - window);
    if (fresh > last - window) {
      continue;
    }
    std::size_t at = static_cast<std::size_t>(fresh);
    while (true) {
      const std::size_t found = find_in(block_, at, delimiter_);
      if (found == kNotFound) {
        return find(window + at, end);
      }
      at = found + size;
      if (window + at >= at_least) {
        return window + at;
      }
    }
  }
}

// The first offset in the block, from `candidate` on, that no delimiter reaches across; some offset
// beyond `last` if there is none up to it.
std::uint64_t DelimiterFinder::first_fresh(std::uint64_t candidate, std::uint64_t last) const {
  if (candidate == 0) {
    return 0;
  }
  std::size_t at = 0;
  while (candidate <= last) {
    const std::size_t found = find_in(block_, at, delimiter_);
    if (found == kNotFound || found >= candidate) {
      return candidate;
    }
    candidate = std::max<std::uint64_t>(candidate, found + delimiter_.size());
    at = found + 1;
  }
  return candidate;
}

}  // namespace pinion
