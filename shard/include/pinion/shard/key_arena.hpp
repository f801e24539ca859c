#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <pinion/shard/zeroed_pages.hpp>

namespace pinion {

/// Owns copies of keys. Bytes never move, so views of them stay valid while the arena lives.
///
/// Thread safety: none for one object.
class KeyArena {
 public:
  /// A view of a copy of `key`. Throws StateRefused.
  [[nodiscard]] std::string_view keep(std::string_view key) {
    if (key.size() > left_) {
      open_chunk(key.size());
    }
    char* const begin = next_;
    key.copy(begin, key.size());
    next_ += key.size();
    left_ -= key.size();
    return {begin, key.size()};
  }

  /// Memory that the arena holds.
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept { return memory_bytes_; }

 private:
  void open_chunk(std::size_t key_bytes);

  std::vector<ZeroedPages> chunks_;
  char* next_ = nullptr;
  std::size_t left_ = 0;
  std::size_t chunk_bytes_ = 0;
  std::uint64_t memory_bytes_ = 0;
};

}  // namespace pinion
