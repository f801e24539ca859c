#include "engine/planner_parts.hpp"

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "engine/input_source.hpp"

namespace pinion {
namespace {

// A chosen size is a multiple of this: reads of whole pages are the quicker ones.
constexpr std::uint64_t kChosenBytesStep = std::uint64_t{64} << 10;

// Text becomes about four times as large, and inflating it takes longer than reading it: the
// coordinator grants heavy shards first.
constexpr std::uint64_t kCompressedWeight = 4;

// The end of the piece that begins at `begin`, where cuts lie each `target` after `origin`.
std::uint64_t next_cut(std::uint64_t origin, std::uint64_t begin, std::uint64_t end,
                       std::uint64_t target) noexcept {
  const std::uint64_t to_cut = target - (begin - origin) % target;
  return to_cut >= end - begin ? end : begin + to_cut;
}

// The place of the blob that the shard begins in.
std::optional<Place> home_of_shard(const ShardRange& shard, const InputListing& input) {
  if (input.kind() != InputKind::kBytes) {
    return std::nullopt;
  }
  const std::size_t source = source_at(input.sources(), shard.begin);
  // Standard input was read by one thread, wherever that ran: its place says nothing.
  if (!lies_in_blob(input.sources()[source]) || is_stream(input.sources()[source])) {
    return std::nullopt;
  }
  return input.sources()[source].home;
}

// The places of a policy, to find those that are near to blobs.
class NearPlaces {
 public:
  explicit NearPlaces(std::vector<Place> places) : places_(std::move(places)) {
    std::sort(places_.begin(), places_.end(), before_by_host);
  }

  // The home itself; where nobody works there, one of its host, `dealt` before others; `dealt`
  // where there is none. Of blobs of other hosts whoever plans knows the host alone. For one policy
  // all are to plan alike, so where it has places of several hosts, nothing else counts; where it
  // has those of one, whoever plans on another host may choose otherwise among them.
  [[nodiscard]] Place nearest(const Place& home, const Place& dealt) const {
    const bool is_one_host = places_.front().host == places_.back().host;
    if (is_one_host && std::binary_search(places_.begin(), places_.end(), home, before_by_host)) {
      return home;
    }
    const auto on_host =
        std::lower_bound(places_.begin(), places_.end(), Place{.host = home.host}, before_by_host);
    const bool is_there = on_host != places_.end() && on_host->host == home.host;
    return is_there && dealt.host != home.host ? *on_host : dealt;
  }

 private:
  std::vector<Place> places_;  // Not empty.
};

}  // namespace

std::uint64_t choose_target(std::uint64_t total, std::uint64_t worker_count) noexcept {
  const std::uint64_t workers = std::max<std::uint64_t>(1, worker_count);
  const std::uint64_t count =
      workers > kShardCountMax / kShardsPerWorker ? kShardCountMax : workers * kShardsPerWorker;
  return std::max<std::uint64_t>(1, pieces_of(total, count));
}

std::uint64_t total_of(const std::vector<ShardRange>& shards, Measure measure) noexcept {
  return std::accumulate(shards.begin(), shards.end(), std::uint64_t{0},
                         [measure](std::uint64_t sum, const ShardRange& shard) {
                           return saturating_sum(sum, measure(shard));
                         });
}

Status check_policy(const PartitionPolicy& policy) {
  if (policy.places.empty()) {
    return {ErrorCode::kInvalidArgument, "places is empty; shards need at least one place"};
  }
  const std::vector<std::uint64_t>& counts = policy.place_worker_counts;
  if (!counts.empty() && counts.size() != policy.places.size()) {
    return {ErrorCode::kInvalidArgument, "place_worker_counts has " +
                                             std::to_string(counts.size()) + " entries for " +
                                             std::to_string(policy.places.size()) + " places"};
  }
  if (!counts.empty() && std::count(counts.begin(), counts.end(), 0u) != 0) {
    return {ErrorCode::kInvalidArgument, "place_worker_counts has a place without workers"};
  }
  if (std::string flaw = policy.alignment.find_flaw(); !flaw.empty()) {
    return {ErrorCode::kInvalidArgument, std::move(flaw)};
  }
  return {};
}

Status require_kind(const InputListing& input, InputKind kind, const char* planner,
                    const char* instead) {
  if (input.kind() == kind) {
    return {};
  }
  return {
      ErrorCode::kInvalidArgument,
      std::string(planner) +
          (kind == InputKind::kBytes ? " cuts files, and this input is a range of indices; use "
                                     : " cuts a range of indices, and this input is files; use ") +
          instead};
}

Status check_shard_count(std::uint64_t count, std::uint64_t target, std::uint64_t size) {
  if (count <= kShardCountMax) {
    return {};
  }
  return {ErrorCode::kInvalidArgument,
          "target_size " + std::to_string(target) + " cuts the input of " + std::to_string(size) +
              " into " + std::to_string(count) + " shards; at most " +
              std::to_string(kShardCountMax) + " are possible, choose a larger one"};
}

std::uint64_t pieces_of(std::uint64_t size, std::uint64_t target) noexcept {
  return size / target + (size % target == 0 ? 0 : 1);
}

std::uint64_t byte_target(const PartitionPolicy& policy, std::uint64_t size) noexcept {
  if (policy.target_size > 0) {
    return policy.target_size;
  }
  const std::uint64_t even =
      std::clamp(choose_target(size, policy.worker_count), kChosenBytesMin, kChosenBytesMax);
  // Of an enormous input, as many shards as a step can have at most, with room for small files.
  const std::uint64_t least = size / (kShardCountMax / 2);
  return pieces_of(std::max(even, least), kChosenBytesStep) * kChosenBytesStep;
}

std::uint64_t plain_target(const PartitionPolicy& policy, std::uint64_t total) noexcept {
  return policy.target_size > 0 ? policy.target_size : choose_target(total, policy.worker_count);
}

std::vector<std::uint64_t> part_ends(const PartitionPolicy& policy, std::uint64_t total) {
  const std::vector<std::uint64_t> same(policy.places.size(), 1);
  const std::vector<std::uint64_t>& counts =
      policy.place_worker_counts.empty() ? same : policy.place_worker_counts;
  const std::uint64_t all = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  std::vector<std::uint64_t> ends;
  std::uint64_t count = 0;
  for (const std::uint64_t workers : counts) {
    count += workers;
    // In two parts, as total * count may not fit.
    ends.push_back(total / all * count + total % all * count / all);
  }
  return ends;
}

void deal(std::vector<ShardRange>& shards, const InputListing& input, const PartitionPolicy& policy,
          Measure measure) {
  const std::vector<std::uint64_t> ends = part_ends(policy, total_of(shards, measure));
  const NearPlaces near(policy.places);
  std::size_t part = 0;
  std::uint64_t at = 0;
  for (ShardRange& shard : shards) {
    while (part + 1 < ends.size() && at >= ends[part]) {
      ++part;
    }
    const std::optional<Place> home = home_of_shard(shard, input);
    shard.place = home ? near.nearest(*home, policy.places[part]) : policy.places[part];
    at = saturating_sum(at, measure(shard));
  }
}

// Joins in place: what is written never passes what is read.
void join_neighbours(std::vector<ShardRange>& shards, std::uint64_t target, Measure measure) {
  std::size_t count = 0;
  for (const ShardRange& shard : shards) {
    ShardRange* left = count == 0 ? nullptr : &shards[count - 1];
    if (left != nullptr && left->place == shard.place && left->priority == shard.priority &&
        left->end == shard.begin && saturating_sum(measure(*left), measure(shard)) <= target) {
      left->end = shard.end;
      left->weight = saturating_sum(left->weight, shard.weight);
    } else {
      shards[count++] = shard;
    }
  }
  shards.resize(count);
}

Status for_each_whole_source(const InputListing& input,
                             const std::function<Status(const WholeSource&)>& visit) {
  const std::span<const InputSource> sources = input.sources();
  WholeSource whole;
  for (std::size_t first = 0; first < sources.size(); ++whole.index) {
    const std::size_t end = whole_source_end(sources, first);
    whole.source = sources[first];
    whole.source.size_bytes = end_of(sources[end - 1]) - whole.source.begin;
    PINION_RETURN_IF_ERROR(visit(whole));
    first = end;
  }
  return {};
}

Result<std::uint64_t> SourceCutter::align(std::uint64_t begin, std::uint64_t cut,
                                          const InputSource& source) {
  const std::uint64_t end = end_of(source);
  if (cut == end) {
    return end;
  }
  switch (alignment_.kind()) {
    case Alignment::Kind::kNone:
      return cut;
    case Alignment::Kind::kDelimiter:
      return delimiters_.first_end(begin, cut, end);
    case Alignment::Kind::kRecords:
      break;
  }
  const std::uint64_t record_bytes = alignment_.record_bytes();
  const std::uint64_t beyond = (cut - source.begin) % record_bytes;
  return beyond == 0 ? cut : std::min(end, cut + (record_bytes - beyond));
}

Status SourceCutter::cut(const InputSource& source, std::uint64_t target,
                         std::vector<ShardRange>& shards) {
  const std::uint64_t end = end_of(source);
  if (source.is_partition) {
    shards.push_back({.begin = source.begin, .end = end, .weight = source.size_bytes, .place = {}});
    return {};
  }
  if (source.compression != Compression::kNone) {
    const std::uint64_t most = std::numeric_limits<std::uint64_t>::max() / kCompressedWeight;
    shards.push_back({.begin = source.begin,
                      .end = end,
                      .weight = std::min(source.size_bytes, most) * kCompressedWeight,
                      .place = {}});
    return {};
  }
  if (const std::uint64_t record_bytes = alignment_.record_bytes();
      record_bytes > 0 && source.size_bytes % record_bytes != 0) {
    return broken_record(source.path, source.size_bytes, record_bytes);
  }
  for (std::uint64_t begin = source.begin; begin < end;) {
    std::uint64_t wanted = next_cut(source.begin, begin, end, target);
    const auto fixed = std::upper_bound(fixed_cuts_.begin(), fixed_cuts_.end(), begin);
    if (fixed != fixed_cuts_.end()) {
      wanted = std::min(wanted, *fixed);
    }
    const Result<std::uint64_t> aligned = align(begin, wanted, source);
    if (!aligned) {
      return aligned.error();
    }
    shards.push_back({.begin = begin, .end = *aligned, .weight = *aligned - begin, .place = {}});
    begin = *aligned;
  }
  return {};
}

}  // namespace pinion
