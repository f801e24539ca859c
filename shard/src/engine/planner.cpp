#include <pinion/shard/planner.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include <pinion/core/assert.hpp>

#include "engine/input_source.hpp"

namespace pinion {
namespace {

// Around a cut the rest of a line is read. Most lines end within the first block; a line without
// end is read in blocks that grow to the last one.
constexpr std::size_t kFirstBlockBytes = 4096;
constexpr std::size_t kLastBlockBytes = std::size_t{1} << 20;

Status check_policy(const PartitionPolicy& policy) {
  if (policy.target_size == 0) {
    return {ErrorCode::kInvalidArgument, "target_size is 0; it must be at least 1"};
  }
  if (policy.places.empty()) {
    return {ErrorCode::kInvalidArgument, "places is empty; shards need at least one place"};
  }
  return {};
}

// Refuses a cut so fine that the list of shards would not fit in memory or in a plan.
Status check_shard_count(std::uint64_t count, const PartitionPolicy& policy, std::uint64_t size) {
  if (count <= kShardCountMax) {
    return {};
  }
  return {ErrorCode::kInvalidArgument,
          "target_size " + std::to_string(policy.target_size) + " cuts the input of " +
              std::to_string(size) + " into " + std::to_string(count) + " shards; at most " +
              std::to_string(kShardCountMax) + " are possible, choose a larger one"};
}

std::uint64_t pieces_of(std::uint64_t size, std::uint64_t target) noexcept {
  return size / target + (size % target == 0 ? 0 : 1);
}

// The end of the piece that begins at `begin`, where cuts lie each `target` after `origin`.
std::uint64_t next_cut(std::uint64_t origin, std::uint64_t begin, std::uint64_t end,
                       std::uint64_t target) noexcept {
  const std::uint64_t to_cut = target - (begin - origin) % target;
  return to_cut >= end - begin ? end : begin + to_cut;
}

// Each place gets one run of neighbours, about as large as the runs of the others.
void deal(std::vector<ShardRange>& shards, std::uint64_t size, const std::vector<Place>& places) {
  const std::uint64_t count = places.size();
  const auto run_end = [&](std::uint64_t place) {
    return size / count * (place + 1) + std::min(place + 1, size % count);
  };
  std::uint64_t place = 0;
  for (ShardRange& shard : shards) {
    while (place + 1 < count && shard.begin >= run_end(place)) {
      ++place;
    }
    shard.place = places[place];
  }
}

// Joins in place: what is written never passes what is read.
void join_neighbours(std::vector<ShardRange>& shards, std::uint64_t target) {
  std::size_t count = 0;
  for (const ShardRange& shard : shards) {
    ShardRange* left = count == 0 ? nullptr : &shards[count - 1];
    if (left != nullptr && left->place == shard.place && left->end == shard.begin &&
        shard.end - left->begin <= target) {
      left->end = shard.end;
      const std::uint64_t room = std::numeric_limits<std::uint64_t>::max() - left->weight;
      left->weight += std::min(shard.weight, room);
    } else {
      shards[count++] = shard;
    }
  }
  shards.resize(count);
}

// Looks for ends of lines in one input.
class LineFinder {
 public:
  explicit LineFinder(const InputListing& input) noexcept : input_(input) {}

  // One past the first line feed in [from, end); `end` if there is none. The range lies in one file
  // or one stream.
  Result<std::uint64_t> after_line_feed(std::uint64_t from, std::uint64_t end) {
    std::size_t block_bytes = kFirstBlockBytes;
    while (from < end) {
      const std::size_t source = source_at(input_.sources(), from);
      block_.resize(block_bytes);
      const Result<std::size_t> count =
          input_.read(source, from - input_.sources()[source].begin, block_);
      if (!count) {
        return count.error();
      }
      PINION_ASSERT(*count > 0);
      if (const void* feed = std::memchr(block_.data(), '\n', *count); feed != nullptr) {
        const auto distance = static_cast<const std::byte*>(feed) - block_.data();
        return from + static_cast<std::uint64_t>(distance) + 1;
      }
      from += *count;
      block_bytes = std::min(block_bytes * 4, kLastBlockBytes);
    }
    return end;
  }

 private:
  const InputListing& input_;
  std::vector<std::byte> block_;
};

class BytePlanner final : public IShardPlanner {
 public:
  Result<std::vector<ShardRange>> partition(const InputListing& input,
                                            const PartitionPolicy& policy) const override {
    PINION_RETURN_IF_ERROR(check_policy(policy));
    if (input.kind() != InputKind::kBytes) {
      return Status(ErrorCode::kInvalidArgument,
                    "by_bytes cuts files, and this input is a range of indices; use "
                    "by_index_range");
    }
    const std::span<const InputSource> sources = input.sources();
    std::uint64_t count = 0;
    for (const InputSource& source : sources) {
      count += pieces_of(source.size_bytes, policy.target_size);
    }
    PINION_RETURN_IF_ERROR(check_shard_count(count, policy, input.size()));

    std::vector<ShardRange> shards;
    LineFinder lines(input);
    for (std::size_t first = 0; first < sources.size();) {
      const std::size_t end = whole_source_end(sources, first);
      PINION_RETURN_IF_ERROR(
          cut_source(sources[first].begin, end_of(sources[end - 1]), policy, lines, shards));
      first = end;
    }
    deal(shards, input.size(), policy.places);
    return shards;
  }

  std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                   const PartitionPolicy& policy) const override {
    join_neighbours(shards, policy.target_size);
    return shards;
  }

 private:
  // Cuts one file or stream, which lies in [origin, end).
  static Status cut_source(std::uint64_t origin, std::uint64_t end, const PartitionPolicy& policy,
                           LineFinder& lines, std::vector<ShardRange>& shards) {
    for (std::uint64_t begin = origin; begin < end;) {
      std::uint64_t cut = next_cut(origin, begin, end, policy.target_size);
      if (policy.alignment == Alignment::kLine && cut < end) {
        // From the byte before the cut on: if that is a line feed, the cut is right where it is.
        const Result<std::uint64_t> aligned = lines.after_line_feed(cut - 1, end);
        if (!aligned) {
          return aligned.error();
        }
        cut = *aligned;
      }
      shards.push_back({.begin = begin, .end = cut, .weight = cut - begin, .place = {}});
      begin = cut;
    }
    return {};
  }
};

class IndexPlanner final : public IShardPlanner {
 public:
  Result<std::vector<ShardRange>> partition(const InputListing& input,
                                            const PartitionPolicy& policy) const override {
    PINION_RETURN_IF_ERROR(check_policy(policy));
    if (input.kind() != InputKind::kIndices) {
      return Status(ErrorCode::kInvalidArgument,
                    "by_index_range cuts a range of indices, and this input is files; use "
                    "by_bytes");
    }
    const std::uint64_t count = pieces_of(input.size(), policy.target_size);
    PINION_RETURN_IF_ERROR(check_shard_count(count, policy, input.size()));

    std::vector<ShardRange> shards;
    shards.reserve(count);
    for (std::uint64_t begin = 0; begin < input.size();) {
      const std::uint64_t cut = next_cut(0, begin, input.size(), policy.target_size);
      shards.push_back({.begin = begin, .end = cut, .weight = cut - begin, .place = {}});
      begin = cut;
    }
    deal(shards, input.size(), policy.places);
    return shards;
  }

  std::vector<ShardRange> coalesce(std::vector<ShardRange> shards,
                                   const PartitionPolicy& policy) const override {
    join_neighbours(shards, policy.target_size);
    return shards;
  }
};

}  // namespace

Partitioning by_bytes(std::uint64_t target_bytes, Alignment alignment) {
  return {.planner = std::make_shared<const BytePlanner>(),
          .policy = {.target_size = target_bytes, .alignment = alignment},
          .description = "by_bytes(" + std::to_string(target_bytes) +
                         (alignment == Alignment::kLine ? ", align_to_line)" : ")")};
}

Partitioning by_index_range(std::uint64_t target_count) {
  return {.planner = std::make_shared<const IndexPlanner>(),
          .policy = {.target_size = target_count},
          .description = "by_index_range(" + std::to_string(target_count) + ")"};
}

}  // namespace pinion
