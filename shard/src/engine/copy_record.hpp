#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace pinion::engine {

/// What memcpy does, without a call for each record; blocks at the end overlap.
inline void copy_record(std::byte* out, std::span<const std::byte> record) {
  constexpr std::size_t kBlock = 32;
  if (record.size() < kBlock) {
    std::memcpy(out, record.data(), record.size());
    return;
  }
  const std::size_t last = record.size() - kBlock;
  for (std::size_t at = 0; at < last; at += kBlock) {
    std::memcpy(out + at, record.data() + at, kBlock);
  }
  std::memcpy(out + last, record.data() + last, kBlock);
}

}  // namespace pinion::engine
