#include "protocol/lease_queue.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include <pinion/core/assert.hpp>

namespace pinion::protocol {
namespace {

// The key of a bin, from what matters most to what matters least: level of priority, need of a
// device, host, kind of place, number of the place.
constexpr unsigned kKindShift = 16;
constexpr unsigned kHostShift = 17;
constexpr unsigned kNeedShift = 49;
constexpr unsigned kLevelShift = 50;

// How far ahead of a grant entries are asked for: two grants of a batch of 16.
constexpr std::uint32_t kAhead = 32;
constexpr std::uint32_t kEntriesPerLine = 4;

constexpr unsigned kDigitBits = 8;
constexpr std::size_t kDigitCount = std::size_t{1} << kDigitBits;

std::uint64_t level_of(Priority priority) {
  switch (priority) {
    case Priority::kHigh:
      return 0;
    case Priority::kNormal:
      return 1;
    case Priority::kLow:
      break;
  }
  return 2;
}

std::uint64_t band_key(std::uint64_t level, bool needs_device) {
  return level << kLevelShift | std::uint64_t{needs_device} << kNeedShift;
}

std::uint64_t place_key(const Place& place) {
  return std::uint64_t{place.host} << kHostShift |
         static_cast<std::uint64_t>(place.kind) << kKindShift | place.index;
}

std::uint64_t key_of(const UnitTraits& unit) {
  return band_key(level_of(unit.priority), unit.needs_device) | place_key(unit.place);
}

}  // namespace

LeaseQueue::LeaseQueue(std::span<const UnitTraits> units, std::uint32_t rank_count)
    : waiting_(static_cast<std::uint32_t>(units.size())), views_(rank_count) {
  PINION_ASSERT(units.size() < std::numeric_limits<std::uint32_t>::max());
  entries_.resize(units.size());
  assign_bins(units);
  sort_entries();
  for (std::uint32_t position = 0; position < size(); ++position) {
    Bin& bin = bins_[entries_[position].bin];
    bin.begin = bin.end == 0 ? position : bin.begin;
    bin.end = position + 1;
  }
  waiting_bins_ = PositionSet(static_cast<std::uint32_t>(bins_.size()));
  for (std::uint64_t level = 0; level < kLevelCount; ++level) {
    for (const bool need : {false, true}) {
      const std::uint64_t least = band_key(level, need);
      const BinRange range = bins_between(least, least | ((std::uint64_t{1} << kNeedShift) - 1));
      ranges_[level][need ? 1 : 0] = range;
      any_needs_device_ = any_needs_device_ || (need && range.begin < range.end);
    }
  }
}

void LeaseQueue::assign_bins(std::span<const UnitTraits> units) {
  std::vector<std::uint64_t> keys;
  for (const UnitTraits& unit : units) {
    const std::uint64_t key = key_of(unit);
    // Neighbours are mostly alike, so the list stays short without a look at each.
    if (keys.empty() || keys.back() != key) {
      keys.push_back(key);
    }
  }
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  for (const std::uint64_t key : keys) {
    bins_.push_back({.key = key});
  }
  std::size_t bin = 0;
  for (std::size_t unit = 0; unit < units.size(); ++unit) {
    const std::uint64_t key = key_of(units[unit]);
    if (keys[bin] != key) {
      bin =
          static_cast<std::size_t>(std::lower_bound(keys.begin(), keys.end(), key) - keys.begin());
    }
    Entry& entry = entries_[unit];
    entry.weight = units[unit].weight;
    entry.unit = static_cast<std::uint32_t>(unit);
    entry.bin = static_cast<std::uint32_t>(bin) & 0x3fffffffU;
  }
}

/// By bin, then the heaviest first; what is equal stays in the order of the units. So digit by
/// digit, the least first, and only digits that differ: in ten million entries each costs less than
/// one more level of a sort that compares.
void LeaseQueue::sort_entries() {
  const auto earlier = [](const Entry& a, const Entry& b) {
    return a.bin != b.bin ? a.bin < b.bin : a.weight > b.weight;
  };
  if (std::is_sorted(entries_.begin(), entries_.end(), earlier)) {
    return;
  }
  std::uint64_t different_weight = 0;
  std::uint32_t different_bin = 0;
  for (const Entry& entry : entries_) {
    different_weight |= entry.weight ^ entries_.front().weight;
    different_bin |= entry.bin ^ entries_.front().bin;
  }
  std::vector<Entry> sorted(entries_.size());
  const auto sort_by = [&](auto digit_of) {
    std::array<std::uint32_t, kDigitCount> ends = {};
    for (const Entry& entry : entries_) {
      ++ends[digit_of(entry)];
    }
    std::exclusive_scan(ends.begin(), ends.end(), ends.begin(), std::uint32_t{0});
    for (const Entry& entry : entries_) {
      sorted[ends[digit_of(entry)]++] = entry;
    }
    entries_.swap(sorted);
  };
  for (unsigned shift = 0; shift < 64; shift += kDigitBits) {
    if ((different_weight >> shift) % kDigitCount != 0) {
      sort_by([shift](const Entry& entry) { return (~entry.weight >> shift) % kDigitCount; });
    }
  }
  for (unsigned shift = 0; shift < 32; shift += kDigitBits) {
    if ((different_bin >> shift) % kDigitCount != 0) {
      sort_by([shift](const Entry& entry) { return (entry.bin >> shift) % kDigitCount; });
    }
  }
}

std::uint32_t LeaseQueue::position_of(std::uint32_t unit) const {
  if (positions_.empty()) {
    positions_.resize(entries_.size());
    for (std::uint32_t position = 0; position < size(); ++position) {
      positions_[entries_[position].unit] = position;
    }
  }
  return positions_[unit];
}

LeaseQueue::BinRange LeaseQueue::bins_between(std::uint64_t least, std::uint64_t most) const {
  const auto before = [](const Bin& bin, std::uint64_t key) { return bin.key < key; };
  const auto begin = std::lower_bound(bins_.begin(), bins_.end(), least, before);
  const auto end = std::lower_bound(begin, bins_.end(), most + 1, before);
  return {static_cast<std::uint32_t>(begin - bins_.begin()),
          static_cast<std::uint32_t>(end - bins_.begin())};
}

void LeaseQueue::set_places(std::uint32_t rank, std::span<const Place> places) {
  View view;
  view.has_device = std::any_of(places.begin(), places.end(), [](const Place& place) {
    return place.kind == PlaceKind::kDevice;
  });
  for (std::uint64_t level = 0; level < kLevelCount; ++level) {
    std::vector<std::uint32_t>& near = view.near[level];
    const auto add = [&](BinRange range) {
      for (std::uint32_t bin = range.begin; bin < range.end; ++bin) {
        if (std::find(near.begin(), near.end(), bin) == near.end()) {
          near.push_back(bin);
        }
      }
    };
    // What only ranks with a device can run is theirs first.
    for (const bool need : {true, false}) {
      for (const Place& place : places) {
        const std::uint64_t key = band_key(level, need) | place_key(place);
        if (!need || view.has_device) {
          add(bins_between(key, key));
        }
      }
    }
    for (const bool need : {true, false}) {
      for (const Place& place : places) {
        const std::uint64_t host = band_key(level, need) | std::uint64_t{place.host} << kHostShift;
        if (!need || view.has_device) {
          add(bins_between(host, host | ((std::uint64_t{1} << kHostShift) - 1)));
        }
      }
    }
    view.home[level] = near.empty() ? ranges_[level][0].begin : near.back();
  }
  views_[rank] = std::move(view);
}

bool LeaseQueue::may_run(std::uint32_t rank, std::uint32_t position) const {
  const std::uint32_t bin = entries_[position].bin;
  const std::uint64_t key = bins_[bin].key;
  const bool needs_device = (key >> kNeedShift & 1U) != 0;
  if (needs_device && !views_[rank].has_device) {
    return false;
  }
  const std::vector<std::uint32_t>& near = views_[rank].near[key >> kLevelShift];
  return !keeps_to_hosts_ || std::find(near.begin(), near.end(), bin) != near.end();
}

void LeaseQueue::put(std::uint32_t position) {
  const std::uint32_t number = entries_[position].bin;
  Bin& bin = bins_[number];
  waiting_.insert(position);
  bin.first = std::min(bin.first, position);
  ++waiting_count_;
  if (bin.waiting_count++ == 0) {
    waiting_bins_.insert(number);
  }
}

void LeaseQueue::remove(std::uint32_t position) {
  const std::uint32_t number = entries_[position].bin;
  Bin& bin = bins_[number];
  waiting_.erase(position);
  --waiting_count_;
  if (--bin.waiting_count == 0) {
    waiting_bins_.erase(number);
    bin.first = bin.end;
  } else if (bin.first == position) {
    bin.first = position + 1;
  }
}

void LeaseQueue::put_all() {
  waiting_.fill();
  for (std::uint32_t number = 0; number < bins_.size(); ++number) {
    Bin& bin = bins_[number];
    bin.first = bin.begin;
    bin.waiting_count = bin.end - bin.begin;
    waiting_bins_.insert(number);
  }
  waiting_count_ = size();
}

PositionSet::Run LeaseQueue::take(std::uint32_t rank, TakenFrom& from, std::uint64_t count_max) {
  if (from.bin_ >= bins_.size() || bins_[from.bin_].waiting_count == 0) {
    from.bin_ = pick_bin(views_[rank]);
    if (from.bin_ == bins_.size()) {
      return {};
    }
  }
  Bin& bin = bins_[from.bin_];
  const PositionSet::Run run =
      waiting_.take(bin.first, std::min<std::uint64_t>(count_max, bin.waiting_count));
  bin.first = run.begin + run.count;
  bin.waiting_count -= run.count;
  waiting_count_ -= run.count;
  if (bin.waiting_count == 0) {
    waiting_bins_.erase(from.bin_);
    bin.first = bin.end;
  }
  // Whoever is granted units reads their entries, and of many these come from far away.
  for (std::uint32_t taken = 0; taken < run.count; taken += kEntriesPerLine) {
    __builtin_prefetch(&entries_[std::min(run.begin + taken + kAhead, size() - 1)], 1);
  }
  return run;
}

/// The bin from which a rank is served next; their count when none is for it.
std::uint32_t LeaseQueue::pick_bin(const View& view) const {
  const auto none = static_cast<std::uint32_t>(bins_.size());
  if (waiting_count_ == 0) {
    return none;
  }
  for (std::size_t level = 0; level < kLevelCount; ++level) {
    for (const std::uint32_t bin : view.near[level]) {
      if (bins_[bin].waiting_count > 0) {
        return bin;
      }
    }
    for (const std::size_t need : {1U, 0U}) {
      if (keeps_to_hosts_ || (need == 1 && !view.has_device)) {
        continue;
      }
      const std::uint32_t found = waiting_bin_in(ranges_[level][need], view.home[level]);
      if (found != none) {
        return found;
      }
    }
  }
  return none;
}

/// Ranks begin at their homes, so that those of different places do not all take from one.
std::uint32_t LeaseQueue::waiting_bin_in(BinRange range, std::uint32_t from) const {
  const std::uint32_t begin = std::clamp(from, range.begin, range.end);
  std::uint32_t found = waiting_bins_.next(begin);
  if (found >= range.end) {
    found = waiting_bins_.next(range.begin);
  }
  return found < range.end ? found : static_cast<std::uint32_t>(bins_.size());
}

std::size_t LeaseQueue::memory_bytes() const noexcept {
  return entries_.capacity() * sizeof(Entry) + bins_.capacity() * sizeof(Bin) +
         waiting_.memory_bytes() + waiting_bins_.memory_bytes() +
         positions_.capacity() * sizeof(std::uint32_t);
}

}  // namespace pinion::protocol
