#include <pinion/shard/histogram.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>

#include <pinion/core/assert.hpp>
#include <pinion/shard/key_hash.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/vector_reduce.hpp>

namespace pinion {
namespace {

// A sealed histogram: the number of bounds, the bounds, the counts of the bins, and those of what
// lies below, above and nowhere.
constexpr std::size_t kOtherCount = 3;

constexpr std::uint64_t sealed_words(std::uint64_t bound_count) {
  return 1 + bound_count + (bound_count - 1) + kOtherCount;
}

bool are_bounds(std::span<const double> bounds) {
  return bounds.size() >= 2 && std::isfinite(bounds.front()) && std::isfinite(bounds.back()) &&
         std::ranges::adjacent_find(
             bounds, [](double left, double right) { return !(left < right); }) == bounds.end();
}

struct Sealed {
  std::span<const double> bounds;
  std::span<const std::uint64_t> counts;
};

Result<Sealed> open(std::span<const std::byte> partition) {
  const auto damaged = [&] {
    return Status(ErrorCode::kDataLoss, "a sealed histogram of " +
                                            std::to_string(partition.size()) + " bytes is damaged");
  };
  const std::uint64_t word_count = partition.size() / sizeof(std::uint64_t);
  const bool aligned = reinterpret_cast<std::uintptr_t>(partition.data()) % alignof(double) == 0;
  if (!aligned || word_count == 0 || partition.size() % sizeof(std::uint64_t) != 0) {
    return damaged();
  }
  const auto* words = reinterpret_cast<const std::uint64_t*>(partition.data());
  const std::uint64_t bound_count = words[0];
  if (bound_count < 2 || bound_count > word_count || sealed_words(bound_count) != word_count) {
    return damaged();
  }
  const std::span bounds(reinterpret_cast<const double*>(words + 1), bound_count);
  if (!are_bounds(bounds)) {
    return damaged();
  }
  return Sealed{bounds, {words + 1 + bound_count, bound_count - 1 + kOtherCount}};
}

}  // namespace

Result<HistogramResult> HistogramResult::create(std::vector<Blob> blobs) {
  if (blobs.size() != 1) {
    return Status(ErrorCode::kDataLoss, "the answer of a histogram is one partition, found " +
                                            std::to_string(blobs.size()));
  }
  const auto partition = partition_of(blobs.front().bytes(), 0);
  if (!partition) {
    return Status(partition.error());
  }
  const pinion::Result<Sealed> sealed = open(*partition);
  if (!sealed) {
    return Status(sealed.error());
  }
  HistogramResult result;
  result.blob_ = std::move(blobs.front());
  result.bounds_ = sealed->bounds;
  result.counts_ = sealed->counts.first(sealed->bounds.size() - 1);
  result.others_ = sealed->counts.last(kOtherCount);
  return result;
}

Histogram::Histogram(std::vector<double> bounds) {
  PINION_ASSERT(are_bounds(bounds));
  const std::size_t bin_count = bounds.size() - 1;
  const double width = (bounds.back() - bounds.front()) / static_cast<double>(bin_count);
  // A guess that is off by more than a bin or two costs more than a search.
  is_uniform_ = std::isfinite(width) && std::isfinite(1 / width);
  for (std::size_t i = 0; i < bounds.size() && is_uniform_; ++i) {
    const double expected = bounds.front() + width * static_cast<double>(i);
    is_uniform_ = std::abs(bounds[i] - expected) <= width;
  }
  bins_per_unit_ = is_uniform_ ? 1 / width : 0;
  counts_.resize(bin_count + kOtherCount);
  // Shared: every state of the step, on whichever thread, reads the same bounds.
  bounds_ = std::make_shared<const std::vector<double>>(std::move(bounds));
}

std::string Histogram::describe() const {
  return std::to_string(bounds_->size() - 1) + " bins, bounds " +
         std::to_string(hash_bytes(std::as_bytes(std::span(*bounds_))));
}

std::unique_ptr<IAggregator> Histogram::fresh() const {
  auto state = std::make_unique<Histogram>(*this);
  std::ranges::fill(state->counts_, 0);
  return state;
}

void Histogram::accumulate(const Part& part) {
  for (const Record& record : part.records<Record>()) {
    counts_[slot_of(record.value)] += record.count;
  }
}

Status Histogram::merge(std::span<const std::span<const std::byte>> partials) {
  for (const std::span<const std::byte> partition : partials) {
    const pinion::Result<Sealed> sealed = open(partition);
    if (!sealed) {
      return Status(sealed.error());
    }
    if (!std::ranges::equal(sealed->bounds, *bounds_)) {
      return Status(ErrorCode::kDataLoss, "a sealed histogram has other bounds than this one");
    }
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      counts_[i] += sealed->counts[i];
    }
  }
  return {};
}

Result<Blob> Histogram::seal(IBlobStore& store, Place place, std::uint32_t partition_count) {
  std::vector<std::uint64_t> words(sealed_words(bounds_->size()));
  words[0] = bounds_->size();
  std::memcpy(words.data() + 1, bounds_->data(), bounds_->size() * sizeof(double));
  std::ranges::copy(counts_, words.begin() + 1 + static_cast<std::ptrdiff_t>(bounds_->size()));
  return seal_one_partition(store, place, partition_count, std::as_bytes(std::span(words)));
}

std::uint64_t Histogram::memory_bytes() const noexcept {
  return counts_.capacity() * sizeof(std::uint64_t);
}

std::size_t Histogram::search(double value) const noexcept {
  const auto after = std::upper_bound(bounds_->begin(), bounds_->end() - 1, value);
  return static_cast<std::size_t>(after - bounds_->begin()) - 1;
}

Histogram histogram(std::vector<double> bounds) {
  return Histogram(std::move(bounds));
}

Histogram histogram(double low, double high, std::size_t bin_count) {
  PINION_ASSERT(bin_count > 0);
  std::vector<double> bounds(bin_count + 1);
  for (std::size_t i = 0; i < bin_count; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(bin_count);
    bounds[i] = low * (1 - share) + high * share;
  }
  bounds[bin_count] = high;
  return Histogram(std::move(bounds));
}

}  // namespace pinion
