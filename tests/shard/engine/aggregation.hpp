#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/shard.hpp>
#include <pinion/shm/local_blob_store.hpp>

namespace pinion::test {

/// Runs an aggregation by hand, with shards, states and partials dealt as a seed says, so that laws
/// about order and grouping can be put to it.
class Aggregation {
 public:
  [[nodiscard]] LocalBlobStore& store() { return *store_; }

  /// `body(shard, emit)` for shards 0 to `shard_count` - 1, into up to five states.
  template <class A, class Body>
  [[nodiscard]] std::vector<Blob> partials(const A& prototype, std::uint64_t shard_count,
                                           std::uint64_t seed, std::uint32_t partition_count,
                                           Body body) {
    std::mt19937_64 random(seed);
    std::vector<std::unique_ptr<IAggregator>> states;
    for (std::uint64_t i = 0; i < 1 + random() % 5; ++i) {
      states.push_back(prototype.fresh());
    }
    std::vector<std::uint64_t> shards(shard_count);
    for (std::uint64_t i = 0; i < shard_count; ++i) {
      shards[i] = i;
    }
    std::shuffle(shards.begin(), shards.end(), random);
    for (const std::uint64_t id : shards) {
      const Shard shard({.id = id, .begin = id, .end = id + 1});
      typename A::Emitter emit(*states[random() % states.size()], shard);
      body(shard, emit);
      emit.flush();
    }
    std::vector<Blob> sealed;
    for (const auto& state : states) {
      sealed.push_back(state->seal(*store_, Place{}, partition_count).value());
    }
    std::shuffle(sealed.begin(), sealed.end(), random);
    return sealed;
  }

  /// The merged partitions, each sealed as one blob. Merges in one call, or in two, and every
  /// second time, where the aggregator may do so, what some have been combined into.
  template <class A>
  [[nodiscard]] std::vector<Blob> merge(const A& prototype, std::span<const Blob> partials,
                                        std::uint32_t partition_count) {
    std::vector<Blob> merged;
    for (std::uint32_t i = 0; i < partition_count; ++i) {
      std::vector<std::span<const std::byte>> pieces;
      for (const Blob& partial : partials) {
        pieces.push_back(partition_of(partial.bytes(), i).value());
      }
      Blob combined;
      if constexpr (CombinesPartials<A>) {
        if (merge_count_++ % 2 == 1 && pieces.size() > 1) {
          combined = combine(prototype, std::span(pieces).first(pieces.size() / 2 + 1));
          pieces.erase(pieces.begin(),
                       pieces.begin() + static_cast<std::ptrdiff_t>(pieces.size() / 2 + 1));
          pieces.insert(pieces.begin(), partition_of(combined.bytes(), 0).value());
        }
      }
      const std::unique_ptr<IAggregator> state = prototype.fresh();
      const std::span all(pieces);
      const std::size_t first = i % 2 == 0 ? all.size() : all.size() / 2;
      EXPECT_TRUE(state->merge(all.first(first)).ok());
      EXPECT_TRUE(state->merge(all.subspan(first)).ok());
      state->finalize();
      merged.push_back(state->seal(*store_, Place{}, 1).value());
    }
    return merged;
  }

  template <class A, class Body>
  [[nodiscard]] typename A::Result answer(const A& prototype, std::uint64_t shard_count,
                                          std::uint64_t seed, Body body) {
    const std::vector<Blob> sealed =
        partials(prototype, shard_count, seed, A::kPartitionCount, body);
    return A::Result::create(merge(prototype, sealed, A::kPartitionCount)).value();
  }

 private:
  template <class A>
  [[nodiscard]] Blob combine(const A& prototype,
                             std::span<const std::span<const std::byte>> pieces) {
    const std::unique_ptr<IAggregator> state = prototype.fresh();
    EXPECT_TRUE(state->merge(pieces).ok());
    return state->seal(*store_, Place{}, 1).value();
  }

  std::uint64_t merge_count_ = 0;
  std::unique_ptr<LocalBlobStore> store_ =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{1} << 30);
};

/// Whether two lists of blobs hold the same bytes.
[[nodiscard]] inline bool equal_bytes(std::span<const Blob> left, std::span<const Blob> right) {
  return std::ranges::equal(left, right, [](const Blob& a, const Blob& b) {
    return std::ranges::equal(a.bytes(), b.bytes());
  });
}

/// Calls `try_out(damaged copy, changed at)` for every byte of `partition`, with one bit changed.
/// The copies are aligned as partitions are.
template <class Function>
void for_each_damage(std::span<const std::byte> partition, Function try_out) {
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> copy(partition.size() / sizeof(Line) + 1);
  const std::span bytes(reinterpret_cast<std::byte*>(copy.data()), partition.size());
  for (std::size_t at = 0; at < partition.size(); ++at) {
    for (const unsigned bit : {0u, 4u, 7u}) {
      std::ranges::copy(partition, bytes.begin());
      bytes[at] ^= std::byte(1u << bit);
      try_out(std::span<const std::byte>(bytes), at);
    }
  }
}

}  // namespace pinion::test
