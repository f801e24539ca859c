#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "checksums.hpp"

namespace pinion::bench {

inline constexpr std::size_t kRecordBytes = 100;
inline constexpr std::size_t kRecordKeyBytes = 10;

[[nodiscard]] inline std::size_t record_count(const std::string& path, std::size_t size_bytes) {
  if (size_bytes % kRecordBytes != 0) {
    throw std::invalid_argument(path + " has " + std::to_string(size_bytes) +
                                " bytes; expected records of 100");
  }
  return size_bytes / kRecordBytes;
}

/// Of sorted records, whatever the order of those with equal keys. Throws std::runtime_error when
/// they are not sorted.
[[nodiscard]] inline std::uint64_t sorted_checksum(const char* records, std::size_t count) {
  std::uint64_t checksum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const char* const record = records + i * kRecordBytes;
    if (i > 0 && std::memcmp(record - kRecordBytes, record, kRecordKeyBytes) > 0) {
      throw std::runtime_error("record " + std::to_string(i) + " is out of order");
    }
    std::uint64_t prefix = 0;
    std::memcpy(&prefix, record, sizeof(prefix));
    checksum += record_hash(record, kRecordBytes) + (i + 1) * mix64(prefix);
  }
  return checksum;
}

}  // namespace pinion::bench
