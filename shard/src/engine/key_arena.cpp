#include <pinion/shard/key_arena.hpp>

#include <algorithm>

namespace pinion {
namespace {

// Small states (a partition of a small step) stay small; large ones grow in few steps.
constexpr std::size_t kFirstChunkBytes = 4u << 10;
constexpr std::size_t kLastChunkBytes = 1u << 20;

}  // namespace

void KeyArena::open_chunk(std::size_t key_bytes) {
  const std::size_t grown = std::clamp(chunk_bytes_ * 2, kFirstChunkBytes, kLastChunkBytes);
  const ZeroedPages& chunk = chunks_.emplace_back(std::max(grown, key_bytes));
  next_ = reinterpret_cast<char*>(chunk.begin());
  left_ = chunk.size_bytes();
  chunk_bytes_ = grown;
  memory_bytes_ += chunk.size_bytes();
}

}  // namespace pinion
