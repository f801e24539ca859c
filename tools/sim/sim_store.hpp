#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>

#include "sim/sim_random.hpp"

namespace pinion::sim {

enum class BlobKind : std::uint8_t { kPlan, kPartial, kCombined, kResult };

struct BlobContent {
  BlobKind kind = BlobKind::kPlan;
  /// Of a result: it was merged from each shard once. Of what is combined: from none twice.
  bool whole = true;
  bool damaged = false;
  std::uint32_t partition = 0;  ///< Of a result, or of what is combined.
  std::uint64_t step = 0;
  std::vector<std::uint32_t> shards = {};  ///< Of a partial or combined ones: what they are of.
  /// Of a result, or of what is combined, in its partition; of a partial that is not ordered, what
  /// its shards give.
  std::uint64_t sum = 0;
};

/// The sink, seen from outside the coordinator: which blobs the job holds and what is in them.
class Store {
 public:
  BlobHandle create(BlobContent content, std::uint32_t host, std::uint32_t epoch) {
    blobs_.push_back({.content = std::move(content), .host = host});
    __builtin_prefetch(blobs_.data() + blobs_.size(), 1);  // For the next one.
    return {
        .job = 1, .generation = blobs_.size(), .length_bytes = 64, .epoch = epoch, .host = host};
  }

  /// The following two answer with what is wrong, or with nothing.
  std::string keep(const BlobHandle& blob) {
    if (!exists(blob) || entry(blob).state != State::kOfItsMaker) {
      return "a blob is kept that does not exist any more or was kept before";
    }
    entry(blob).state = State::kKept;
    return {};
  }

  std::string release(const BlobHandle& blob) {
    if (!exists(blob) || entry(blob).state == State::kReleased) {
      return "a blob is released that does not exist or was released before";
    }
    entry(blob).state = State::kReleased;
    return {};
  }

  /// The host is lost: what lies there can be read by those only who have mapped it.
  void lose(std::uint32_t host) {
    for (Entry& blob : blobs_) {
      blob.lost = blob.lost || blob.host == host;
    }
  }
  /// The coordinator knows of that. What steps are made of whose end it has decided, it has let go
  /// of before.
  template <class HasEnded>
  void forget(std::uint32_t host, HasEnded has_ended) {
    for (Entry& blob : blobs_) {
      const bool is_let_go = blob.content.kind != BlobKind::kResult && has_ended(blob.content.step);
      if (blob.host == host && blob.state == State::kKept && !is_let_go) {
        blob.state = State::kForgotten;
      }
    }
  }
  [[nodiscard]] bool lost(const BlobHandle& blob) const { return exists(blob) && entry(blob).lost; }
  [[nodiscard]] bool lost_a_result() const {
    return std::any_of(blobs_.begin(), blobs_.end(), [](const Entry& blob) {
      return blob.state == State::kForgotten && blob.content.kind == BlobKind::kResult;
    });
  }

  /// What the journal keeps after its host has died: nothing but these, of which one may not be
  /// what it was. They are on the host of the coordinator then.
  void survive(std::span<const BlobHandle> kept) {
    std::vector<bool> survives(blobs_.size() + 1);
    for (const BlobHandle& blob : kept) {
      survives[exists(blob) ? blob.generation : 0] = true;
    }
    for (std::size_t i = 0; i < blobs_.size(); ++i) {
      blobs_[i].state = survives[i + 1] ? State::kKept : State::kReleased;
      blobs_[i].lost = !survives[i + 1];
      blobs_[i].host = 0;
    }
  }
  /// Damages a partial that the job holds, if it holds any.
  bool damage(Random& random) {
    for (std::uint64_t tries = 0; tries < 10 && !blobs_.empty(); ++tries) {
      Entry& blob = blobs_[random.below(blobs_.size())];
      if (blob.state == State::kKept && blob.content.kind == BlobKind::kPartial) {
        blob.content.damaged = true;
        return true;
      }
    }
    return false;
  }
  /// The journal needs the plan and the partials of the step no longer.
  void drop_work_of(std::uint64_t step) {
    for (Entry& blob : blobs_) {
      const bool work = blob.content.kind != BlobKind::kResult;
      blob.dropped = blob.dropped || (work && blob.content.step == step);
    }
  }
  /// Whether the journal can give the blob back as it was, also when the job had let go of it.
  [[nodiscard]] bool whole(const BlobHandle& blob) const {
    return exists(blob) && !entry(blob).dropped && !entry(blob).content.damaged;
  }

  /// Precondition: create() has made it.
  [[nodiscard]] std::uint32_t host_of(const BlobHandle& blob) const { return entry(blob).host; }
  [[nodiscard]] const BlobContent& content_of(const BlobHandle& blob) const {
    return entry(blob).content;
  }
  /// The content of a blob that the job holds, as far as the coordinator knows, else nothing.
  [[nodiscard]] const BlobContent* find_kept(const BlobHandle& blob) const {
    return exists(blob) && entry(blob).state == State::kKept ? &entry(blob).content : nullptr;
  }
  /// The same of one that can be read where it is not mapped yet.
  [[nodiscard]] const BlobContent* find_readable(const BlobHandle& blob) const {
    const BlobContent* const kept = find_kept(blob);
    return kept == nullptr || entry(blob).lost ? nullptr : kept;
  }

  /// Asks for the memory of a blob that is looked at soon.
  void make_ready(const BlobHandle& blob) const {
    if (exists(blob)) {
      __builtin_prefetch(&entry(blob));
    }
  }

  /// How many shards these partials have of a step's, or nothing when two have the same one. All
  /// partitions of a step are merged from the same, so the last answer is remembered.
  [[nodiscard]] std::optional<std::uint64_t> count_shards(std::span<const BlobHandle> partials,
                                                          std::uint64_t shard_count) {
    static_assert(std::has_unique_object_representations_v<BlobHandle>);
    if (!partials.empty() && partials.size() == counted_partials_.size() &&
        std::memcmp(partials.data(), counted_partials_.data(),
                    partials.size() * sizeof(BlobHandle)) == 0) {
      return counted_;
    }
    counted_partials_.assign(partials.begin(), partials.end());
    counted_ = 0;
    std::vector<bool> found(shard_count);
    for (std::size_t i = 0; i < partials.size(); ++i) {
      make_ready(partials[std::min(i + 2 * kAhead, partials.size() - 1)]);
      __builtin_prefetch(
          content_of(partials[std::min(i + kAhead, partials.size() - 1)]).shards.data());
      for (const std::uint64_t shard : content_of(partials[i]).shards) {
        if (found[shard]) {
          counted_.reset();
          return counted_;
        }
        found[shard] = true;
        ++*counted_;
      }
    }
    return counted_;
  }

  [[nodiscard]] std::vector<const BlobContent*> kept_of(std::uint64_t step, BlobKind kind) const {
    return kept_where([step, kind](const Entry& blob) {
      return blob.content.step == step && blob.content.kind == kind;
    });
  }
  [[nodiscard]] std::vector<const BlobContent*> kept_on(std::uint32_t host) const {
    return kept_where([host](const Entry& blob) { return blob.host == host; });
  }

 private:
  enum class State : std::uint8_t { kOfItsMaker, kKept, kForgotten, kReleased };
  static constexpr std::size_t kAhead = 4;  // Blobs whose memory is asked for before it is needed.
  /// A line of the cache, as merges look at one after another, wherever they lie.
  struct alignas(64) Entry {
    BlobContent content = {};
    std::uint32_t host = 0;
    State state = State::kOfItsMaker;
    bool lost = false;     ///< With its host.
    bool dropped = false;  ///< By the journal.
  };
  static_assert(sizeof(Entry) == 64);

  template <class Wanted>
  [[nodiscard]] std::vector<const BlobContent*> kept_where(Wanted wanted) const {
    std::vector<const BlobContent*> kept;
    for (const Entry& blob : blobs_) {
      if (blob.state == State::kKept && wanted(blob)) {
        kept.push_back(&blob.content);
      }
    }
    return kept;
  }

  [[nodiscard]] bool exists(const BlobHandle& blob) const {
    return blob.generation > 0 && blob.generation <= blobs_.size();
  }
  [[nodiscard]] Entry& entry(const BlobHandle& blob) { return blobs_[blob.generation - 1]; }
  [[nodiscard]] const Entry& entry(const BlobHandle& blob) const {
    return blobs_[blob.generation - 1];
  }

  std::vector<Entry> blobs_;  ///< By generation.
  std::vector<BlobHandle> counted_partials_;
  std::optional<std::uint64_t> counted_ = 0;
};

}  // namespace pinion::sim
