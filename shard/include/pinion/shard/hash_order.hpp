#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pinion/shard/zeroed_pages.hpp>

namespace pinion {

/// Slots nearly in the order of the hashes of their keys, as an OpenTable has them, but without
/// room between them. `for_each(function)` calls `function(key, state)` for each of `count` keys,
/// twice the same. Throws std::bad_alloc.
///
/// Two passes of a radix sort: the first into parts that lie in a near cache, the second in those.
template <class Slot, class ForEach>
[[nodiscard]] ZeroedPages slots_by_hash(std::size_t count, ForEach for_each) {
  constexpr int kFirstBits = 8;
  constexpr std::size_t kPartCount = std::size_t{1} << kFirstBits;
  const auto part_of = [](std::uint64_t hash) { return hash >> (64 - kFirstBits); };

  std::array<std::size_t, kPartCount + 1> begins = {};
  for_each([&](const auto& key, const auto&) { ++begins[part_of(key.hash()) + 1]; });
  for (std::size_t part = 0; part < kPartCount; ++part) {
    begins[part + 1] += begins[part];
  }
  ZeroedPages pages(count * sizeof(Slot));
  Slot* const slots = reinterpret_cast<Slot*>(pages.begin());
  auto next = begins;
  for_each([&](const auto& key, const auto& state) {
    slots[next[part_of(key.hash())]++] = {key, state};
  });

  std::vector<Slot> part_slots;
  std::vector<std::uint32_t> ends;
  for (std::size_t part = 0; part < kPartCount; ++part) {
    const std::span<Slot> to(slots + begins[part], begins[part + 1] - begins[part]);
    if (to.size() < 2) {
      continue;
    }
    // One or two a piece, as hashes are spread evenly.
    const int bits = static_cast<int>(std::bit_width(to.size())) - 1;
    const auto piece_of = [bits](const Slot& slot) {
      return (slot.key.hash() << kFirstBits) >> (64 - bits);
    };
    part_slots.assign(to.begin(), to.end());
    ends.assign(std::size_t{1} << bits, 0);
    for (const Slot& slot : part_slots) {
      ++ends[piece_of(slot)];
    }
    std::uint32_t sum = 0;
    for (std::uint32_t& end : ends) {
      sum += end;
      end = sum;
    }
    for (const Slot& slot : part_slots) {
      to[--ends[piece_of(slot)]] = slot;
    }
  }
  return pages;
}

}  // namespace pinion
