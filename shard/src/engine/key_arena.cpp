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
  const std::size_t size = std::max(grown, key_bytes);
  chunks_.push_back(std::unique_ptr<char[]>(new char[size]));
  next_ = chunks_.back().get();
  left_ = size;
  chunk_bytes_ = grown;
  memory_bytes_ += size;
}

}  // namespace pinion
