#include <pinion/shard/sort.hpp>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include <pinion/core/assert.hpp>
#include <pinion/shard/map_reduce.hpp>
#include <pinion/shard/partitioned_blob.hpp>

#include "engine/batch_bytes.hpp"
#include "engine/sort_batch.hpp"
#include "engine/sort_merge.hpp"
#include "engine/sort_sample.hpp"
#include "engine/sort_sealed.hpp"

namespace pinion {
namespace engine {
namespace {

// The records of a range this large are read, sorted and gathered in the caches of one core.
constexpr std::uint64_t kRangeBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kRangeBytesMin = std::uint64_t{64} << 10;
constexpr std::uint64_t kRangeCountMax = 2048;

// Large enough for huge pages to pay, small enough that the rest that a batch leaves empty does not
// matter.
constexpr std::uint64_t kBatchBytes = std::uint64_t{64} << 20;

// Of a job of one rank, whose batches give memory back while they are merged. For each of so many
// groups a batch leaves half an extent unused, and one group in so many is there twice.
constexpr std::uint64_t kLargeBatchBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kBytesPerGroup = std::uint64_t{32} << 20;
constexpr std::uint64_t kExtentBytes = std::uint64_t{2} << 20;  // A huge page.

Place place_of_worker(const Executor& executor) {
  std::size_t worker = executor.current_worker();
  for (const WorkerGroup& group : executor.groups()) {
    if (worker < group.worker_count) {
      return group.place;
    }
    worker -= group.worker_count;
  }
  return executor.groups().front().place;
}

// The state of a sort: a batch while shards are mapped, or one range while batches are merged. What
// a merged state seals is the answer and is merged no further.
class SortState final : public IAggregator {
 public:
  explicit SortState(const SortWork& work) : work_(work), batch_(work), merge_(work) {}

  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override {
    return std::make_unique<SortState>(work_);
  }
  void accumulate(const Part&) override {
    PINION_ASSERT(false);  // A sort takes shards, nothing is emitted.
  }
  // What goes wrong is kept for seal(), which can tell it with its code.
  void add(const Shard& shard, Place place) {
    if (failure_.ok()) {
      failure_ = batch_.add(shard, place);
    }
  }
  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>> partials) override {
    is_merged_ = true;
    for (const std::span<const std::byte> partition : partials) {
      PINION_RETURN_IF_ERROR(merge_.add(partition));
    }
    return {};
  }
  void finalize() override { is_merged_ = true; }
  [[nodiscard]] Result<Blob> seal(IBlobStore& store, Place place,
                                  std::uint32_t partition_count) override {
    PINION_RETURN_IF_ERROR(failure_);
    PINION_ASSERT(partition_count == (is_merged_ ? 1 : work_.ranges.count()));
    return is_merged_ ? merge_.seal(store, place) : batch_.seal(place);
  }
  // A batch that is full is to be sealed: it says so by the only number that the engine asks for.
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override {
    const std::uint64_t bytes = batch_.memory_bytes() + merge_.memory_bytes();
    return batch_.is_full() ? std::max(bytes, work_.seal_bytes) : bytes;
  }

 private:
  const SortWork& work_;
  SortBatch batch_;
  SortMerge merge_;
  Status failure_;
  bool is_merged_ = false;
};

Status check(const Input& input, const RecordForm& form) {
  if (std::ranges::find(input.paths, "-") != input.paths.end()) {
    return Status(ErrorCode::kInvalidArgument,
                  "sort reads a sample of its input first, and standard input can be read only "
                  "once; save it to a file");
  }
  const SortKey& key = form.key;
  const bool is_integer = key.order != SortKey::Order::kBytes;
  if (is_integer && key.length != 1 && key.length != 2 && key.length != 4 && key.length != 8) {
    return Status(ErrorCode::kInvalidArgument,
                  "an integer key has 1, 2, 4 or 8 bytes, not " + std::to_string(key.length));
  }
  if (!form.is_lines() && std::uint64_t{key.offset} + key.length > form.record_bytes) {
    return Status(ErrorCode::kInvalidArgument, "a key of " + std::to_string(key.length) +
                                                   " bytes at " + std::to_string(key.offset) +
                                                   " does not lie in a record of " +
                                                   std::to_string(form.record_bytes) + " bytes");
  }
  return {};
}

// What all keys of the sample begin with.
std::string common_begin(const KeyReader& keys, std::span<const std::string> records) {
  if (keys.is_integer() || records.empty()) {
    return {};
  }
  const auto key = [&](const std::string& record) {
    const RecordBytes bytes = keys.key(std::as_bytes(std::span(record)));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  std::string_view common = key(records.front());
  for (const std::string& record : records) {
    const std::string_view other = key(record);
    const auto end = std::ranges::mismatch(common, other).in1;
    common = common.substr(0, static_cast<std::size_t>(end - common.begin()));
  }
  return std::string(common);
}

SortWork make_work(IJobContext& job, const SortSample& sample, const RecordForm& form) {
  KeyReader keys(form, common_begin(KeyReader(form), sample.records));
  std::vector<std::uint64_t> prefixes;
  for (const std::string& record : sample.records) {
    prefixes.push_back(keys.prefix(std::as_bytes(std::span(record))));
  }
  const std::uint64_t worker_count = job.info().rank_count * job.executor().worker_count();
  const std::uint64_t wanted =
      std::clamp(sample.input_bytes / kRangeBytes,
                 std::min(sample.input_bytes / kRangeBytesMin, 4 * worker_count), kRangeCountMax);
  return {.store = job.store(),
          .keys = std::move(keys),
          .ranges = SortRanges(std::move(prefixes), static_cast<std::uint32_t>(wanted)),
          .batch_bytes = std::min(kBatchBytes, batch_bytes_of(job)),
          .batch_shard_count = job.info().batch_shard_count,
          .seal_bytes = batch_bytes_of(job)};
}

// Where no other rank reads batches, these give their memory back while they are merged.
std::unique_ptr<SortDiscard> make_discard(IJobContext& job, std::uint64_t input_bytes,
                                          SortWork& work) {
  const std::uint64_t batch_bytes =
      std::min({input_bytes / job.executor().worker_count(), kLargeBatchBytes, work.seal_bytes});
  const auto group_count = static_cast<std::uint32_t>(batch_bytes / kBytesPerGroup);
  if (job.info().rank_count > 1 || group_count < 2) {
    return nullptr;
  }
  // A batch that has room for all is not to end before it, for fear of another extent a group.
  work.batch_bytes = batch_bytes + std::uint64_t{2} * group_count * kExtentBytes;
  work.extent_bytes = kExtentBytes;
  return std::make_unique<SortDiscard>(work.store, work.ranges.count(),
                                       std::min(group_count, work.ranges.count()));
}

}  // namespace
}  // namespace engine

std::string RecordForm::describe() const {
  if (is_lines()) {
    return "lines";
  }
  constexpr std::string_view kOrders[] = {"bytes", "unsigned", "signed"};
  return "records of " + std::to_string(record_bytes) + " bytes by " + std::to_string(key.length) +
         " at " + std::to_string(key.offset) + " as " +
         std::string(kOrders[static_cast<std::size_t>(key.order)]);
}

RecordForm fixed_records(std::uint32_t record_bytes, ByteRange key) {
  PINION_ASSERT(record_bytes > 0);
  return {.record_bytes = record_bytes, .key = {.offset = key.offset, .length = key.length}};
}

RecordForm line_records() {
  return {};
}

namespace {

struct SortCall {
  std::string_view operation;
  bool opens_partitions = true;
};

Result<StepOutcome> run_sort(IJobContext& job, const SortCall& call, Input input,
                             Partitioning partitioning, const RecordForm& records, CallSite where) {
  PINION_RETURN_IF_ERROR(engine::check(input, records));
  const Result<engine::SortSample> sample = engine::take_sort_sample(job, input, records, where);
  if (!sample) {
    return Status(sample.error());
  }
  engine::SortWork work = engine::make_work(job, *sample, records);
  const auto discard = engine::make_discard(job, sample->input_bytes, work);
  work.discard = discard.get();
  const engine::SortState prototype(work);
  // Equal keys stay in the order of the input whatever shares a batch.
  partitioning.is_ordered = false;
  StepSpec spec = detail::make_step(std::string(call.operation) + records.describe(),
                                    std::move(input), std::move(partitioning), where);
  spec.opens_partitions = call.opens_partitions;
  spec.partition_count = work.ranges.count();
  spec.prototype = &prototype;
  spec.body = [&job](const Shard& shard, IAggregator& state) {
    static_cast<engine::SortState&>(state).add(shard, engine::place_of_worker(job.executor()));
  };
  if (discard) {
    spec.on_merged = [&discard](std::uint32_t range) { discard->merged(range); };
  }
  return run_step(job, spec);
}

}  // namespace

Result<SortedResult> sort(IJobContext& job, Input input, Partitioning partitioning,
                          RecordForm records, CallSite where) {
  Result<StepOutcome> outcome = run_sort(job, {.operation = "sort of "}, std::move(input),
                                         std::move(partitioning), records, where);
  if (!outcome) {
    return std::move(outcome).error();
  }
  return SortedResult::create(std::move(outcome->partitions));
}

Result<Distributed<SortedResult>> sort(IJobContext& job, Input input, Partitioning partitioning,
                                       DistributedRecords distributed, CallSite where) {
  Result<StepOutcome> outcome =
      run_sort(job, {.operation = "distributed sort of ", .opens_partitions = false},
               std::move(input), std::move(partitioning), distributed.records, where);
  if (!outcome) {
    return std::move(outcome).error();
  }
  return Distributed<SortedResult>(job.store(), std::move(outcome->handles));
}

}  // namespace pinion
