#include "engine/sort_sample.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include <pinion/shard/collect.hpp>
#include <pinion/shard/key_hash.hpp>
#include <pinion/shard/map_reduce.hpp>

namespace pinion::engine {
namespace {

// Enough for some hundred ranges that differ little in size.
constexpr std::uint64_t kBlockCount = 4096;
constexpr std::uint64_t kLineBlockBytes = 4096;
constexpr std::size_t kLinesPerBlock = 4;
constexpr std::uint64_t kRecordsPerBlock = 4;

// A smaller input is one range, for which nothing need be known.
constexpr std::uint64_t kSampledInputBytes = std::uint64_t{64} << 10;

using Emit = Collect<std::string_view>::Emitter;

// Emits the size of the input, then samples. What cannot be read is left out: the step that sorts
// meets the same fault, and tells it.
class Sampler {
 public:
  Sampler(const InputListing& listing, const RecordForm& form, std::uint64_t seed) noexcept
      : listing_(listing), form_(form), seed_(seed) {}

  void run(Emit& emit) {
    const std::uint64_t size = listing_.size();
    emit(std::string_view(reinterpret_cast<const char*>(&size), sizeof(size)));
    for (std::uint64_t i = 0; i < kBlockCount && size >= kSampledInputBytes; ++i) {
      const std::uint64_t at = mix_bits(seed_ + i + 1) % size;
      form_.is_lines() ? take_lines(at, emit) : take_records(at, emit);
    }
  }

 private:
  // Up to `count` bytes of the input from `at` on, within one source; none when reading fails.
  [[nodiscard]] std::string_view read(std::uint64_t at, std::uint64_t count) {
    const auto sources = listing_.sources();
    const auto next = std::ranges::upper_bound(sources, at, {}, &InputSource::begin);
    const auto source = static_cast<std::size_t>(next - sources.begin()) - 1;
    block_.resize(count);
    const Result<std::size_t> got = listing_.read(source, at - sources[source].begin, block_);
    return {reinterpret_cast<const char*>(block_.data()), got ? *got : 0};
  }

  void take_records(std::uint64_t at, Emit& emit) {
    const std::uint64_t width = form_.record_bytes;
    const std::string_view block = read(at / width * width, kRecordsPerBlock * width);
    for (std::size_t i = 0; i + width <= block.size(); i += width) {
      emit(block.substr(i, width));
    }
  }

  // Whole lines only: the first and the last of a block may be cut.
  void take_lines(std::uint64_t at, Emit& emit) {
    const std::string_view block = read(at, kLineBlockBytes);
    std::size_t feed = block.find('\n');
    for (std::size_t i = 0; i < kLinesPerBlock && feed != std::string_view::npos; ++i) {
      const std::size_t begin = feed + 1;
      feed = block.find('\n', begin);
      if (feed != std::string_view::npos) {
        emit(block.substr(begin, std::min<std::size_t>(feed - begin, kSampledLineBytes)));
      }
    }
  }

  const InputListing& listing_;
  const RecordForm& form_;
  std::uint64_t seed_;
  std::vector<std::byte> block_;
};

}  // namespace

Result<SortSample> take_sort_sample(IJobContext& job, const Input& input, const RecordForm& form,
                                    CallSite where) {
  Collect<std::string_view> records;
  StepSpec spec =
      detail::make_step("sample for sort of " + form.describe() + ", " + input.describe(),
                        indices(1), by_index_range(1), where);
  spec.partition_count = 1;
  spec.prototype = &records;
  spec.body = [&](const Shard& shard, IAggregator& state) {
    Emit emit(state, shard);
    const Result<InputListing> listing =
        InputListing::list(input, job.store(), job.info().has_standard_input, job.info().epoch);
    if (listing) {
      Sampler(*listing, form, job.info().seed).run(emit);
    }
  };
  Result<StepOutcome> outcome = run_step(job, spec);
  if (!outcome) {
    return std::move(outcome).error();
  }
  const auto taken = CollectedResult<std::string_view>::create(std::move(outcome->partitions));
  if (!taken) {
    return Status(taken.error());
  }
  SortSample sample;
  for (const std::string_view record : *taken) {
    sample.records.emplace_back(record);
  }
  if (!sample.records.empty()) {
    std::memcpy(&sample.input_bytes, sample.records.front().data(), sizeof(sample.input_bytes));
    sample.records.erase(sample.records.begin());
  }
  return sample;
}

}  // namespace pinion::engine
