#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <pinion/core/blob.hpp>

namespace pinion::sim {

enum class BlobKind : std::uint8_t { kPlan, kPartial, kResult };

struct BlobContent {
  BlobKind kind = BlobKind::kPlan;
  std::uint64_t step = 0;
  std::vector<std::uint64_t> shards = {};  ///< Of a partial: what it is made of.
  std::vector<std::uint64_t> sums = {};    ///< Of a partial: by partition. Of a result: one.
};

/// The sink, seen from outside the coordinator: which blobs the job holds and what is in them.
class Store {
 public:
  BlobHandle create(BlobContent content) {
    const BlobHandle blob{.job = 1, .generation = ++count_, .length_bytes = 64};
    blobs_[blob.generation] = {.content = std::move(content)};
    return blob;
  }

  /// The following two answer with what is wrong, or with nothing.
  std::string keep(const BlobHandle& blob) {
    const auto found = blobs_.find(blob.generation);
    if (found == blobs_.end() || found->second.state != State::kOfItsMaker) {
      return "a blob is kept that does not exist or was kept before";
    }
    found->second.state = State::kKept;
    return {};
  }

  std::string release(const BlobHandle& blob) {
    const auto found = blobs_.find(blob.generation);
    if (found == blobs_.end() || found->second.state == State::kReleased) {
      return "a blob is released that does not exist or was released before";
    }
    found->second.state = State::kReleased;
    return {};
  }

  /// The content of a blob that the job holds, else nothing.
  [[nodiscard]] const BlobContent* find_kept(const BlobHandle& blob) const {
    const auto found = blobs_.find(blob.generation);
    return found != blobs_.end() && found->second.state == State::kKept ? &found->second.content
                                                                        : nullptr;
  }

  [[nodiscard]] std::vector<const BlobContent*> kept_of(std::uint64_t step, BlobKind kind) const {
    std::vector<const BlobContent*> kept;
    for (const auto& [generation, blob] : blobs_) {
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
  };

  std::uint64_t count_ = 0;
  std::map<std::uint64_t, Entry> blobs_;
};

}  // namespace pinion::sim
