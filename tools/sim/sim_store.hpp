#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>

#include "sim/sim_random.hpp"

namespace pinion::sim {

enum class BlobKind : std::uint8_t { kPlan, kPartial, kResult };

struct BlobContent {
  BlobKind kind = BlobKind::kPlan;
  std::uint64_t step = 0;
  std::vector<std::uint64_t> shards = {};  ///< Of a partial: what it is made of.
  std::uint64_t sum = 0;  ///< Of a result; of a partial that is not ordered, what its shards give.
  bool damaged = false;
};

/// The sink, seen from outside the coordinator: which blobs the job holds and what is in them.
class Store {
 public:
  BlobHandle create(BlobContent content) {
    blobs_.push_back({.content = std::move(content)});
    return {.job = 1, .generation = blobs_.size(), .length_bytes = 64};
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

  /// What the journal keeps after its host has died: nothing but these, of which one may not be
  /// what it was.
  void survive(std::span<const BlobHandle> kept) {
    std::vector<bool> survives(blobs_.size() + 1);
    for (const BlobHandle& blob : kept) {
      survives[exists(blob) ? blob.generation : 0] = true;
    }
    for (std::size_t i = 0; i < blobs_.size(); ++i) {
      blobs_[i].state = survives[i + 1] ? State::kKept : State::kReleased;
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
  [[nodiscard]] const BlobContent& content_of(const BlobHandle& blob) const {
    return entry(blob).content;
  }
  /// The content of a blob that the job holds, else nothing.
  [[nodiscard]] const BlobContent* find_kept(const BlobHandle& blob) const {
    return exists(blob) && entry(blob).state == State::kKept ? &entry(blob).content : nullptr;
  }

  [[nodiscard]] std::vector<const BlobContent*> kept_of(std::uint64_t step, BlobKind kind) const {
    std::vector<const BlobContent*> kept;
    for (const Entry& blob : blobs_) {
      if (blob.state == State::kKept && blob.content.step == step && blob.content.kind == kind) {
        kept.push_back(&blob.content);
      }
    }
    return kept;
  }

 private:
  enum class State : std::uint8_t { kOfItsMaker, kKept, kReleased };
  struct Entry {
    BlobContent content = {};
    State state = State::kOfItsMaker;
    bool dropped = false;  ///< By the journal.
  };

  [[nodiscard]] bool exists(const BlobHandle& blob) const {
    return blob.generation > 0 && blob.generation <= blobs_.size();
  }
  [[nodiscard]] Entry& entry(const BlobHandle& blob) { return blobs_[blob.generation - 1]; }
  [[nodiscard]] const Entry& entry(const BlobHandle& blob) const {
    return blobs_[blob.generation - 1];
  }

  std::vector<Entry> blobs_;  ///< By generation.
};

}  // namespace pinion::sim
