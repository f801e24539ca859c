#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/shard.hpp>

namespace pinion {

/// The answer of histogram(), read from where it lies. Copying it copies a reference.
///
/// Thread safety: immutable.
/// Lifetime: the spans are valid while any copy of the result lives.
class HistogramResult {
 public:
  /// For the engine: the one sealed state.
  /// Errors: kDataLoss for blobs that are not that.
  [[nodiscard]] static Result<HistogramResult> create(std::vector<Blob> blobs);

  /// Bin i counts the values in [bounds()[i], bounds()[i + 1]); the last one also its upper bound.
  [[nodiscard]] std::span<const double> bounds() const noexcept { return bounds_; }
  [[nodiscard]] std::span<const std::uint64_t> counts() const noexcept { return counts_; }

  /// Values below the first bound, above the last one, and those that are not numbers (NaN).
  [[nodiscard]] std::uint64_t below() const noexcept { return others_[0]; }
  [[nodiscard]] std::uint64_t above() const noexcept { return others_[1]; }
  [[nodiscard]] std::uint64_t not_numbers() const noexcept { return others_[2]; }

 private:
  HistogramResult() = default;

  Blob blob_;
  std::span<const double> bounds_;
  std::span<const std::uint64_t> counts_;
  std::span<const std::uint64_t> others_;
};

/// Counts values by the interval that they lie in.
///
/// Thread safety: none for one object.
class Histogram final : public IAggregator {
 public:
  struct Record {
    double value = 0;
    std::uint64_t count = 1;
  };
  using Result = HistogramResult;
  class Emitter;

  static constexpr std::uint32_t kPartitionCount = 1;
  static constexpr bool kCombinesPartials = true;

  /// Precondition: at least two bounds, finite, each greater than the one before.
  explicit Histogram(std::vector<double> bounds);

  /// For the step's fingerprint: ranks must agree on it.
  [[nodiscard]] std::string describe() const;

  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override;
  void accumulate(const Part& part) override;
  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>> partials) override;
  void finalize() override {}
  [[nodiscard]] pinion::Result<Blob> seal(IBlobStore& store, Place place,
                                          std::uint32_t partition_count) override;
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override;

  /// Where a value is counted: a bin, or one of the three slots after the bins.
  [[nodiscard]] std::size_t slot_of(double value) const noexcept {
    const std::size_t bin_count = bounds_->size() - 1;
    if (!(value >= bounds_->front() && value <= bounds_->back())) [[unlikely]] {
      return bin_count + (value < bounds_->front() ? 0 : value > bounds_->back() ? 1 : 2);
    }
    if (!is_uniform_) {
      return search(value);
    }
    // Bins of equal width are hit at once, or beside; the bounds decide.
    const double guess = (value - bounds_->front()) * bins_per_unit_;
    auto bin = static_cast<std::size_t>(guess);
    bin = bin < bin_count ? bin : bin_count - 1;
    while (value < (*bounds_)[bin]) {
      --bin;
    }
    while (bin + 1 < bin_count && value >= (*bounds_)[bin + 1]) {
      ++bin;
    }
    return bin;
  }

 private:
  [[nodiscard]] std::size_t search(double value) const noexcept;

  // One copy for all states of a step.
  std::shared_ptr<const std::vector<double>> bounds_;
  double bins_per_unit_ = 0;
  bool is_uniform_ = false;
  std::vector<std::uint64_t> counts_;  // The bins; then below, above and not numbers.
};

/// What a body emits into: emit(value), or emit(value, how often).
///
/// Thread safety: none; lives on the stack of one body.
class Histogram::Emitter {
 public:
  /// Borrows `state`. Precondition: it is a Histogram.
  Emitter(IAggregator& state, const Shard&) noexcept : state_(static_cast<Histogram&>(state)) {}
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  void operator()(double value, std::uint64_t count = 1) noexcept {
    state_.counts_[state_.slot_of(value)] += count;
  }

  /// Nothing is held back.
  void flush() noexcept {}

 private:
  Histogram& state_;
};

/// Counts values by interval, the intervals given by their ascending bounds:
/// `pinion::histogram({0, 1, 10, 100})`.
/// Precondition: at least two bounds, finite, each greater than the one before.
[[nodiscard]] Histogram histogram(std::vector<double> bounds);

/// `bin_count` intervals of equal width over [low, high].
/// Precondition: low < high, both finite; at least one bin, and few enough that each has a width.
[[nodiscard]] Histogram histogram(double low, double high, std::size_t bin_count);

}  // namespace pinion
